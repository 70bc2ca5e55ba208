"""Row 8: an engine closes under load; each request is acknowledged or refused, and none hangs.

A second engine on the same storage finds all acknowledged changes, and nothing else.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from random import Random

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine import EngineClosedError, JobEngine, MemoryStorage, OutcomeUnknownError, SyncJobEngine
from tests.reliability.planted import SECONDS_AGAINST_HANGS, PlantedStorage
from tests.tries import seeded, tries

CALLERS = 100
FULL_CLOSES = 200
MOST_ANSWERS = 500


class Account:
    """The answers to the callers of one engine, and the moment of its close."""

    def __init__(self, random: Random) -> None:
        self.close_after = random.randrange(1, MOST_ANSWERS)
        self.acknowledged: list[str] = []
        self.refused: list[str] = []

    def check(self, storage: MemoryStorage) -> int:
        """Compare the answers with the storage, and return the number of its jobs."""
        with SyncJobEngine(storage, may_block_event_loop=True) as engine:
            cursor, stored = None, list[str]()
            while True:
                page = engine.list_jobs(limit=1_000, after=cursor)
                stored += [job.input_hash for job in page.jobs]
                if (cursor := page.next_cursor) is None:
                    break
        assert sorted(stored) == sorted(self.acknowledged)
        assert len(self.refused) == CALLERS
        assert len(stored) >= self.close_after
        return len(stored)


async def _close_among_tasks(random: Random) -> int:
    account, storage, enough = Account(random), PlantedStorage(), anyio.Event()

    async def call(caller: int) -> None:
        for number in count():
            input_hash = f"{caller} {number}"
            if random.random() < 0.5:
                await checkpoint()  # keeps callers out of lockstep
            try:
                await engine.create(input_hash)
            except EngineClosedError:
                account.refused.append(input_hash)
                return
            account.acknowledged.append(input_hash)
            if len(account.acknowledged) >= account.close_after:
                enough.set()

    async with anyio.create_task_group() as tasks, JobEngine(storage) as engine:
        for caller in range(CALLERS):
            tasks.start_soon(call, caller)
        await enough.wait()
    return account.check(storage)


@pytest.mark.anyio
async def test_an_engine_closes_among_its_tasks(anyio_backend: str) -> None:
    random = seeded(f"close under load, {anyio_backend}")
    jobs = 0
    for _ in range(tries(FULL_CLOSES, least=20)):
        with anyio.fail_after(SECONDS_AGAINST_HANGS):
            jobs += await _close_among_tasks(random)
    print(f"{tries(FULL_CLOSES, least=20)} closes, {jobs} acknowledged")  # noqa: T201 - the counts
    assert jobs > tries(FULL_CLOSES, least=20) * MOST_ANSWERS / 4


def _close_among_threads(random: Random, pool: ThreadPoolExecutor) -> int:
    account, storage, enough = Account(random), MemoryStorage(), threading.Event()
    engine = SyncJobEngine(storage)

    def call(caller: int) -> None:
        for number in count():
            input_hash = f"{caller} {number}"
            try:
                engine.create(input_hash)
            except EngineClosedError:
                account.refused.append(input_hash)
                return
            account.acknowledged.append(input_hash)
            if len(account.acknowledged) >= account.close_after:
                enough.set()

    callers = [pool.submit(call, caller) for caller in range(CALLERS)]
    assert enough.wait(SECONDS_AGAINST_HANGS)
    engine.close()
    for caller in callers:
        caller.result(timeout=SECONDS_AGAINST_HANGS)
    return account.check(storage)


def test_an_engine_closes_among_its_threads() -> None:
    random = seeded("close under load, threads")
    with ThreadPoolExecutor(CALLERS) as pool:
        jobs = sum(_close_among_threads(random, pool) for _ in range(tries(FULL_CLOSES, least=20)))
    print(f"{tries(FULL_CLOSES, least=20)} closes, {jobs} acknowledged")  # noqa: T201 - the counts
    assert jobs > tries(FULL_CLOSES, least=20) * MOST_ANSWERS / 4


def test_two_threads_may_close_at_once() -> None:
    for _ in range(tries(FULL_CLOSES, least=20)):
        storage, together = PlantedStorage(), threading.Barrier(2)
        engine = SyncJobEngine(storage)
        engine.create("hash")

        def close(engine: SyncJobEngine = engine, together: threading.Barrier = together) -> None:
            together.wait(SECONDS_AGAINST_HANGS)
            engine.close()

        with ThreadPoolExecutor(2) as pool:
            for closing in [pool.submit(close), pool.submit(close)]:
                closing.result(timeout=SECONDS_AGAINST_HANGS)
        assert storage.closed == 1
        with pytest.raises(EngineClosedError):
            engine.count()


def test_a_call_that_waits_when_its_engine_closes_is_answered() -> None:
    storage = PlantedStorage()
    engine = SyncJobEngine(storage)
    storage.hold()
    with ThreadPoolExecutor(3) as pool:
        held = pool.submit(engine.create, "held")
        assert storage.begun.wait(SECONDS_AGAINST_HANGS)
        closing = pool.submit(engine.close)
        while True:  # until the engine refuses, the first step of closing
            late = pool.submit(engine.create, "late", timeout=0.05)
            try:
                late.result(timeout=SECONDS_AGAINST_HANGS)
            except EngineClosedError:
                break
            except OutcomeUnknownError:
                continue
        assert not closing.done(), "it waits for what it has accepted"
        storage.let_go()
        assert held.result(timeout=SECONDS_AGAINST_HANGS).input_hash == "held"
        closing.result(timeout=SECONDS_AGAINST_HANGS)
