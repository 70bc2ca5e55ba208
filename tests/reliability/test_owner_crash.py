"""Row 7: the owner crashes at every message; every pending and later caller gets the crash.

A storage raises a bug from the n-th call of one of its methods, before or after doing its work. The
callers whose changes were being committed get "outcome unknown", all others "not applied"; the
acknowledged changes are in the storage.
"""

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from random import Random

import anyio
import pytest

from engine import (
    CommitCrashedError,
    EngineCrashedError,
    Job,
    JobEngine,
    MemoryStorage,
    OutcomeUnknownError,
    SyncJobEngine,
)
from tests.reliability.callers import (
    WRITES,
    block_until_told,
    call_until_told,
    made,
    totals,
)
from tests.reliability.planted import SECONDS_AGAINST_HANGS, PlantedError, PlantedStorage
from tests.tries import report, rounds, seeded, tries

CALLERS = 8
FULL_CRASHES = 1_000
METHODS = ["commit", "commit", "commit", "checkout", "count", "page", "history"]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL + 1, "engine")


class Crash:
    """A planted crash, and the record of its answers."""

    def __init__(self, random: Random) -> None:
        self.method = random.choice(METHODS)
        self.applied = self.method == "commit" and random.random() < 0.5
        self.cause = PlantedError("planted")
        self.storage = PlantedStorage()
        skip = random.randrange(10)
        self.storage.plant(self.cause, self.method, skip=skip, applied=self.applied)
        self.callers = made(CALLERS, random)

    def check_error(self, error: BaseException | None) -> None:
        """Check the error of a caller that got "not applied"."""
        assert type(error) is EngineCrashedError
        assert error.__cause__ is self.cause
        assert not isinstance(error, OutcomeUnknownError)

    def check_callers(self, stored: dict[str, Job]) -> Counter[str]:
        """Check that every caller got the true outcome."""
        kinds: Counter[str] = Counter()
        for caller in self.callers:
            assert caller.told is not None
            call, error = caller.told
            assert isinstance(error, EngineCrashedError)
            assert error.__cause__ is self.cause
            was_committing = (
                self.method == "commit"
                and call.name in WRITES
                and call.input_hash in self.storage.committing
            )
            assert isinstance(error, CommitCrashedError) is was_committing
            assert isinstance(error, OutcomeUnknownError) is was_committing
            caller.check(stored, unknown=was_committing)
            if was_committing:
                job = stored.get(call.input_hash)
                assert (job is not None and job.version == call.version) is self.applied
            kinds["unknown" if was_committing else "not applied"] += 1
        return kinds + totals(self.callers)


async def _stored(storage: MemoryStorage) -> dict[str, Job]:
    async with JobEngine(storage) as engine:
        jobs: list[Job] = []
        page = await engine.list_jobs(limit=1_000)
        jobs += page.jobs
        assert page.next_cursor is None
    return {job.input_hash: job for job in jobs}


async def _crash_under(crash: Crash) -> JobEngine:
    """Let callers call until the engine crashes; check everything except their answers."""
    engine = JobEngine(crash.storage)
    with pytest.raises(EngineCrashedError) as ended:
        async with engine:
            async with anyio.create_task_group() as tasks:
                for caller in crash.callers:
                    tasks.start_soon(call_until_told, engine, caller)
            with pytest.raises(EngineCrashedError) as later:
                await engine.create("later")
            crash.check_error(later.value)
            with pytest.raises(EngineCrashedError) as later:
                await engine.count()
            crash.check_error(later.value)
    crash.check_error(ended.value)
    with pytest.raises(EngineCrashedError) as later:
        await engine.create("after the end")
    crash.check_error(later.value)
    assert crash.storage.closed == 1
    return engine


@pytest.mark.anyio
async def test_every_task_is_told_of_a_crash(anyio_backend: str) -> None:
    random = seeded(f"owner crash, {anyio_backend}")
    seen: Counter[str] = Counter()
    for _ in rounds():
        for _ in range(tries(FULL_CRASHES)):
            crash = Crash(random)
            with anyio.fail_after(SECONDS_AGAINST_HANGS):
                await _crash_under(crash)
                seen += crash.check_callers(await _stored(crash.storage))
        if _is_enough(seen):
            break


def _is_enough(seen: Counter[str]) -> bool:
    crashes = tries(FULL_CRASHES)
    report(f"rounds of {crashes} crashes: {dict(seen)}")
    assert (seen["unknown"] + seen["not applied"]) % (crashes * CALLERS) == 0
    return min(seen["unknown"], seen["not applied"]) > crashes / 4 and all(
        seen[call] > crashes for call in ("create", "transition", "get", "not found")
    )


def test_every_thread_is_told_of_a_crash() -> None:
    random = seeded("owner crash, threads")
    seen: Counter[str] = Counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        for _ in rounds():
            for _ in range(tries(FULL_CRASHES)):
                crash = Crash(random)
                _crash_under_threads(crash, pool)
                seen += crash.check_callers(anyio.run(_stored, crash.storage))
            if _is_enough(seen):
                break


def _crash_under_threads(crash: Crash, pool: ThreadPoolExecutor) -> None:
    """Let threads call until the engine crashes; check what comes of it but for the callers."""
    engine = SyncJobEngine(crash.storage)
    calls = [pool.submit(block_until_told, engine, caller) for caller in crash.callers]
    for call in calls:
        call.result(timeout=SECONDS_AGAINST_HANGS)
    with pytest.raises(EngineCrashedError) as later:
        engine.create("later", timeout=SECONDS_AGAINST_HANGS)
    crash.check_error(later.value)
    with pytest.raises(EngineCrashedError) as ended:
        engine.close()
    crash.check_error(ended.value)
    engine.close()  # the second time, it does nothing
    assert crash.storage.closed == 1


@pytest.mark.anyio
async def test_a_crash_does_not_hide_the_bodys_own_error() -> None:
    storage = PlantedStorage()
    storage.plant(PlantedError("planted"))
    with pytest.raises(LookupError, match="the application's"):
        async with JobEngine(storage) as engine:
            with pytest.raises(CommitCrashedError):
                await engine.create("hash")
            raise LookupError("the application's")


def test_a_crash_does_not_hide_the_bodys_own_error_in_threads() -> None:
    storage = PlantedStorage()
    storage.plant(PlantedError("planted"))
    with (
        pytest.raises(LookupError, match="the application's"),
        SyncJobEngine(storage) as engine,
    ):
        with pytest.raises(CommitCrashedError):
            engine.create("hash")
        raise LookupError("the application's")


@pytest.mark.anyio
async def test_a_crash_is_told_by_its_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "engine")
    storage = PlantedStorage()
    storage.plant(PlantedError("planted"))
    with pytest.raises(EngineCrashedError):
        async with JobEngine(storage) as engine:
            await engine.create("hash")
    [record] = caplog.records
    assert record.levelno == logging.CRITICAL
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], PlantedError)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.anyio
async def test_an_interrupt_in_the_owner_ends_the_body_and_comes_out_as_it_is(
    kind: type[BaseException],
) -> None:
    storage, told = PlantedStorage(), list[BaseException | None]()
    storage.plant(kind("planted"))
    with anyio.fail_after(SECONDS_AGAINST_HANGS), pytest.raises(kind, match="planted"):
        async with JobEngine(storage) as engine:
            with pytest.raises(CommitCrashedError) as caught:
                await engine.create("hash")
            told.append(caught.value.__cause__)
            await anyio.sleep_forever()
    assert [type(cause) for cause in told] == [kind]
    assert storage.closed == 1
    with pytest.raises(EngineCrashedError):
        await engine.count()
