"""A garbage engine is closed, on any thread that runs the garbage collector."""

import gc
import threading
import weakref
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from engine import SyncJobEngine
from engine.repository.job_repo import InMemoryJobRepository
from tests.reliability.planted import SECONDS_AGAINST_HANGS, PlantedStorage


class WatchedStorage(PlantedStorage):
    """Records that it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.was_closed = threading.Event()

    async def aclose(self) -> None:
        await super().aclose()
        self.was_closed.set()


def _made(storage: WatchedStorage) -> SyncJobEngine:
    engine = SyncJobEngine(storage)
    engine.create("hash")
    return engine


def test_an_engine_that_nobody_holds_is_closed() -> None:
    storage = WatchedStorage()
    engine = _made(storage)
    gone = weakref.ref(engine)
    assert not storage.was_closed.is_set()
    del engine
    gc.collect()
    assert gone() is None
    assert storage.was_closed.wait(SECONDS_AGAINST_HANGS)
    assert storage.closed == 1


def test_an_engine_that_was_closed_leaves_nothing_behind() -> None:
    storage = WatchedStorage()
    gone = weakref.ref(storage)
    with _made(storage):
        pass
    with SyncJobEngine() as other:
        other.count()  # the loop thread has gone on to something else
    del storage
    gc.collect()
    assert gone() is None


def test_an_engine_in_a_cycle_is_closed_by_a_collection_on_the_serving_thread() -> None:
    storage = WatchedStorage()
    collected_on: list[str] = []

    def collect() -> datetime:
        if garbage_is_ready.is_set() and not collected_on:
            gc.collect()
            collected_on.append(threading.current_thread().name)
        return datetime.now(UTC)

    garbage_is_ready = threading.Event()
    with SyncJobEngine(clock=collect) as other:
        gc.disable()
        try:
            cycle: list[object] = [_made(storage)]
            cycle.append(cycle)
            del cycle
            garbage_is_ready.set()
            other.create("hash", timeout=SECONDS_AGAINST_HANGS)
        finally:
            gc.enable()
        assert collected_on
        assert collected_on != [threading.current_thread().name]
        assert storage.was_closed.wait(SECONDS_AGAINST_HANGS)
        assert other.count(timeout=SECONDS_AGAINST_HANGS) == 1


@pytest.mark.parametrize("made", [SyncJobEngine, InMemoryJobRepository])
def test_many_that_nobody_closes_cost_no_thread_each(made: Callable[[], object]) -> None:
    made()
    threads = threading.active_count()
    kept = [made() for _ in range(50)]
    assert threading.active_count() <= threads  # one of an earlier test may end
    assert len(kept) == 50
