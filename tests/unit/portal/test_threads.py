"""A pool of threads: it grows as needed, and no thread delays anything."""

import gc
import os
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from engine.portal.threads import Threads
from tests.systems import needs_fork

pytestmark = pytest.mark.anyio

SECONDS = 60
NAME = "one of the test's threads"


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    threads = Threads(NAME)
    yield threads
    threads.close()
    await anyio.to_thread.run_sync(_join, _running())  # or the next test would find them


def _running() -> set[threading.Thread]:
    """Return this test's threads; each test waits for the end of its own."""
    return {each for each in threading.enumerate() if each.name == NAME}


def _join(ended: set[threading.Thread]) -> None:
    for each in ended:
        each.join(SECONDS)
        assert not each.is_alive()


async def _called(threads: Threads, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 - of any function
    """Call a function in a thread, and return its result."""
    return await threads.start(function, *arguments).wait()


class Held:
    """A function that reports its start, and returns when it is released."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()

    def hold(self) -> str:
        self.begun.set()
        assert self.let_go.wait(SECONDS)
        return "held"


async def test_as_many_calls_as_there_are_run_at_once_and_their_threads_are_kept(
    threads: Threads,
) -> None:
    idents: list[set[int]] = []
    all_there = threading.Barrier(12)

    def meet(now: set[int]) -> None:
        all_there.wait(SECONDS)
        now.add(threading.get_ident())

    for _ in range(3):
        now: set[int] = set()
        async with anyio.create_task_group() as tasks:
            for _ in range(12):
                tasks.start_soon(_called, threads, meet, now)
        idents.append(now)
    assert len(idents[0]) == 12
    assert idents[0] == idents[1] == idents[2]


async def test_calls_one_after_another_need_one_thread(threads: Threads) -> None:
    assert len({await _called(threads, threading.get_ident) for _ in range(50)}) == 1


async def test_a_call_has_its_arguments_and_its_answer_or_error(threads: Threads) -> None:
    assert await _called(threads, max, 3, 7) == 7
    for error in (ValueError("no"), KeyboardInterrupt("now"), SystemExit(3)):

        def fail(error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            await _called(threads, fail)
        assert caught.value is error
    with pytest.raises(RuntimeError, match="StopIteration"):
        await _called(threads, next, iter(()))


async def test_a_call_has_a_copy_of_the_callers_context(threads: Threads) -> None:
    variable: ContextVar[str] = ContextVar("variable")
    variable.set("of the caller")
    assert await _called(threads, variable.get) == "of the caller"
    await _called(threads, variable.set, "of the thread")
    assert variable.get() == "of the caller"


async def test_a_call_may_run_a_loop_of_its_own(threads: Threads) -> None:
    await _called(threads, lambda: anyio.run(anyio.lowlevel.checkpoint))


async def test_a_cancelled_call_is_left_and_tells_where_it_is_and_when_it_ended(
    threads: Threads,
) -> None:
    held = Held()
    call = threads.start(held.hold)
    await anyio.to_thread.run_sync(held.begun.wait, SECONDS)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await call.wait()
    assert scope.cancelled_caught
    assert call.ended is False
    assert "in hold\n" in (call.stack() or "")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call.until_ended)
        tasks.start_soon(call.until_ended)
        await anyio.wait_all_tasks_blocked()
        held.let_go.set()
    assert call.stack() is None
    assert await call.wait() == "held"


async def test_a_call_that_was_left_keeps_its_thread_and_others_have_their_own(
    threads: Threads,
) -> None:
    held = Held()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_called, threads, held.hold)
        await anyio.to_thread.run_sync(held.begun.wait, SECONDS)
        tasks.cancel_scope.cancel()
    assert len(_running()) == 1
    assert await _called(threads, max, 3, 7) == 7  # on another thread
    held.let_go.set()


@pytest.mark.parametrize("end", ["close", "garbage"])
async def test_idle_threads_end_with_it_and_others_after_their_call(end: str) -> None:
    threads = Threads(NAME)
    held = Held()
    stuck = threads.start(held.hold)
    idle_ident = await _called(threads, threading.get_ident)
    running = _running()
    assert len(running) == 2
    if end == "close":
        threads.close()
    del threads
    gc.collect()
    await anyio.to_thread.run_sync(_join, {each for each in running if each.ident == idle_ident})
    held.let_go.set()
    assert await stuck.wait() == "held"
    await anyio.to_thread.run_sync(_join, running)


async def test_it_keeps_nothing_of_a_call_alive(threads: Threads) -> None:
    class Value:
        pass

    gone = threading.Event()

    async def call() -> weakref.ref[Any]:
        value = Value()
        with pytest.raises(TypeError):
            await _called(threads, int, value)
        return weakref.ref(value, lambda _: gone.set())

    gc.disable()
    try:
        value = await call()  # not to be called here: that would keep it alive
        assert gone.wait(SECONDS)
        assert value() is None
    finally:
        gc.enable()


@needs_fork
async def test_a_forked_child_is_told(threads: Threads) -> None:
    await _called(threads, int)
    assert _raised_in_a_child(lambda: threads.start(int)) == "EngineForkedError"


def _raised_in_a_child(call: Callable[[], object]) -> str:
    """Return the name of the call's exception in a forked child."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fork of a process with threads; here the purpose
        child = os.fork()
    if child == 0:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - the test reads its name
            os.write(write, type(error).__name__.encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as raised:
        return raised.read()


PROGRAM = """
import threading, anyio
from engine.portal.threads import Threads

async def main():
    call = Threads("threads").start(threading.Event().wait)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await call.wait()

anyio.run(main, backend={backend!r})
"""


@pytest.mark.thorough
def test_a_call_that_never_returns_does_not_hold_up_the_exit(anyio_backend: str) -> None:
    program = PROGRAM.format(backend=anyio_backend)
    command = [sys.executable, "-W", "error", "-c", program]
    subprocess.run(command, timeout=SECONDS, check=True)
