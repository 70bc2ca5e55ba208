"""A process loads the handler, or says why not: when the worker is made, not when a job runs."""

from __future__ import annotations

import os
import subprocess
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

import engine
from engine import (
    HandlerProcessError,
    InvalidValueError,
    JobEngine,
    JobStatus,
    Lifecycle,
    Processes,
    SyncJobEngine,
    Worker,
)
from engine.worker import outcome
from tests.tries import thorough
from tests.unit.claiming import running
from tests.unit.processes.handlers import run_case
from tests.unit.worker.at_work import COMPLETED, ONCE, ended, until, working

SECONDS = 120


async def _async(job: object) -> None:
    raise AssertionError(job)


class _LocalHandler:
    def __call__(self, job: object) -> None:
        raise AssertionError(job)

    def __reduce__(self) -> str:
        raise TypeError("stays here")


REFUSED: dict[str, tuple[str, Any, Any]] = {
    "an async function": ("handler that runs in processes must not be async", _async, True),
    "a lambda": ("handler .* must be a function of a module: .*lambda", lambda job: job, True),
    "what can't be pickled": ("handler .*stays here", _LocalHandler(), True),
    "a number": ("processes must be True, False or a Processes, not 2", run_case, 2),
    "none": ("processes must be True", run_case, None),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_wrong_handler_is_refused_when_the_worker_is_made(what: str) -> None:
    problem, handler, processes = REFUSED[what]
    with pytest.raises(InvalidValueError, match=f"^{problem}"):
        Worker(JobEngine(), handler, processes=processes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_idle": -1},
        {"max_idle": 10_001},
        {"max_idle": True},
        {"max_jobs": 0},
        {"max_jobs": 1.5},
        {"start_seconds": 0},
        {"start_seconds": float("inf")},
    ],
)
def test_wrong_rules_are_refused(wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(InvalidValueError, match=f"^{name} "):
        Processes(**wrong)


def test_statuses_that_no_module_has_are_refused() -> None:
    class Local(StrEnum):
        NEW = "new"
        DONE = "done"
        FAILED = "failed"

    lifecycle = Lifecycle(
        Local,
        {Local.NEW: {Local.DONE, Local.FAILED}, Local.DONE: set(), Local.FAILED: set()},
        initial=Local.NEW,
        running=Local.NEW,
        success={Local.DONE},
        failure={Local.FAILED},
    )
    with pytest.raises(InvalidValueError, match="Local is no class of a module"):
        Worker(JobEngine(lifecycle=lifecycle), run_case, processes=True)


def _greeting(greeting: str, job: Any) -> str:  # noqa: ANN401
    return f"{greeting}, {job.input}"


@pytest.mark.thorough
def test_a_partial_is_loaded_with_its_arguments() -> None:
    with SyncJobEngine() as jobs, Worker(jobs, partial(_greeting, "Hello"), processes=True):
        job = jobs.create("hash", input="Ann")
        jobs.transition(job.job_id, JobStatus.RUNNING)
        assert jobs.result(job.job_id, timeout=SECONDS) == "Hello, Ann"


@pytest.mark.anyio
async def test_a_handler_that_can_not_be_loaded_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEST_IMPORT_NEEDS", str(tmp_path / "missing"))
    with pytest.raises(HandlerProcessError, match=r"can't be loaded.*FileNotFoundError") as caught:
        async with working(run_case, processes=True):
            raise AssertionError("it began")
    assert 'handlers.py", line ' in caught.value.__notes__[0]
    blocking = SyncJobEngine(may_block_event_loop=True)
    with blocking as jobs, pytest.raises(HandlerProcessError, match="missing"):
        Worker(jobs, run_case, processes=True).__enter__()


@pytest.mark.anyio
async def test_a_start_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_IMPORT_SECONDS", str(SECONDS))
    with pytest.raises(HandlerProcessError, match=r"not ready within 0.2 s.*start_seconds"):
        async with working(run_case, processes=Processes(start_seconds=0.2)):
            raise AssertionError("it began")


@pytest.mark.thorough
@pytest.mark.anyio
async def test_a_start_can_be_cancelled_at_any_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_IMPORT_SECONDS", "1000")
    with anyio.fail_after(SECONDS):  # much less
        for number in range(40):
            with anyio.move_on_after(number / 2_000):
                async with working(run_case, processes=Processes(start_seconds=1_000)):
                    raise AssertionError("it began")


@pytest.mark.thorough
@pytest.mark.anyio
async def test_a_start_does_not_count_against_the_time_of_an_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEST_IMPORT_SECONDS", "3")
    rules = Processes(max_jobs=1)
    async with working(
        run_case, processes=rules, timeout_seconds=2.5, retry=ONCE, max_deaths=1
    ) as agents:
        for _ in range(2):  # the second one's process starts when the job begins
            assert (await ended(agents, "process id")).status is COMPLETED


@pytest.mark.thorough
@pytest.mark.anyio
async def test_a_process_that_can_not_start_costs_the_job_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outcome, "_PAUSE_SECONDS", 0.01)
    needed = tmp_path / "needed"
    needed.touch()
    monkeypatch.setenv("TEST_IMPORT_NEEDS", str(needed))
    async with working(
        run_case, processes=Processes(max_jobs=1), retry=ONCE, max_deaths=1
    ) as agents:
        await ended(agents, "process id")  # by the process that the worker has started
        needed.unlink()
        job = await running(agents, input="process id")
        await until(lambda: "could not begin" in caplog.text)
        needed.touch()
        job = await agents.wait(job.job_id)
        assert job.status is COMPLETED
        assert job.attempt > 1


HANDLER = """
class NoPaperError(Exception):
    pass

class JamError(NoPaperError):
    pass

def handle(job, context):
    if context.attempt == 1:
        raise JamError("jam")
    return f"{job.status!r} at attempt {context.attempt}, {__name__ == '__main__'}"
"""
STATUSES = """
from enum import StrEnum
from engine import JobEngine, Lifecycle, Retry, Worker

class Print(StrEnum):
    ORDERED = "ordered"
    PRINTING = "printing"
    PRINTED = "printed"
    FAILED = "failed"

LIFECYCLE = Lifecycle(
    Print,
    {
        Print.ORDERED: {Print.PRINTING},
        Print.PRINTING: {Print.PRINTED, Print.FAILED},
        Print.PRINTED: set(),
        Print.FAILED: set(),
    },
    initial=Print.ORDERED,
    running=Print.PRINTING,
    success={Print.PRINTED},
    failure={Print.FAILED},
)
"""
MAIN = """
import asyncio, logging
logging.disable()

async def main():
    retry = Retry(first_delay_seconds=0, retry_on=NoPaperError)
    async with JobEngine(lifecycle=LIFECYCLE) as engine:
        async with Worker(engine, handle, processes=True, retry=retry):
            job = await engine.create("hash")
            await engine.transition(job.job_id, Print.PRINTING)
            print(await engine.result(job.job_id))
"""
GUARDED = 'if __name__ == "__main__":\n    asyncio.run(main())\n'
UNGUARDED = "asyncio.run(main())\n"
RESULT = "<Print.PRINTING: 'printing'> at attempt 2, False\n"


def _files(folder: Path) -> None:
    program = HANDLER + STATUSES + MAIN
    (folder / "guarded.py").write_text(program + GUARDED)
    (folder / "guarded").write_text(program + GUARDED)
    (folder / "unguarded.py").write_text(program + UNGUARDED)
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").touch()
    (folder / "shop" / "press.py").write_text(HANDLER + STATUSES)
    beside = "from .press import *\n" + MAIN
    (folder / "shop" / "sell.py").write_text(beside + UNGUARDED)
    relative = "from . import press\n" + program
    (folder / "shop" / "relative.py").write_text(relative + GUARDED)
    (folder / "shop" / "__main__.py").write_text(relative + GUARDED)
    (folder / "worker_at_import.py").write_text(
        f"{HANDLER}{STATUSES}\nWorker(JobEngine(lifecycle=LIFECYCLE), handle, processes=True)\n"
        f"{MAIN}{GUARDED}"
    )
    pool = "import multiprocessing\nmultiprocessing.get_context('spawn').Pool(1).map(abs, [1])"
    spawning = HANDLER.replace(
        "    return f", f"    {pool.replace(chr(10), chr(10) + 4 * ' ')}\n    return f"
    )
    (folder / "spawning.py").write_text(f"{spawning}{STATUSES}{MAIN}{GUARDED}")


def _run(folder: Path, *arguments: str, program: str | None = None) -> tuple[str, str]:
    """Run a program; return its output and its errors."""
    done = subprocess.run(
        [sys.executable, *arguments],
        input=program,
        stdin=subprocess.DEVNULL if program is None else None,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(str(engine.__file__)).parents[1])},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.stdout, done.stderr


WORKS = {
    "a script": ["guarded.py"],
    "a script without a suffix": ["guarded"],
    "a handler in a module, no guard": ["-m", "shop.sell"],
    "a worker at the top of the program": ["worker_at_import.py"],
    "processes of a handler's own": ["spawning.py"],
    "-m, relative imports": ["-m", "shop.relative"],
    "-m, a package": ["-m", "shop"],
}


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["a script", *thorough(*list(WORKS)[1:])])
def test_a_program_works_however_it_is_started(how: str, tmp_path: Path) -> None:
    _files(tmp_path)
    assert _run(tmp_path, *WORKS[how]) == (RESULT, "")


@pytest.mark.thorough
def test_a_program_without_a_guard_gets_one_clear_error(tmp_path: Path) -> None:
    _files(tmp_path)
    output, errors = _run(tmp_path, "unguarded.py")
    assert output == ""
    [line] = [each for each in errors.splitlines() if each.startswith("engine.domain.")][:1]
    assert "HandlerProcessError: the handler can't be loaded in a process: " in line
    assert 'put the code that starts the program under `if __name__ == "__main__":`' in line


CONFIGURED = {
    "basicConfig": "logging.basicConfig(format=FORMAT, force=True)",
    "a handler of the root": "logging.getLogger().addHandler(HANDLER)",
    "a handler of its own": "logging.getLogger('shop').addHandler(HANDLER)",
    "no propagation": (
        "logging.getLogger('shop').addHandler(HANDLER)\nlogging.getLogger('shop').propagate = False"
    ),
}
LOGS = """
import asyncio, logging
from engine import Job, JobEngine, JobStatus, Worker

FORMAT = "%(job_id)s %(attempt)s %(message)s"
HANDLER = logging.StreamHandler()
HANDLER.setFormatter(logging.Formatter(FORMAT))
CONFIGURE

def handle(job: Job) -> str:
    logging.getLogger("shop").warning("a line")
    return "done"

async def main():
    async with JobEngine(new_id=lambda: "job-1") as engine:
        async with Worker(engine, handle, processes=True):
            job = await engine.create("hash")
            await engine.transition(job.job_id, JobStatus.RUNNING)
            print(await engine.result(job.job_id))

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.thorough
@pytest.mark.parametrize("how", [*thorough(*list(CONFIGURED)[:-1]), "no propagation"])
def test_logging_that_a_module_configures_is_that_of_the_program(how: str, tmp_path: Path) -> None:
    (tmp_path / "logs.py").write_text(LOGS.replace("CONFIGURE", CONFIGURED[how]))
    assert _run(tmp_path, "logs.py") == ("done\n", "job-1 1 a line\n")


def test_a_large_value_that_a_handler_binds_is_refused() -> None:
    handler = partial(_greeting, "x" * 20_000_000)
    with pytest.raises(InvalidValueError, match=r"^handler binds 20,000,\d+ bytes"):
        Worker(JobEngine(), handler, processes=True)


def test_a_frozen_program_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(InvalidValueError, match="was frozen"):
        Worker(JobEngine(), run_case, processes=True)


NOTEBOOK = """
import code, sys, types
sys.modules["__main__"] = main = types.ModuleType("__main__")  # as a notebook's kernel has it
for cell in {cells!r}:
    exec(compile(cell, "<cell>", "exec"), main.__dict__)
"""
NO_FILE = "notebook, standard input, `python -c` or an archive"


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["-c", *thorough("stdin", "notebook")])
def test_a_program_without_a_file_gets_one_clear_error(how: str, tmp_path: Path) -> None:
    program = HANDLER + STATUSES + MAIN + GUARDED
    if how == "-c":
        output, errors = _run(tmp_path, "-c", program)
    elif how == "stdin":
        output, errors = _run(tmp_path, "-", program=program)
    else:
        cells = [HANDLER, STATUSES, MAIN, UNGUARDED]
        output, errors = _run(tmp_path, "-c", NOTEBOOK.format(cells=cells))
    assert output == ""
    [line] = [each for each in errors.splitlines() if each.startswith("engine.domain.")]
    assert "InvalidValueError: handler can't run in processes" in line
    assert NO_FILE in line


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["-c", *thorough("stdin")])
def test_such_a_program_may_use_a_handler_of_a_module(how: str, tmp_path: Path) -> None:
    _files(tmp_path)
    program = "from shop.press import *\n" + MAIN + UNGUARDED
    done = _run(tmp_path, "-c", program) if how == "-c" else _run(tmp_path, "-", program=program)
    assert done == (RESULT, "")
