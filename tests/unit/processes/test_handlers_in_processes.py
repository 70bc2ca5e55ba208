"""A handler in a process has what one in a thread has, and its outcomes are kept the same way."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import (
    Context,
    HandlerError,
    HandlerProcessError,
    JobStatus,
    Processes,
    Progress,
    Retry,
    SyncJobEngine,
    Worker,
)
from engine.testing.virtual_clock import VirtualClock
from tests.systems import needs_named_pipes
from tests.tries import thorough, tries
from tests.unit.claiming import running
from tests.unit.processes.handlers import JamError, NoPaperError, run_case
from tests.unit.worker.at_work import (
    ASKING,
    COMPLETED,
    FAILED,
    ONCE,
    ended,
    working,
)

pytestmark = pytest.mark.anyio
RESULTS = {
    "nothing": None,
    "model": '{"colour":"red"}',
    "largest": "\N{SNOWMAN}" * 1_048_576,
    "interrupts itself": "unmoved",
    "logs oddly": "done",
    "breaks output": "done",
    "arguments": json.dumps(sys.argv, separators=(",", ":"), ensure_ascii=False),
}
ERRORS = {
    "no paper": "NoPaperError: no A3 in tray 2",
    "jam": "JamError: no A3 in tray 2",
    "odd": "OddError: an error without a message",
    "exit": "SystemExit: 3",
    "group": "BaseExceptionGroup: both (2 sub-exceptions); SystemExit: 3; NoPaperError: no A4",
    "long": "ValueError: xxxx",
    "surrogate": "ValueError: \N{REPLACEMENT CHARACTER}?",
    "lost": "LostError",
    "list": "ListError",
    "object": "InvalidValueError: result ",
    "coroutine": "InvalidValueError: handler that runs in processes must not be async",
    "huge": "InvalidValueError: result must have 0 to 1048576 characters, and has 2000000",
}


async def test_results_and_errors_are_kept_and_the_process_stays() -> None:
    async with working(run_case, processes=True, retry=ONCE, max_deaths=1, concurrency=1) as engine:
        first = await ended(engine, "process id")
        for case, result in RESULTS.items():
            job = await ended(engine, case)
            assert (job.status, job.result, job.error) == (COMPLETED, result, None), case
        for case, error in ERRORS.items():
            job = await ended(engine, case)
            assert job.status is FAILED
            assert (job.error or "").startswith(error), (case, job.error)
            assert len(job.error or "") <= 65_536
        last = await ended(engine, "process id")
        assert first.result == last.result != str(os.getpid())


@pytest.mark.thorough
async def test_a_question_that_is_wrapped_is_asked() -> None:
    async with working(run_case, processes=True, retry=ONCE) as engine:
        job = await running(engine, input="wraps a question")
        asks = await engine.wait(job.job_id, until=[ASKING])
        assert asks.prompt is not None
        await engine.provide_input(job.job_id, asks.prompt.prompt_id, 7)
        assert await engine.result(job.job_id) == "7"


def _moved(job: Any) -> dict[str, Any]:  # noqa: ANN401 - of any lifecycle
    return {"updated_at": job.updated_at, "sequence": job.sequence}


@pytest.mark.thorough
async def test_it_gets_the_job_as_it_is() -> None:
    async with working(run_case, processes=True) as engine:
        given = {"case": "input", "é": [1, 2.5, None, True, {"": "\N{SNOWMAN}"}], "big": 2**70}
        job = await ended(engine, given)
        assert json.loads(job.result or "") == given
        job = await running(engine, input="snapshot", priority=7, idempotency_key="key")
        seen = type(job).model_validate_json((await engine.wait(job.job_id)).result or "")
        assert seen == job.model_copy(
            update={"attempt": 1, "claimed_at": seen.claimed_at, **_moved(seen)}
        )


class _Lines(logging.Handler):
    """Collects log records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def _lines() -> Iterator[list[logging.LogRecord]]:
    lines, root = _Lines(), logging.getLogger()
    root.addHandler(lines)
    logging.getLogger("loud").setLevel(logging.INFO)
    try:
        yield lines.records
    finally:
        logging.getLogger("loud").setLevel(logging.NOTSET)
        root.removeHandler(lines)


async def test_its_log_records_come_to_the_loggers_of_the_program() -> None:
    with _lines() as records:
        async with working(run_case, processes=True) as engine:
            job = await ended(engine, "logs")
            assert job.result == "logged"
    told, failed, loud = (each for each in records if each.name != "engine.worker")
    assert (told.name, told.levelname, told.getMessage()) == ("shop.press", "WARNING", "50 % done")
    assert (told.tray, told.sheets) == (2, "<set of 1 items>")  # type: ignore[attr-defined]
    assert (told.job_id, told.attempt, told.status) == (job.job_id, 1, "running")  # type: ignore[attr-defined]
    assert (told.funcName, told.filename) == ("_logs", "handlers.py")
    assert told.process != os.getpid()
    text = logging.Formatter().format(failed)
    assert text.startswith("a ? jam\nTraceback (most recent call last):")
    assert text.endswith("JamError: no A4 in tray 1")
    assert (loud.name, loud.getMessage()) == ("loud", "from a thread")


@needs_named_pipes
async def test_its_progress_is_seen(tmp_path: Path) -> None:
    let_go = tmp_path / "let go"
    os.mkfifo(let_go)
    async with working(run_case, processes=True) as engine:
        job = await running(engine, input={"case": "reports", "let_go": str(let_go)})
        async for each in engine.watch(job.job_id, progress=True):
            if isinstance(each, Progress) and each.done == 10_000:
                assert (each.total, each.note, each.attempt) == (10_000, "pages", 1)
                let_go.write_text("go")
        assert (await engine.get(job.job_id)).result == f"{job.job_id} 1 True"


async def test_it_may_ask(caplog: pytest.LogCaptureFixture) -> None:
    async with working(run_case, processes=True, retry=ONCE, max_deaths=1) as engine:
        job = await running(engine, input="asks")
        for answer in ({"colour": "red"}, 7):
            waiting = await engine.wait(job.job_id, until=[ASKING])
            assert waiting.prompt is not None
            assert waiting.deadline_at is not None
            await engine.provide_input(job.job_id, waiting.prompt.prompt_id, answer)
        done = await engine.wait(job.job_id)
        assert (done.result, done.attempt) == ("red 7", 3)
        assert "a handler caught InputNeeded" in caplog.text
        assert "is no JSON Schema" in ((await ended(engine, "asks wrongly")).error or "")


@pytest.mark.thorough
def test_it_may_ask_a_question_of_a_blocking_engine() -> None:
    with (
        SyncJobEngine() as engine,
        Worker(engine, run_case, processes=True, retry=ONCE, max_deaths=1),
    ):
        job = engine.create("hash", input="asks")
        engine.transition(job.job_id, JobStatus.RUNNING)
        error = engine.wait(job.job_id, timeout=60).error
        assert error is not None
        assert "has no `awaiting_input`" in error


@pytest.mark.parametrize(
    "tried",
    [
        ("no paper", NoPaperError, 3),
        *thorough(
            ("jam", NoPaperError, 1),  # it says that it is not retryable
            ("no paper", Exception, 3),
            ("no paper", (OSError, NoPaperError), 3),
            ("no paper", JamError, 1),
            ("no paper", (), 1),
            ("odd", Exception, 3),
            ("exit", Exception, 1),
            ("kills itself", Exception, 3),
            ("kills itself", (), 3),  # a death is no error
        ),
    ],
)
def test_errors_are_retried_by_their_classes(tried: tuple[str, Any, int]) -> None:
    case, retry_on, attempts = tried
    retry = Retry(first_delay_seconds=0, jitter=0, retry_on=retry_on)
    with SyncJobEngine() as engine, Worker(engine, run_case, processes=True, retry=retry):
        job = engine.create("hash", input=case)
        engine.transition(job.job_id, JobStatus.RUNNING)
        assert engine.wait(job.job_id, timeout=60).attempt == attempts


@pytest.mark.thorough
@pytest.mark.parametrize("tried", [("busy", 300), *thorough(("busy for ever", 7))])
async def test_an_error_in_a_process_may_say_when_to_try_again(
    tried: tuple[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    case, delay = tried
    clock = VirtualClock()
    retry = Retry(first_delay_seconds=7, jitter=0)
    async with working(run_case, clock=clock, processes=True, retry=retry) as engine:
        job = await running(engine, input=case)
        while (waits := await engine.get(job.job_id)).next_attempt_at is None:  # noqa: ASYNC110
            await anyio.sleep(0.01)
        assert waits.next_attempt_at - clock() == timedelta(seconds=delay)
    assert ("retry_after_seconds" in caplog.text) is (case != "busy")


@pytest.mark.thorough
async def test_its_traceback_is_logged_and_middleware_has_its_classes(
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    raised: list[BaseException] = []

    @contextmanager
    def middleware(_: Context[Any]) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            raised.append(error)
            raise

    how: dict[str, Any] = {"retry": ONCE, "max_deaths": 1, "middleware": [middleware]}
    async with working(run_case, processes=True, **how) as engine:
        await ended(engine, "jam")
        killed = await ended(engine, "kills itself")
    error, death = raised
    assert isinstance(error, HandlerError)
    assert error.kinds[:2] == tuple(
        f"{kind.__module__}.{kind.__qualname__}" for kind in (JamError, NoPaperError)
    )
    assert (str(error), error.retryable) == ("JamError: no A3 in tray 2", False)
    assert 'handlers.py", line ' in caplog.text
    assert "program.py" not in caplog.text  # of the engine's own code
    assert "process_pool.py" not in caplog.text
    assert isinstance(death, HandlerProcessError)
    assert capfd.readouterr().out == "last words\n"
    assert (killed.error or "").endswith("was killed by signal 9 (SIGKILL), perhaps out of memory")


@pytest.mark.thorough
async def test_a_process_that_dies_while_it_is_idle_costs_no_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with working(run_case, processes=True, concurrency=1, retry=ONCE, max_deaths=1) as engine:
        for _ in range(tries(200, least=2)):
            process_id = (await ended(engine, "process id")).result or ""
            os.kill(int(process_id), signal.SIGKILL)  # it may be still dying when the job comes
            job = await ended(engine, "process id")
            assert (job.status, job.attempt) == (COMPLETED, 1), job.error
            assert job.result != process_id
    assert "an idle process of a handler was killed by signal 9" in caplog.text


@pytest.mark.thorough
@pytest.mark.parametrize("left", ["leaves an alarm", *thorough("breaks output")])
async def test_what_a_handler_leaves_behind_costs_the_next_job_no_attempt(left: str) -> None:
    """The alarm raises an exception while the process has no job, and a thread delays its exit."""
    async with working(run_case, processes=True, concurrency=1, retry=ONCE, max_deaths=1) as engine:
        process_id = (await ended(engine, "process id")).result
        assert (await ended(engine, left)).result == "done"
        with anyio.fail_after(60):
            while (job := await ended(engine, "process id")).result == process_id:
                if left != "leaves an alarm":
                    break
                await anyio.sleep(0.1)  # until the alarm has come, between the jobs
        assert job.status is COMPLETED


@pytest.mark.thorough
async def test_a_thread_that_a_job_leaves_logs_without_the_fields_of_the_next() -> None:
    with _lines() as records:
        async with working(run_case, processes=True, concurrency=1) as engine:
            first = await ended(engine, "leaves a thread")
            await ended(engine, "takes a while")
            await ended(engine, "process id")
    jobs = {getattr(each, "job_id", None) for each in records if each.name == "shop.press"}
    assert jobs <= {None, first.job_id}
    assert None in jobs


@pytest.mark.thorough
async def test_a_fork_of_a_process_logs_to_the_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with working(run_case, processes=True) as engine:
        assert (await ended(engine, "logs in a fork")).result == "done"
    assert capfd.readouterr().err == "from a fork\n"


async def test_a_result_past_the_limit_is_refused_whatever_the_process_sends() -> None:
    async with working(run_case, processes=True, retry=ONCE, max_deaths=1) as engine:
        job = await ended(engine, "sends too much")
        assert job.status is FAILED
        assert "sent a message with wrong values: result must have" in (job.error or "")


@pytest.mark.thorough
async def test_a_process_that_loses_its_channel_ends() -> None:
    async with working(run_case, processes=True, retry=ONCE, max_deaths=1) as engine:
        job = await ended(engine, "closes all")
        assert (job.error or "").endswith("ended with exit code 70")


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
async def test_a_handler_may_use_processes_of_its_own(method: str) -> None:
    async with working(run_case, processes=True, retry=ONCE, max_deaths=1) as engine:
        job = await ended(engine, {"case": "works on", "method": method})
        assert job.result == "55", job.error


@pytest.mark.thorough
async def test_a_message_of_an_earlier_run_is_never_the_result_of_a_later_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with working(run_case, processes=True, concurrency=1, retry=ONCE, max_deaths=1) as engine:
        assert (await ended(engine, "forges")).result == "done"
        assert (await ended(engine, "takes a while")).result == "mine"
    assert "tells of an earlier run" in caplog.text


@pytest.mark.thorough
@pytest.mark.parametrize(
    "tried", [(Processes(max_jobs=2), 2), *thorough((Processes(max_idle=0), 3))]
)
async def test_processes_are_replaced(tried: tuple[Processes, int]) -> None:
    rules, processes = tried
    async with working(run_case, processes=rules, concurrency=1) as engine:
        ids = [(await ended(engine, "process id")).result for _ in range(3)]
    assert len(set(ids)) == processes


async def test_closing_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = tmp_path / "starts"
    monkeypatch.setenv("TEST_STARTS", str(starts))
    async with working(run_case, processes=True, concurrency=2) as engine:
        jobs = [await running(engine, input="process id") for _ in range(30)]
        for job in jobs:
            await engine.wait(job.job_id)
    ids = starts.read_text().split()
    assert 1 <= len(ids) <= 2
    assert not any(Path(f"/proc/{each}").exists() for each in ids)
