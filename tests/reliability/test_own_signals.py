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


@pytest.mark.parametrize("kind", ["exit", *thorough("error")])
@pytest.mark.parametrize("where", ["handler", *thorough("child", "middleware", "hook", "gate")])
def test_it_ends_the_program_and_the_job_is_ready_again(
    tmp_path: Path, anyio_backend: str, where: str, kind: str
) -> None:
    path = tmp_path / "jobs.db"
    ended = ("", "", 7) if kind == "exit" else ("the error came through\n", "", 0)
    assert _run(anyio_backend, where, kind, str(path)) == ended
    with SyncJobEngine(path) as engine:
        for job in engine.list_jobs().jobs:
            assert job.status in {JobStatus.AWAITING_PAYMENT, JobStatus.RUNNING}
        assert engine.statistics().running == 0
        # No attempt died. But asyncio ends its loop at once by an exit in a task of the handler's.
        is_cut = (anyio_backend, where, kind) == ("asyncio", "child", "exit")
        assert bool(engine.core.state.ready_queue.orphans) is is_cut
