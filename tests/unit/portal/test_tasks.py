"""Tasks that begin and end whatever is cancelled."""

from __future__ import annotations

import asyncio
from contextvars import Context

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine.portal import task_starter, to_the_end

pytestmark = pytest.mark.anyio
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


class Work:
    """Works until it is let go or cancelled.

    Attributes:
        steps: What has happened to it.
    """

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.let_go = anyio.Event()

    async def __call__(self) -> None:
        self.steps.append("began")
        try:
            await self.let_go.wait()
            self.steps.append("ended")
        finally:
            self.steps.append("cleaned up")


@on_asyncio
async def test_a_task_that_is_cancelled_before_it_begins_begins_and_cleans_up() -> None:
    """A program may cancel all tasks of its loop, whoever has started them."""
    work = Work()
    async with anyio.create_task_group() as tasks:
        task_starter(tasks, Context())(work, name="work")
        [task] = [each for each in asyncio.all_tasks() if each.get_name() == "work"]
        assert task.cancel()
        await asyncio.wait([task])
    assert work.steps == ["began", "cleaned up"]
    assert task.cancelled()


async def test_what_runs_to_the_end_does_so_in_a_cancelled_scope() -> None:
    work = Work()
    with anyio.CancelScope() as scope:
        scope.cancel()
        work.let_go.set()
        await to_the_end(work)
        assert work.steps == ["began", "ended", "cleaned up"]
        await checkpoint()
    assert scope.cancelled_caught


@on_asyncio
async def test_what_runs_to_the_end_does_so_in_a_cancelled_task() -> None:
    work = Work()
    task = asyncio.create_task(to_the_end(work))
    for _ in range(2):
        await anyio.wait_all_tasks_blocked()
        task.cancel()
    await anyio.wait_all_tasks_blocked()
    assert (work.steps, task.done()) == (["began"], False)
    work.let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.steps == ["began", "ended", "cleaned up"]


async def test_its_error_comes_through() -> None:
    async def fail() -> None:
        await checkpoint()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await to_the_end(fail)
