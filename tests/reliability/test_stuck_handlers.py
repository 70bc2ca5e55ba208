"""Row 14, and a real Ctrl-C: handlers that block, never return, or resist cancellation.

Each runs in a process of its own. The log names the job and the stack within 5 seconds. After a
signal, `Worker.serve` ends within its grace period and 5 seconds more; a second signal ends the
process at once. A Ctrl-C never counts as an error of the handler.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.systems import needs_interrupts
from tests.tries import thorough
from tests.unit.portal.starting import ROOTS

pytestmark = needs_interrupts

GRACE_SECONDS = 0.5
MARGIN_SECONDS = 1.5
NOTICED_SECONDS = 5.0
SLACK_SECONDS = 3.0
SLACK_STARTS = 10
"""For a busy machine: it shows in the time that a program takes to start."""
EXIT_CODE = 70
SECONDS_AGAINST_HANGS = 90


@dataclass
class Program:
    """A process with a running handler.

    Attributes:
        job_id: The id of its job.
        slack_seconds: The extra time that a busy machine may take.
        began: The start of the handler, by `time.monotonic`.
        signalled: The last signal to stop, by `time.monotonic`.
    """

    process: subprocess.Popen[str]
    job_id: str
    slack_seconds: float
    began: float
    signalled: float = 0.0

    def send(self, number: signal.Signals) -> None:
        self.signalled = time.monotonic()
        self.process.send_signal(number)

    def next_log(self) -> dict[str, Any]:
        """Return the next line of the log."""
        assert self.process.stderr is not None
        line: dict[str, Any] = json.loads(self.process.stderr.readline())
        return line

    def end(self) -> tuple[list[str], list[dict[str, Any]], int]:
        """Return the rest of its output and log, and its exit code."""
        output, log = self.process.communicate(timeout=SECONDS_AGAINST_HANGS)
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        assert len(lines) == len(log.splitlines()), log
        return output.split(), lines, self.process.returncode

    def seconds(self) -> float:
        """Return the seconds since the last signal to stop."""
        return time.monotonic() - self.signalled


@contextmanager
def _at_work(backend: str, kind: str, how: str = "serve") -> Iterator[Program]:
    module = "tests.reliability.programs.at_work"
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", module, backend, kind, how, str(GRACE_SECONDS)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(ROOTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            _, job_id = process.stdout.readline().split()
            slack_seconds = max(SLACK_SECONDS, SLACK_STARTS * (time.monotonic() - started))
            _, began = process.stdout.readline().split()
            yield Program(process, job_id, slack_seconds, float(began))
        finally:
            process.kill()


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "line"), [("spins", "pass"), ("sleeps", "time.sleep")])
def test_a_handler_that_never_yields_is_named_with_its_stack(
    kind: str, line: str, anyio_backend: str
) -> None:
    with _at_work(anyio_backend, kind) as program:
        told = program.next_log()
        assert told["seconds"] - program.began < NOTICED_SECONDS + program.slack_seconds
        assert (told["job_id"], told["attempt"], told["status"]) == (program.job_id, 1, "running")
        assert program.job_id in told["text"]
        assert f"in {kind}" in told["text"]
        assert line in told["text"] or "while time.monotonic() < until" in told["text"]


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "number"), [("spins", signal.SIGTERM), ("sleeps", signal.SIGINT)])
def test_a_blocked_loop_ends_after_grace_and_margin(
    kind: str, number: signal.Signals, anyio_backend: str
) -> None:
    with _at_work(anyio_backend, kind) as program:
        program.send(number)
        output, log, code = program.end()
        assert program.seconds() >= GRACE_SECONDS + MARGIN_SECONDS - 0.1
        assert program.seconds() < GRACE_SECONDS + MARGIN_SECONDS + program.slack_seconds
        assert (output, code) == ([], EXIT_CODE)
        assert f"in {kind}" in log[-1]["text"], "the forced exit logs the stacks"


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["refuses", "decorated"])
def test_a_task_that_will_not_be_cancelled_is_named_and_ended(
    kind: str, anyio_backend: str
) -> None:
    with _at_work(anyio_backend, kind) as program:
        program.send(signal.SIGTERM)
        output, log, code = program.end()
        assert program.seconds() < GRACE_SECONDS + MARGIN_SECONDS + program.slack_seconds
        assert (output, code) == (["told"], EXIT_CODE)
        [named] = [line for line in log if "is still running" in line["text"]]
        assert (named["job_id"], named["attempt"]) == (program.job_id, 1)
        assert "in refuses" in named["text"]
        assert (
            named["seconds"] - program.signalled
            < GRACE_SECONDS + NOTICED_SECONDS + program.slack_seconds
        )


@pytest.mark.thorough
def test_a_thread_that_never_returns_does_not_hold_up_the_end(anyio_backend: str) -> None:
    with _at_work(anyio_backend, "thread") as program:
        program.send(signal.SIGTERM)
        output, log, code = program.end()
        assert GRACE_SECONDS <= program.seconds() < GRACE_SECONDS + program.slack_seconds
        assert (output, code) == (["told", "closed"], 0)
        assert log[0]["job_id"] == program.job_id


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("waits", signal.SIGTERM),
        pytest.param("computes", signal.SIGINT, marks=pytest.mark.thorough),
    ],
)
def test_a_handler_that_can_be_cancelled_is_at_the_end_of_the_grace(
    kind: str, number: signal.Signals, anyio_backend: str
) -> None:
    with _at_work(anyio_backend, kind) as program:
        program.send(number)
        output, log, code = program.end()
        assert GRACE_SECONDS <= program.seconds() < GRACE_SECONDS + program.slack_seconds
        assert (output, code) == (["told", "closed"], 0)
        [stopped] = log
        assert "the worker is closing" in stopped["text"]


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["spins", *thorough("waits", "refuses", "thread")])
def test_a_second_signal_ends_the_process_at_once(kind: str, anyio_backend: str) -> None:
    with _at_work(anyio_backend, kind) as program:
        program.send(signal.SIGINT)
        if kind == "spins":
            time.sleep(0.2)  # two signals at once count as one, and a blocked loop logs nothing
        else:
            assert program.process.stdout is not None
            assert program.process.stdout.readline() == "told\n"
        program.send(signal.SIGTERM)
        output, _, code = program.end()
        assert program.seconds() < program.slack_seconds
        assert (output, code) == ([], -signal.SIGTERM)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["waits", *thorough("thread")])
def test_a_blocking_engines_worker_serves_too(kind: str) -> None:
    with _at_work("-", kind, "blocking") as program:
        program.send(signal.SIGTERM)
        output, _, code = program.end()
        assert GRACE_SECONDS <= program.seconds() < GRACE_SECONDS + program.slack_seconds
        assert (output, code) == (["told", "closed"], 0)


@pytest.mark.thorough
def test_a_second_signal_ends_a_blocking_program_at_once() -> None:
    with _at_work("-", "spins", "blocking") as program:
        program.send(signal.SIGINT)
        assert program.process.stdout is not None
        assert program.process.stdout.readline() == "told\n"
        program.send(signal.SIGTERM)
        output, _, code = program.end()
        assert (output, code) == ([], -signal.SIGTERM)


@pytest.mark.thorough
def test_a_blocking_program_that_does_not_close_is_ended() -> None:
    with _at_work("-", "refuses", "blocking") as program:
        program.send(signal.SIGTERM)
        output, log, code = program.end()
        assert program.seconds() < GRACE_SECONDS + MARGIN_SECONDS + program.slack_seconds
        assert (output, code) == (["told"], EXIT_CODE)
        assert [line for line in log if "is still running" in line["text"]]


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["waits", *thorough("computes", "thread")])
def test_a_ctrl_c_closes_a_program_that_knows_of_no_signals(kind: str, anyio_backend: str) -> None:
    with _at_work(anyio_backend, kind, "body") as program:
        program.send(signal.SIGINT)
        output, log, code = program.end()
        assert program.seconds() < GRACE_SECONDS + program.slack_seconds
        assert (output, code) == (["interrupted"], 2)
        [stopped] = log
        assert "the worker is closing" in stopped["text"], "it has not failed"


@pytest.mark.thorough
def test_a_second_ctrl_c_is_not_the_handlers_own(anyio_backend: str) -> None:
    """asyncio raises the interrupt in the code that runs, which is the handler."""
    with _at_work(anyio_backend, "computes", "body") as program:
        program.send(signal.SIGINT)
        time.sleep(0.2)  # two signals at once count as one; within the grace period
        program.send(signal.SIGINT)
        output, log, code = program.end()
        assert program.seconds() < GRACE_SECONDS + program.slack_seconds
        assert (output, code) == (["interrupted"], 2)
        assert not [line for line in log if "failed" in line["text"]]
