"""A fork waits for the call that a work thread is making."""

import os
import threading
from collections.abc import Callable

import anyio
import pytest

from engine.portal import WorkThread, forking
from tests.systems import needs_fork

SECONDS = 60

pytestmark = [pytest.mark.anyio, needs_fork]


def _fork(code: Callable[[], int] = lambda: 7) -> int:
    """Fork a child that ends at once; return its exit code."""
    if (child := os.fork()) == 0:
        os._exit(code())
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_a_fork_comes_between_two_calls() -> None:
    begun, let_go = threading.Event(), threading.Event()
    ended: list[bool] = []

    def call() -> None:
        begun.set()
        let_go.wait(SECONDS)
        ended.append(True)

    def fork() -> None:
        begun.wait(SECONDS)
        os.register_at_fork(before=let_go.set)  # the newest is called first, before the fork waits
        assert _fork(lambda: 7 if ended else 8) == 7

    thread = WorkThread("test")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(thread.run, call)
        await anyio.to_thread.run_sync(fork)
    thread.close()


def _locks_of(thread: WorkThread) -> set[forking.CallLock]:
    return forking._locks & {thread._lock}  # noqa: SLF001 - a race shows it once in many tries


async def test_a_fork_waits_for_a_thread_that_was_closed_and_begun_again() -> None:
    begun, let_go = threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        let_go.wait(SECONDS)

    thread = WorkThread("test")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(thread.run, call)
        await anyio.to_thread.run_sync(begun.wait, SECONDS)
        first = _locks_of(thread)
        thread.close()
        await thread.run(int)  # on another thread; the first one ends later
        assert first
        assert _locks_of(thread) - first
        let_go.set()
    assert _locks_of(thread)
    thread.close()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_a_call_may_fork_and_later_calls_go_on() -> None:
    thread = WorkThread("test")
    assert await thread.run(_fork) == 7
    assert _fork() == 7
    assert await thread.run(lambda: "went on") == "went on"
    thread.close()
