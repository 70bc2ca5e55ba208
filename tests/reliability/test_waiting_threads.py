"""Waiting threads: their timeouts, and an interrupt at any line of a call.

A timeout of a write says "outcome unknown", because the change is not undone. The engine stays
usable after both.
"""

import gc
import inspect
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import engine as package
from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    CallTimeoutError,
    Context,
    InvalidValueError,
    Job,
    JobStatus,
    Move,
    NewJob,
    OutcomeUnknownError,
    SyncJobEngine,
    Worker,
    WriteTimeoutError,
)
from engine.portal import bridge
from engine.storage.audit import AuditLine
from engine.storage.record import Change
from tests.reliability.planted import SECONDS_AGAINST_HANGS, PlantedStorage
from tests.reliability.test_misuse import CALLS

DAY = timedelta(days=1)
WRITES: dict[str, Callable[[SyncJobEngine, str], Any]] = {
    "create": lambda engine, _: engine.create("new", timeout=0.01),
    "create_many": lambda engine, _: engine.create_many([NewJob("new")], timeout=0.01),
    "transition": lambda engine, job_id: engine.transition(job_id, JobStatus.RUNNING, timeout=0.01),
    "transition_many": lambda engine, job_id: engine.transition_many(
        [Move(job_id, JobStatus.RUNNING)], timeout=0.01
    ),
    "cancel": lambda engine, job_id: engine.cancel(job_id, timeout=0.01),
    "start": lambda engine, job_id: engine.start(job_id, timeout=0.01),
    "retry": lambda engine, job_id: engine.retry(job_id, timeout=0.01),
    "repeat": lambda engine, job_id: engine.repeat(job_id, timeout=0.01),
    "extend": lambda engine, job_id: engine.extend(job_id, JobStatus.RUNNING, DAY, timeout=0.01),
    "remove_rule": lambda engine, _: engine.remove_rule("refund", timeout=0.01),
    "disable_rule": lambda engine, _: engine.disable_rule("refund", timeout=0.01),
    "enable_rule": lambda engine, _: engine.enable_rule("refund", timeout=0.01),
    "prune": lambda engine, _: engine.prune(keep=1, timeout=0.01),
    "pause": lambda engine, _: engine.pause("report", timeout=0.01),
    "resume": lambda engine, _: engine.resume("report", timeout=0.01),
    "drain": lambda engine, _: engine.drain(timeout=0.01),
}
READS: dict[str, Callable[[SyncJobEngine, str], Any]] = {
    "get": lambda engine, job_id: engine.get(job_id, timeout=0.01),
    "get_many": lambda engine, job_id: engine.get_many([job_id], timeout=0.01),
    "find": lambda engine, job_id: engine.find(payment_id=f"mock_bc_{job_id}", timeout=0.01),
    "count": lambda engine, _: engine.count(timeout=0.01),
    "list_jobs": lambda engine, _: engine.list_jobs(timeout=0.01),
    "history": lambda engine, job_id: engine.history(job_id, timeout=0.01),
    "attempts": lambda engine, job_id: engine.attempts(job_id, timeout=0.01),
    "audit": lambda engine, _: engine.audit(timeout=0.01),
    "statistics": lambda engine, _: engine.statistics(timeout=0.01),
    "wait": lambda engine, job_id: engine.wait(job_id, timeout=0.01),
    "result": lambda engine, job_id: engine.result(job_id, timeout=0.01),
    "follow_ups": lambda engine, job_id: engine.follow_ups(job_id, timeout=0.01),
    "rules": lambda engine, _: engine.rules(timeout=0.01),
    "paused": lambda engine, _: engine.paused(timeout=0.01),
    # These read first, and have sent nothing else so far.
    "provide_input": lambda engine, job_id: engine.provide_input(job_id, "?", 1, timeout=0.01),
    "follow_up": lambda engine, job_id: engine.follow_up(job_id, "refund", timeout=0.01),
    "backfill": lambda engine, _: engine.backfill("refund", timeout=0.01),
    "backup": lambda engine, _: engine.backup("never.db", timeout=0.01),
}


class Blocked(PlantedStorage):
    """Blocks the event loop of its engine in a commit, instead of awaiting."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        if not self.is_let_go:
            self.begun.set()
            self.wait()
        await super().commit(changes, lines)


@contextmanager
def _held(
    kind: type[PlantedStorage], *, is_running: bool = False
) -> Iterator[tuple[SyncJobEngine, str, PlantedStorage]]:
    """An engine with one job, busy with a commit until its storage releases it."""
    storage = kind()
    with SyncJobEngine(storage) as engine:
        job = engine.create("old")
        if is_running:
            engine.transition(job.job_id, JobStatus.RUNNING)
        storage.hold()
        holding = threading.Thread(target=engine.create, args=["held"])
        holding.start()
        try:
            assert storage.begun.wait(SECONDS_AGAINST_HANGS)
            yield engine, job.job_id, storage
        finally:
            storage.let_go()
            holding.join(SECONDS_AGAINST_HANGS)


behind_either = pytest.mark.parametrize("kind", [PlantedStorage, Blocked])


def test_every_call_with_a_timeout_is_tested_here() -> None:
    calls = inspect.getmembers(SyncJobEngine, inspect.isfunction)
    timed = {
        name
        for name, call in calls
        if not name.startswith("_") and "timeout" in inspect.signature(call).parameters
    }
    assert timed == {*WRITES, *READS}


@behind_either
@pytest.mark.parametrize("call", WRITES)
def test_a_write_that_times_out_is_unknown_and_still_applied(
    call: str, kind: type[PlantedStorage]
) -> None:
    with _held(kind, is_running=call == "cancel") as (engine, job_id, storage):
        with pytest.raises(WriteTimeoutError) as caught:
            WRITES[call](engine, job_id)
        assert isinstance(caught.value, OutcomeUnknownError)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.timeout == 0.01
        assert "outcome unknown" in str(caught.value)
        assert not storage.is_let_go
        storage.let_go()
        if call.startswith("create"):
            assert engine.count() == 3
        elif call == "cancel":
            assert engine.get(job_id).status is JobStatus.FAILED
        elif call == "extend":
            assert JobStatus.RUNNING in engine.get(job_id).deadlines
        elif call in {"retry", "repeat", "prune"}:  # refused when they are decided, or no job ended
            assert engine.get(job_id).status is JobStatus.AWAITING_PAYMENT
        elif call in {"remove_rule", "disable_rule", "enable_rule"}:
            assert engine.rules() == []
        elif call in {"pause", "resume"}:
            assert [each.kind for each in engine.paused()] == ["report"] * (call == "pause")
        elif call == "drain":
            assert engine.statistics().draining
        else:
            assert engine.get(job_id).status is JobStatus.RUNNING


@behind_either
@pytest.mark.parametrize("call", READS)
def test_a_read_that_times_out_says_so_and_nothing_more(
    call: str, kind: type[PlantedStorage]
) -> None:
    with _held(kind) as (engine, job_id, storage):
        with pytest.raises(CallTimeoutError) as caught:
            READS[call](engine, job_id)
        assert not isinstance(caught.value, OutcomeUnknownError)
        assert caught.value.timeout == 0.01
        assert not storage.is_let_go
        storage.let_go()
        assert engine.count() == 2


class LeapingTime:
    """Replaces the time module of a blocking call: each reading is 30 seconds later."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        self._now += 30
        return self._now


def _ask(_: Job[AgentJobStatus], context: Context[AgentJobStatus]) -> int:
    return int(context.request_input(int))


def test_one_time_limit_holds_for_both_messages_of_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Past the timeout after the first reading, nothing is sent: the outcome is known."""
    with SyncJobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine, Worker(engine, _ask):
        job = engine.transition(engine.create("hash").job_id, AgentJobStatus.RUNNING)
        asking = engine.wait(job.job_id, until=[AgentJobStatus.AWAITING_INPUT])
        assert asking.prompt is not None
        with monkeypatch.context() as patch:
            patch.setattr(bridge, "time", LeapingTime())
            with pytest.raises(CallTimeoutError) as caught:
                engine.provide_input(job.job_id, asking.prompt.prompt_id, 5, timeout=50)
            assert (type(caught.value), caught.value.timeout) == (CallTimeoutError, 50)
        assert engine.get(job.job_id) == asking
        engine.provide_input(job.job_id, asking.prompt.prompt_id, 5, timeout=50)
        assert engine.result(job.job_id, int, timeout=50) == 5


def test_a_timeout_that_is_not_reached_changes_nothing() -> None:
    with SyncJobEngine() as engine:
        for timeout in (None, 30, 30.0, float("inf"), 1e300, threading.TIMEOUT_MAX * 2):
            assert engine.create("hash", timeout=timeout).version == 1
        assert engine.count() == 6


REFUSED = {
    "negative": -0.001,
    "no number": float("nan"),
    "minus infinity": float("-inf"),
    "a text": "1",
    "a list": [1],
    "an object": object(),
}


SENDS: dict[str, Callable[[SyncJobEngine, float], Any]] = {
    "create": lambda engine, timeout: engine.create("hash", timeout=timeout),
    "transition_many": lambda engine, timeout: engine.transition_many([], timeout=timeout),
    "get": lambda engine, timeout: engine.get("hash", timeout=timeout),
    "count": lambda engine, timeout: engine.count(timeout=timeout),
}


@pytest.mark.parametrize("timeout", REFUSED)
@pytest.mark.parametrize("call", SENDS)
def test_a_timeout_that_is_none_is_refused_and_nothing_is_sent(call: str, timeout: str) -> None:
    bad: Any = REFUSED[timeout]
    with SyncJobEngine() as engine:
        with pytest.raises(InvalidValueError, match=r"^timeout "):
            SENDS[call](engine, bad)
        assert engine.count() == 0


def test_a_timeout_of_any_size_is_as_long_as_a_thread_can_wait() -> None:
    with SyncJobEngine() as engine:
        assert engine.count(timeout=10**400) == 0


class InterruptAt:
    """Interrupts this thread at the n-th line of the package that it runs."""

    def __init__(self, line: int) -> None:
        self._lines_left = line
        self.interrupted = False

    def __call__(self, frame: FrameType, event: str, _: object) -> "InterruptAt | None":
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            self._lines_left -= 1
            if self._lines_left < 0:
                self.interrupted = True
                sys.settrace(None)
                raise KeyboardInterrupt
        return self


PACKAGE = str(Path(str(package.__file__)).parent)


@pytest.fixture
def _no_collection() -> Iterator[None]:
    """Lines of another engine's finalizer must not count as lines of the call."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collection")
@pytest.mark.parametrize("call", ["create", "get", "transition_many", "count"])
def test_an_interrupt_at_any_line_of_a_call_leaves_the_engine_usable(call: str) -> None:
    before = sys.gettrace()
    with SyncJobEngine() as engine:
        for line in range(500):
            interrupt = InterruptAt(line)
            sys.settrace(interrupt)
            try:
                CALLS[call](engine)
            except KeyboardInterrupt:
                pass
            except LookupError:
                assert call.startswith(("get", "transition", "history"))
            finally:
                sys.settrace(before)
            assert engine.count(timeout=SECONDS_AGAINST_HANGS) >= 0
            if not interrupt.interrupted:
                break
        assert 5 < line < 499, "the call has run to its end in the last round"
