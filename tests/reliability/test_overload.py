"""Row 9: ten times the load that an engine admits; the surplus is refused, and memory is bounded.

The storage holds a commit, so nothing is answered while the load arrives, and the accepted and
refused calls can be counted exactly.
"""

import threading
import tracemalloc
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import anyio
import pytest

from engine import Job, JobEngine, NewJob, OverloadedError, SyncJobEngine
from tests.reliability.planted import SECONDS_AGAINST_HANGS, PlantedStorage, begun
from tests.tries import tries

MAX_WAITING = 50
MOST_GROWTH_BYTES = 50_000_000


@pytest.mark.anyio
async def test_what_cannot_wait_is_refused_and_the_rest_is_answered() -> None:
    storage, outcomes = PlantedStorage(), list[Job | OverloadedError]()

    async def create(input_hash: str) -> None:
        try:
            outcomes.append(await engine.create(input_hash))
        except OverloadedError as error:
            outcomes.append(error)

    async with JobEngine(storage, max_waiting=MAX_WAITING) as engine:
        storage.hold()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(create, "held")
            await begun(storage)
            for number in range(10 * MAX_WAITING):
                tasks.start_soon(create, str(number))
            await anyio.wait_all_tasks_blocked()
            storage.let_go()
        refused = [error for error in outcomes if isinstance(error, OverloadedError)]
        assert len(refused) == 9 * MAX_WAITING
        assert {(error.waiting, error.limit) for error in refused} == {(MAX_WAITING, MAX_WAITING)}
        assert await engine.count() == 1 + MAX_WAITING
        statistics = await engine.statistics()
        assert (statistics.refused, statistics.queued) == (9 * MAX_WAITING, 0)
        assert statistics.answered == 2 + MAX_WAITING
        await engine.create("there is room again")


@pytest.mark.anyio
async def test_a_bulk_call_weighs_as_much_as_it_has_items() -> None:
    storage = PlantedStorage()
    async with JobEngine(storage, max_waiting=10) as engine:
        storage.hold()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.create, "held")
            await begun(storage)
            tasks.start_soon(engine.create_many, [NewJob("hash")] * 9)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(engine.create_many, [NewJob("hash")] * 100)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(OverloadedError) as caught:
                await engine.get("hash")
            assert (caught.value.waiting, caught.value.limit) == (109, 10)
            storage.let_go()
        assert await engine.count() == 110


FULL_LIMIT = 20_000
"""Of requests that wait; nine times as many are refused."""


@pytest.mark.anyio
async def test_memory_does_not_grow_with_the_load() -> None:
    storage, limit = PlantedStorage(), tries(FULL_LIMIT)
    async with JobEngine(storage, max_waiting=limit) as engine:
        storage.hold()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.create, "held")
            await begun(storage)
            tracemalloc.start()
            try:
                for number in range(limit):
                    tasks.start_soon(engine.create, str(number))
                await anyio.wait_all_tasks_blocked()
                accepted, _ = tracemalloc.get_traced_memory()
                tracemalloc.reset_peak()
                for number in range(9 * limit):
                    with pytest.raises(OverloadedError):
                        await engine.create(str(number))
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            storage.let_go()
    print(f"accepted {accepted:,} bytes, peak {peak:,}")  # noqa: T201 - the figures
    assert accepted * 10_000 / limit < MOST_GROWTH_BYTES, "with the default limit"
    assert peak - accepted < 1_000_000, "what is refused leaves nothing behind"


class BlockingStorage(PlantedStorage):
    """Blocks the event loop itself, so it can't even take the messages of the threads."""

    async def commit(self, changes: Any, lines: Any = ()) -> None:  # noqa: ANN401 - see Storage
        self.blocking.set()
        assert self.go_on.wait(SECONDS_AGAINST_HANGS)
        await super().commit(changes, lines)

    def __init__(self) -> None:
        super().__init__()
        self.blocking = threading.Event()
        self.go_on = threading.Event()


@pytest.mark.parametrize("kind", [PlantedStorage, BlockingStorage])
def test_threads_are_refused_too_and_the_rest_is_answered(kind: type[PlantedStorage]) -> None:
    storage, told = kind(), Counter[str]()
    threads, limit = 120, 12
    refused, all_refused = threads - 1 - limit, threading.Event()

    def account(call: Future[Job]) -> None:
        told.update([type(call.exception()).__name__])
        if told["OverloadedError"] == refused:
            all_refused.set()

    with SyncJobEngine(storage, max_waiting=limit) as engine, ThreadPoolExecutor(threads) as pool:
        storage.hold()
        held = pool.submit(engine.create, "held")
        blocked = storage.blocking if isinstance(storage, BlockingStorage) else storage.begun
        assert blocked.wait(SECONDS_AGAINST_HANGS)
        calls = [pool.submit(engine.create, str(number)) for number in range(threads - 1)]
        for call in calls:
            call.add_done_callback(account)
        assert all_refused.wait(SECONDS_AGAINST_HANGS)
        storage.let_go()
        if isinstance(storage, BlockingStorage):
            storage.go_on.set()
        assert held.result(timeout=SECONDS_AGAINST_HANGS).input_hash == "held"
        for call in calls:
            call.exception(timeout=SECONDS_AGAINST_HANGS)
        assert told == {"OverloadedError": refused, "NoneType": limit}
        assert engine.count() == 1 + limit
        statistics = engine.statistics()
        assert (statistics.refused, statistics.queued) == (refused, 0)
