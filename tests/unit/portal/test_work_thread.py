"""The work thread: one call after another, and each answer to its own caller."""

import gc
import threading
import weakref
from typing import Any

import anyio
import pytest

from engine.portal import WorkThread

pytestmark = pytest.mark.anyio


async def test_calls_are_made_one_by_one_on_one_other_thread() -> None:
    thread = WorkThread("a thread")
    calls: list[tuple[int, str]] = []

    async def call(number: int) -> None:
        await thread.run(lambda: calls.append((number, threading.current_thread().name)))

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(call, number)
    assert sorted(number for number, _ in calls) == list(range(20))
    assert {name for _, name in calls} == {"a thread"}
    thread.close()


async def test_a_call_has_its_arguments_and_its_answer_or_error() -> None:
    thread = WorkThread("a thread")
    assert await thread.run(max, 3, 7) == 7
    assert await thread.run(int, "ff", base=16) == 255
    for error in (ValueError("no"), KeyboardInterrupt("now"), SystemExit(3)):

        def fail(error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            await thread.run(fail)
        assert caught.value is error
    assert await thread.run(max, 3, 7) == 7
    thread.close()


async def test_a_cancelled_call_goes_on_and_ends_before_the_next() -> None:
    thread = WorkThread("a thread")
    begun, let_go, ends = threading.Event(), threading.Event(), list[str]()

    def slow() -> None:
        begun.set()
        let_go.wait(10)
        ends.append("slow")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(thread.run, slow)
        await anyio.to_thread.run_sync(begun.wait, 10)
        tasks.cancel_scope.cancel()
    assert ends == []
    let_go.set()
    await thread.run(ends.append, "next")
    assert ends == ["slow", "next"]
    thread.close()


async def test_a_call_that_nobody_waits_for_is_made_before_later_ones() -> None:
    thread = WorkThread("a thread")
    calls: list[int] = []
    await thread.run(int)
    thread.start(lambda: calls.append(1))
    await thread.run(calls.append, 2)
    assert calls == [1, 2]
    thread.close()


async def test_it_ends_when_it_is_closed_and_can_be_used_again() -> None:
    thread = WorkThread("a thread of its own")
    thread.close()
    for _ in range(2):
        ident = await thread.run(threading.get_ident)
        [running] = [each for each in threading.enumerate() if each.ident == ident]
        thread.close()
        await anyio.to_thread.run_sync(running.join, 10)
        assert not running.is_alive()


async def test_it_keeps_nothing_of_a_call_alive() -> None:
    thread = WorkThread("a thread")

    class Value:
        pass

    async def call() -> weakref.ref[Any]:
        value = Value()
        with pytest.raises(TypeError):
            await thread.run(int, value)  # type: ignore[arg-type]
        return weakref.ref(value)

    value = await call()
    await thread.run(int)
    gc.collect()
    assert value() is None
    thread.close()
