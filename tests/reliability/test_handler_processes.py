"""Row 25: handlers in processes; noise, signals, deaths and cancels cost their own attempt alone.

What a handler prints, and what its programs print, never reaches the channel. A signal to the
terminal's group does not reach the handlers. However an attempt ends, and however the engine does,
no process is left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

import engine
from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    Job,
    JobEngine,
    JobStatus,
    Processes,
    Retry,
    SyncJobEngine,
    Worker,
)
from tests.reliability.alive import children, descriptors, is_alive, marked, wait_until
from tests.reliability.programs.handlers import NOISE, holds, noisy, returns, works
from tests.systems import needs_fork, needs_proc
from tests.tries import report, seeded, thorough, tries
from tests.unit.worker.at_work import until

pytestmark = [pytest.mark.anyio, needs_fork, needs_proc]
ROOTS = [str(Path(str(engine.__file__)).parents[1]), str(Path(__file__).parents[2])]
SECONDS = 120
MARK = f"TEST_OF_HANDLER_PROCESSES_{os.getpid()}"
ONCE = Retry(max_attempts=1)
AT_ONCE = 5
CANCELLED, TIMED_OUT = "cancelled", "AttemptTimeoutError"
Agents = JobEngine[AgentJobStatus]
DONE = " ".join(map(str, range(20))) + "\nAttemptTimeoutError: the attempt took more than 0.2 s\n"


async def _ready(engine: JobEngine[JobStatus], given: object) -> Job:
    job = await engine.create("hash", input=given)
    return await engine.transition(job.job_id, JobStatus.RUNNING)


async def _ended(engine: JobEngine[JobStatus], job: Job) -> Job:
    with anyio.fail_after(SECONDS):
        return await engine.wait(job.job_id)


def _has_lines(path: Path, count: int) -> bool:
    return path.exists() and path.read_text().count("\n") == count


def _start(*arguments: str, **how: Any) -> subprocess.Popen[str]:  # noqa: ANN401
    """Start the program that runs handlers, in a session of its own."""
    module = "tests.reliability.programs.handling"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", module, *arguments],
        env={**os.environ, MARK: "yes", "PYTHONPATH": os.pathsep.join(ROOTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **how,
    )


async def test_noise_reaches_no_other_job(capfd: pytest.CaptureFixture[str]) -> None:
    random = seeded("noise of handlers")
    kinds = [*NOISE] * tries(100)
    random.shuffle(kinds)
    async with JobEngine() as engine, Worker(engine, noisy, processes=True, concurrency=3):
        jobs = [await _ready(engine, kind) for kind in kinds]
        for job in jobs:
            done = await _ended(engine, job)
            assert (done.result, done.attempt) == (job.job_id, 1), (job.input, done.error)
    output, errors = capfd.readouterr()
    for text in ("from C", "from a program", "from afar", "o" * 100_000):
        assert text in output
    assert "an error" in errors
    assert "e" * 100_000 in errors
    report(f"{len(jobs)} noisy jobs")


IGNORED = [signal.SIGINT, signal.SIGTERM]
DEADLY = [signal.SIGKILL, *thorough(signal.SIGHUP, signal.SIGQUIT, signal.SIGSEGV, signal.SIGUSR1)]


@pytest.mark.parametrize("to", ["process", *thorough("group")])
async def test_a_request_to_stop_is_nothing_to_a_process(tmp_path: Path, to: str) -> None:
    send = os.kill if to == "process" else os.killpg
    async with (
        JobEngine() as engine,
        Worker(engine, holds, processes=True, retry=ONCE, max_deaths=1),
    ):
        for number in IGNORED:
            pipe = tmp_path / number.name
            os.mkfifo(pipe)
            job = await _ready(engine, str(pipe))
            ids = Path(f"{pipe}.id")
            await until(partial(_has_lines, ids, 1))
            send(int(ids.read_text()), number)  # busy
            await anyio.to_thread.run_sync(pipe.write_text, "held on")
            assert (await _ended(engine, job)).result == "held on"
            send(int(ids.read_text()), number)  # idle


@pytest.mark.parametrize("number", DEADLY)
async def test_the_death_of_a_process_is_told_and_costs_one_attempt(
    tmp_path: Path, number: signal.Signals
) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"these tests ignore {number.name}, and so do their processes: see nohup")
    async with (
        JobEngine() as engine,
        Worker(engine, works, processes=True, retry=ONCE, max_deaths=1),
    ):
        ids = tmp_path / "ids"
        job = await _ready(engine, str(ids))
        await until(partial(_has_lines, ids, 1))
        process_id, program = map(int, ids.read_text().split())
        os.kill(process_id, number)
        done = await _ended(engine, job)
        told = f"was killed by signal {number.value} ({number.name})"
        assert told in (done.error or "")
        assert ("out of memory" in (done.error or "")) is (number is signal.SIGKILL)
        await until(lambda: not is_alive(program))


@pytest.mark.thorough
@pytest.mark.parametrize("loop", ["asyncio", *thorough("trio")])
@pytest.mark.parametrize("number", [signal.SIGINT, *thorough(signal.SIGTERM)])
def test_ctrl_c_releases_the_jobs_at_work(
    tmp_path: Path, loop: str, number: signal.Signals
) -> None:
    """The signal goes to the whole group of the program, as the terminal's does."""
    path = tmp_path / "jobs"
    ids = Path(f"{path}.ids")
    with _start(loop, "serve", str(path)) as program:
        wait_until(partial(_has_lines, ids, 3))
        os.killpg(program.pid, number)
        output, errors = program.communicate(timeout=SECONDS)
    assert (output, program.returncode) == ("closed\nthe end\n", 0), errors
    assert not any(map(is_alive, map(int, ids.read_text().split())))
    with SyncJobEngine(path) as engine:
        statistics = engine.statistics()
        assert (statistics.ready, statistics.jobs[JobStatus.FAILED]) == (3, 0)


@pytest.mark.thorough
def test_a_killed_engine_leaves_no_process(tmp_path: Path) -> None:
    """The kill comes at any moment: while processes start, load or work."""
    random = seeded("engines killed with processes")
    kills = tries(200, least=2)
    at_work = 0
    for number in range(kills):
        path = tmp_path / str(number)
        with _start("asyncio", "body", str(path)) as program:
            ids = Path(f"{path}.ids")
            if number % 3:  # at some other moment
                wait_until(lambda: len(marked(MARK)) > 1)
                pause = random.uniform(0, 0.5)
                with pytest.raises(subprocess.TimeoutExpired):
                    program.wait(pause)
            else:
                wait_until(partial(_has_lines, ids, 3))
                at_work += 1
            program.kill()
        wait_until(lambda: not any(map(is_alive, marked(MARK))))
    report(f"{kills} engines killed, {at_work} of them with all handlers at work")


@pytest.mark.thorough
@pytest.mark.parametrize("loop", ["blocking"])
def test_an_engine_that_nobody_closes_leaves_no_process_and_says_nothing(
    tmp_path: Path, loop: str
) -> None:
    with _start(loop, "unclosed", str(tmp_path / "jobs")) as program:
        output, errors = program.communicate(timeout=SECONDS)
    assert (output, errors, program.returncode) == ("the end\n", "", 0)
    wait_until(lambda: not any(map(is_alive, marked(MARK))))


async def _end_some(agents: Agents, given: str, count: int, random: Random, error: str) -> None:
    """Let attempts end, some at a time; the cancels come up to 300 ms after a job began."""
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def end_one() -> None:
        async with limiter:
            job = await agents.create("hash", input=given)
            await agents.transition(job.job_id, AgentJobStatus.RUNNING)
            if error == CANCELLED:
                await anyio.sleep(random.uniform(0, 0.3))
                await agents.cancel(job.job_id)
            with anyio.fail_after(SECONDS):
                done = await agents.wait(job.job_id)
            assert done.status is AgentJobStatus.FAILED
            assert (done.error or "").startswith(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(end_one)


@pytest.mark.thorough
async def test_cancels_and_timeouts_at_any_moment_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From before the start of the process until the handler is at work."""
    monkeypatch.setenv(MARK, "yes")
    random = seeded("cancelled handlers in processes")
    count = tries(1_000) // 6
    before = -1
    for rules in (Processes(max_idle=0), Processes(), Processes(max_jobs=1)):
        async with JobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as agents:
            for seconds, error in ((None, CANCELLED), (random.uniform(0.001, 0.1), TIMED_OUT)):
                how: dict[str, Any] = {
                    "processes": rules,
                    "retry": ONCE,
                    "max_deaths": 1,
                    "concurrency": AT_ONCE,
                }
                async with Worker(agents, works, timeout_seconds=seconds, **how):
                    await _end_some(agents, str(tmp_path / "ids"), count, random, error)
        assert children() == []
        before = descriptors() if before < 0 else before  # the first round opens lasting ones
        assert descriptors() <= before
    await until(lambda: not any(map(is_alive, marked(MARK))))
    report(f"{6 * count} attempts cut short")


@pytest.mark.thorough
async def test_a_worker_whose_start_is_cancelled_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(MARK, "yes")
    random = seeded("workers cancelled at their start")
    async with JobEngine() as engine:
        for _ in range(tries(100, least=4)):
            with anyio.move_on_after(random.uniform(0, 0.4)):
                async with Worker(engine, returns, processes=True):
                    pass
            assert children() == []
    assert marked(MARK) == []


@pytest.mark.thorough
@pytest.mark.parametrize(
    "loop", ["run_forever", "asyncio", "trio", "uvloop", "policy", "blocking", "gevent"]
)
def test_any_loop_will_do(loop: str, tmp_path: Path) -> None:
    with _start(loop, "jobs", str(tmp_path / "jobs")) as program:
        output, errors = program.communicate(timeout=SECONDS)
    assert (output, program.returncode) == (DONE + "the end\n", 0), errors
    wait_until(lambda: marked(MARK) == [])
