"""The watchdog reports only a blocked loop, and does not count suspended time."""

import logging
import os
import signal
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from types import FrameType

import anyio
import pytest

from engine.portal import watchdog as watchdog_module
from engine.portal.loop_thread import the_loop_thread
from engine.portal.watchdog import (
    Watchdog,
    all_stacks,
    frames_of,
    get_unsuspended,
    stack_text,
)
from tests.systems import needs_interrupts
from tests.tries import rounds
from tests.unit.portal.programs.waiting import SECONDS as WAIT_SECONDS
from tests.unit.portal.starting import started

SECONDS = 60
PAUSE_SECONDS = 0.1
AFTER_SECONDS = 0.2

Report = tuple[str, float, list[str]]


class Reports:
    """The reports of a watchdog, in order, each with the names of the running functions."""

    def __init__(self) -> None:
        self.all: SimpleQueue[Report] = SimpleQueue()

    def blocked(self, frames: Sequence[FrameType], seconds: float) -> None:
        self.all.put(("blocked", seconds, [frame.f_code.co_name for frame in frames]))

    def resumed(self, seconds: float) -> None:
        self.all.put(("resumed", seconds, []))

    def next(self) -> Report:
        return self.all.get(timeout=SECONDS)

    def watchdog(self) -> Watchdog:
        return Watchdog(self.blocked, self.resumed, AFTER_SECONDS)


@pytest.fixture(autouse=True)
def asks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog_module, "_PAUSE_SECONDS", PAUSE_SECONDS)


def _watching() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "engine watchdog"}


def _join(ended: set[threading.Thread]) -> None:
    for each in ended:
        each.join(SECONDS)
        assert not each.is_alive()


def block_the_loop(reports: Reports, more_seconds: float) -> Report:
    """Block until the report, and a little longer."""
    report = reports.next()
    threading.Event().wait(more_seconds)
    return report


async def run_attempt(reports: Reports, more_seconds: float) -> Report:
    """The function to look for in the frames."""
    return block_the_loop(reports, more_seconds)


async def _is_reported(reports: Reports) -> None:
    """Block the loop twice, and check for one report each, with its place and duration."""
    for more_seconds in (AFTER_SECONDS * 3, 0):
        what, seconds, names = await run_attempt(reports, more_seconds)
        assert what == "blocked"
        assert AFTER_SECONDS <= seconds < SECONDS
        assert names.index("block_the_loop") < names.index("run_attempt")
        what, in_all, _ = await anyio.to_thread.run_sync(reports.next)  # the loop turns
        assert what == "resumed"
        assert in_all >= seconds + more_seconds


@pytest.mark.thorough
@pytest.mark.anyio
async def test_a_blocked_loop_is_reported_once_and_one_that_sleeps_never() -> None:
    for _ in rounds():  # a busy machine may hold up a loop that sleeps, but not each time
        reports = Reports()
        watchdog = reports.watchdog()
        watchdog.start()
        await anyio.sleep(1.5 * PAUSE_SECONDS + AFTER_SECONDS)  # it has asked once
        if is_quiet := reports.all.empty():
            await _is_reported(reports)
        watching = _watching()
        watchdog.close()
        _join(watching)
        if is_quiet and reports.all.empty():
            break


@pytest.mark.thorough
def test_the_loop_of_the_blocking_engines_can_be_watched() -> None:
    reports = Reports()

    async def blocked() -> None:
        watchdog = reports.watchdog()
        watchdog.start()
        await _is_reported(reports)
        watchdog.close()

    the_loop_thread().start(blocked).result(SECONDS)
    _join(_watching())


@pytest.mark.thorough
def test_it_ends_when_it_is_closed_while_the_loop_is_blocked(anyio_backend: str) -> None:
    async def main() -> None:
        reports = Reports()
        watchdog = reports.watchdog()
        watchdog.start()
        assert reports.next()[0] == "blocked"
        watchdog.close()
        _join(_watching())

    anyio.run(main, backend=anyio_backend)


def test_it_ends_with_its_loop(anyio_backend: str) -> None:
    async def main() -> None:
        Reports().watchdog().start()

    anyio.run(main, backend=anyio_backend)
    _join(_watching())


@pytest.mark.thorough
@pytest.mark.anyio
async def test_a_report_that_fails_is_logged_and_the_watching_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried: SimpleQueue[str] = SimpleQueue()

    def fail(_frames: Sequence[FrameType], _seconds: float) -> None:
        tried.put("blocked")
        raise ValueError("no")

    watchdog = Watchdog(fail, lambda _seconds: tried.put("resumed"), AFTER_SECONDS)
    watchdog.start()
    with caplog.at_level(logging.ERROR, "engine"):
        for _ in range(2):
            assert tried.get(timeout=SECONDS) == "blocked"  # blocks the loop
            assert await anyio.to_thread.run_sync(lambda: tried.get(timeout=SECONDS)) == "resumed"
    assert [str(record.exc_info and record.exc_info[1]) for record in caplog.records] == ["no"] * 2
    watching = _watching()
    watchdog.close()
    _join(watching)


def test_stacks_of_other_threads_can_be_seen() -> None:
    begun, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        let_go.wait(SECONDS)

    thread = threading.Thread(target=hold, name="a holder")
    thread.start()
    begun.wait(SECONDS)
    ident = thread.ident or 0
    text = stack_text(frames_of(ident))
    assert text.index("in _bootstrap") < text.index("in hold")  # the innermost comes last
    assert "thread a holder:\n" in all_stacks()
    let_go.set()
    thread.join(SECONDS)
    assert frames_of(ident) == []


def test_what_comes_in_time_is_returned_and_else_the_wait_ends() -> None:
    queue: SimpleQueue[int] = SimpleQueue()
    queue.put(7)
    assert get_unsuspended(queue, 20) == 7
    began = time.monotonic()
    with pytest.raises(Empty):
        get_unsuspended(queue, 0.2)
    assert 0.2 <= time.monotonic() - began < 20


@pytest.mark.thorough
@needs_interrupts
def test_time_in_which_the_process_is_suspended_does_not_count() -> None:
    with started("waiting") as process:
        assert process.stdout is not None
        began = float(process.stdout.readline())
        process.send_signal(signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        stopped = time.monotonic()
        time.sleep(WAIT_SECONDS * 1.2)
        process.send_signal(signal.SIGCONT)
        resumed = time.monotonic()
        ended = float(process.stdout.readline())
    assert (stopped - began) + (ended - resumed) > WAIT_SECONDS * 0.8
