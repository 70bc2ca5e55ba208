"""The bridge from threads to the loop: an interrupt in one call keeps no other from its answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from engine import SyncJobEngine
from engine.portal.loop_thread import LoopThread


def test_an_interrupt_on_waking_the_loop_keeps_no_other_call_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call that came meanwhile relied on the wake-up that the interrupt prevented."""
    with SyncJobEngine() as engine, ThreadPoolExecutor() as threads:
        others: list[Any] = []
        wake = LoopThread.call_soon

        def interrupted(thread: LoopThread, callback: Callable[[], object]) -> None:
            if others:
                wake(thread, callback)
                return
            others.append(threads.submit(engine.count, timeout=60))
            while len(engine._bridge._queue) < 2:  # noqa: SLF001 - nothing else shows it
                time.sleep(0.001)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(LoopThread, "call_soon", interrupted)
            with pytest.raises(KeyboardInterrupt):
                engine.create("hash")
            assert others[0].result() in (0, 1)
        assert engine.count() == 1


def test_an_interrupt_before_the_loop_has_a_function_leaves_no_coroutine_behind(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with SyncJobEngine() as engine, monkeypatch.context() as patch:
        transitions = engine.watch()
        patch.setattr(LoopThread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(transitions)
    assert not recwarn.list  # such as "coroutine 'Watcher.next' was never awaited"
