"""A program's own handler of a signal: its exception goes on to the program, and no job fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine import JobStatus, SyncJobEngine
from tests.systems import needs_interrupts
from tests.tries import thorough

pytestmark = needs_interrupts

SECONDS = 60


def _run(*arguments: str) -> tuple[str, str, int]:
    """Run the program; return its output, its errors and its exit code."""
    module = "tests.reliability.programs.signalled"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", module, *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.stdout, done.stderr, done.returncode


BEHIND = ("log", "text", "retryable", "retry_after_seconds")


@pytest.mark.parametrize("kind", ["exit", *thorough("error")])
@pytest.mark.parametrize(
    "where", ["handler", *thorough("log", "child", "middleware", "hook", "gate", *BEHIND[1:])]
)
def test_it_ends_the_program_and_the_jobs_are_unharmed(
    tmp_path: Path, anyio_backend: str, where: str, kind: str
) -> None:
    path = tmp_path / "jobs.db"
    ended = ("", "", 7) if kind == "exit" else ("the error came through\n", "", 0)
    assert _run(anyio_backend, where, kind, str(path)) == ended
    with SyncJobEngine(path) as engine:
        jobs = {job.input: job for job in engine.list_jobs().jobs}
        assert jobs["beside"].attempt == 1
        if "signalled" in jobs and where not in {"hook", "gate"}:
            assert (jobs["signalled"].status, jobs["signalled"].attempt) == (JobStatus.RUNNING, 1)
        is_cut = (anyio_backend, where, kind) == ("asyncio", "child", "exit")
        if is_cut:  # asyncio ends its loop at once by an exit in a task of the handler's
            return
        assert (jobs["beside"].status, jobs["beside"].result) == (JobStatus.COMPLETED, "done")
        assert not engine.core.state.ready_queue.orphans, "no attempt died"
        assert engine.statistics().running == 0
