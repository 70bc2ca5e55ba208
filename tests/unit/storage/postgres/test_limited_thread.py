"""The limited thread cuts calls that take too long, and no others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import anyio
import pytest

from engine.storage.postgres import limited_thread
from engine.storage.postgres.limited_thread import LimitedThread

pytestmark = pytest.mark.anyio

SECONDS = 60


@contextmanager
def limited(thread: LimitedThread) -> Iterator[LimitedThread]:
    try:
        yield thread
    finally:
        thread.close()


async def test_a_call_that_ended_while_the_loop_was_blocked_is_not_cut() -> None:
    limit_seconds = 0.1
    may_end, has_ended = threading.Event(), threading.Event()
    cuts_ended_call: list[bool] = []

    def call() -> str:
        may_end.wait(SECONDS)
        has_ended.set()
        return "its result"

    async def block(thread: LimitedThread) -> None:
        passed = anyio.current_time() + limit_seconds
        may_end.set()
        is_next = threading.Event()
        thread._thread.start(is_next.set)  # noqa: SLF001 - begins when the call has ended
        assert is_next.wait(SECONDS)
        while anyio.current_time() <= passed:
            pass

    def cut() -> None:
        cuts_ended_call.append(has_ended.is_set())

    with limited(LimitedThread("a thread", cut)) as thread:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(block, thread)
            assert await thread.run(call, seconds=limit_seconds) == "its result"
    assert True not in cuts_ended_call


async def test_a_call_is_cut_again_until_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may connect when it is cut first, and wait for an answer later."""
    monkeypatch.setattr(limited_thread, "_CUT_AGAIN_SECONDS", 0.01)
    is_cut = threading.Event()
    cuts: list[None] = []

    def cut() -> None:
        cuts.append(None)
        if len(cuts) == 3:
            is_cut.set()

    with limited(LimitedThread("a thread", cut)) as thread:
        assert await thread.run(partial(is_cut.wait, SECONDS), seconds=0)
