"""Watching: the history and then new events, in order, each once; a watcher delays no one."""

from __future__ import annotations

import gc
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine import (
    AgentJobStatus,
    CursorExpiredError,
    EngineClosedError,
    EngineCrashedError,
    InvalidValueError,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    MemoryStorage,
    NewJob,
    Progress,
    Retention,
    StorageError,
    SyncJobEngine,
    Transition,
    UnknownCursorError,
)
from engine.owner.commands.remove import RemoveEnded
from engine.owner.watching import MAX_KEPT
from engine.storage import JobFilter, StoredCount
from tests.proof.storages import yielding
from tests.reliability.planted import PlantedStorage, begun
from tests.tries import repeatable, report, seeds
from tests.unit.claiming import NewPlace, agents, claimed_one, release, running
from tests.unit.finishing import finished

pytestmark = pytest.mark.anyio

RUNNING, COMPLETED = AgentJobStatus.RUNNING, AgentJobStatus.COMPLETED


async def taken(watch: AsyncIterator[Any], count: int) -> list[Any]:
    """Return the next so many events."""
    with anyio.fail_after(60):
        return [await anext(watch) for _ in range(count)]


async def begin(watch: AsyncIterator[Any]) -> None:
    """Ask for the next, and cancel that when it waits: there is nothing yet."""

    async def ask() -> None:
        await anext(watch)
        pytest.fail("there is nothing yet")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()


def numbers(lines: list[Any]) -> list[int]:
    return [line.sequence for line in lines]


async def test_a_job_is_watched_from_its_first_transition_to_its_last(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        job = await engine.create("hash")
        await engine.create("another")
        watch = engine.watch(job.job_id)
        assert await taken(watch, 1) == await engine.history(job.job_id)
        await engine.transition(job.job_id, RUNNING)
        await engine.cancel(job.job_id)
        rest = [line async for line in watch]
        assert numbers(rest) == [3, 4]
        assert [line async for line in watch] == []
        history = await engine.history(job.job_id)
        assert [line async for line in engine.watch(job.job_id)] == history
        assert [line async for line in engine.watch(job.job_id, after=3)] == history[2:]
        assert [line async for line in engine.watch(job.job_id, after=4)] == []


async def test_all_jobs_are_watched_from_the_call_on_or_from_any_number(
    lasting_place: NewPlace,
) -> None:
    async with agents(lasting_place()) as engine:
        for _ in range(3):
            await running(engine)
    async with agents(lasting_place()) as engine:
        watch = engine.watch()
        await running(engine)
        assert numbers(await taken(watch, 2)) == [7, 8]
        for after in (0, 5, 8):
            behind = engine.watch(after=after)
            await engine.create("hash")
            last = (await engine.statistics()).last_sequence
            assert numbers(await taken(behind, last - after)) == [*range(after + 1, last + 1)]


async def test_a_number_past_the_newest_is_refused(lasting_place: NewPlace) -> None:
    async with agents(lasting_place()) as engine:
        job = await running(engine)
        watch = engine.watch(after=2)  # the newest
        for job_id in (None, job.job_id):
            with pytest.raises(UnknownCursorError) as caught:
                await anext(engine.watch(job_id, after=3))
            assert (caught.value.after, caught.value.last_sequence) == (3, 2)
        await running(engine)
        assert numbers(await taken(watch, 2)) == [3, 4]
        assert numbers(await taken(engine.watch(after=3), 1)) == [4]


async def test_a_cursor_goes_on_in_its_own_history_and_in_no_other(tmp_path: Path) -> None:
    async with agents(tmp_path / "jobs.db") as engine:
        job = await running(engine)
        await engine.backup(tmp_path / "copy.db")
        await engine.cancel(job.job_id)
        lines = await engine.history(job.job_id)
        for of in (None, job.job_id):
            assert await taken(engine.watch(of, after=lines[0].cursor), 2) == lines[1:]
    async with agents(tmp_path / "copy.db") as copy:
        old = await copy.history(job.job_id)
        assert old == lines[:2]
        await running(copy)
        for of in (None, job.job_id):
            with pytest.raises(UnknownCursorError, match=lines[2].cursor):
                await anext(copy.watch(of, after=lines[2].cursor))
        found = await taken(copy.watch(after=lines[1].cursor), 2)
        assert numbers(found) == [3, 4]
        assert found[0].epoch != lines[2].epoch == lines[0].epoch
        assert numbers(await taken(copy.watch(after=found[0].cursor), 1)) == [4]
    async with agents() as other:
        await running(other)
        with pytest.raises(UnknownCursorError):
            await anext(other.watch(after=lines[0].cursor))


async def _remove_all(engine: JobEngine[Any]) -> None:
    assert await engine.core.ask(RemoveEnded(Retention(max_jobs=0), 99))


async def test_what_was_removed_before_it_was_seen_is_told(lasting_place: NewPlace) -> None:
    async with JobEngine(lasting_place()) as engine:
        kept = await engine.create("hash")
        await finished(engine)
        await engine.create("hash")
        slow, early = engine.watch(after=1), engine.watch(after=0)
        assert numbers(await taken(early, 1)) == [1]
        await _remove_all(engine)
    async with JobEngine(lasting_place()) as engine:
        for after in (1, 3):
            with pytest.raises(CursorExpiredError) as caught:
                await anext(engine.watch(after=after))
            assert (caught.value.after, caught.value.removed_up_to) == (after, 4)
        assert numbers(await taken(engine.watch(after=4), 1)) == [5]
        assert numbers(await taken(engine.watch(after=0), 2)) == [1, 5]
        assert numbers(await taken(engine.watch(kept.job_id), 1)) == [1]
        assert numbers(await taken(engine.watch(kept.job_id, after=0), 1)) == [1]
    assert slow is not early


@pytest.mark.parametrize("after", [0, 3])
async def test_a_slow_watcher_is_told_what_was_removed_meanwhile(
    new_place: NewPlace, after: int
) -> None:
    async with JobEngine(new_place()) as engine:
        await finished(engine)
        await _remove_all(engine)
        await engine.create("hash")
        watch = engine.watch(after=after)
        assert numbers(await taken(watch, 1)) == [4]
        for _ in range(2):
            await engine.create_many([NewJob("hash")] * MAX_KEPT)
        done = await finished(engine)
        await _remove_all(engine)
        last = (await engine.statistics()).last_sequence
        assert done.version == 3
        with pytest.raises(CursorExpiredError) as caught:
            await taken(watch, last)
        assert caught.value.removed_up_to == last


def test_threads_watch_as_well() -> None:
    with SyncJobEngine() as engine:
        jobs = [engine.create("hash") for _ in range(3)]
        every = engine.watch()
        for target in (JobStatus.RUNNING, JobStatus.FAILED):
            engine.transition(jobs[0].job_id, target)
        watch = engine.watch(jobs[0].job_id)
        assert list(watch) == engine.history(jobs[0].job_id)
        assert [line.sequence for line in (next(every), next(every))] == [4, 5]
        assert engine.statistics().watchers == 1
        del every
        engine.create("hash")
        assert engine.statistics().watchers == 0
        with pytest.raises(JobNotFoundError):
            next(engine.watch("unheard of"))
    with pytest.raises(EngineClosedError):
        next(engine.watch())


async def test_a_change_that_is_no_transition_is_not_shown() -> None:
    async with agents() as engine:
        job = await running(engine)
        watch = engine.watch(job.job_id)
        _, token = await claimed_one(engine)
        await taken(watch, 2)
        await release(engine, job.job_id, token, failed=True)
        _, token = await claimed_one(engine)
        await engine.cancel(job.job_id)
        await engine.transition(job.job_id, COMPLETED, attempt_token=token)
        assert [(line.from_status, line.to_status) async for line in watch] == [
            (RUNNING, COMPLETED)
        ]


async def test_a_watcher_that_is_slow_is_fed_from_the_history_again(new_place: NewPlace) -> None:
    async with JobEngine(new_place()) as engine:
        watch = engine.watch()
        await engine.create("hash")
        assert numbers(await taken(watch, 1)) == [1]
        from_all, of_job = engine.core.state.events._of_all, 3 * MAX_KEPT  # noqa: SLF001 - memory
        for _ in range(of_job // 10):
            await engine.create_many([NewJob("hash")] * 10)
            assert len(from_all[0]._kept) <= MAX_KEPT  # type: ignore[attr-defined]  # noqa: SLF001
        assert numbers(await taken(watch, of_job)) == [*range(2, of_job + 2)]
        await engine.create("hash")
        assert numbers(await taken(watch, 1)) == [of_job + 2]


async def test_one_that_is_cancelled_while_it_waits_can_be_asked_again(
    new_place: NewPlace,
) -> None:
    async with JobEngine(new_place()) as engine:
        watch = engine.watch()
        for _ in range(3):
            await begin(watch)
        done = await finished(engine)
        assert numbers(await taken(watch, 3)) == [1, 2, 3]
        assert done.version == 3


async def test_one_that_waits_costs_nothing() -> None:
    async with agents() as engine, anyio.create_task_group() as tasks:
        job = await running(engine)
        for _ in range(2):  # of one job, and of all
            tasks.start_soon(taken, engine.watch(job.job_id), 9)
            tasks.start_soon(taken, engine.watch(), 9)
        with anyio.fail_after(60):
            await anyio.wait_all_tasks_blocked()
            await engine.create("hash")
            await engine.transition(job.job_id, AgentJobStatus.AWAITING_INPUT)
            await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()


class SlowHistory(MemoryStorage):
    """Reads transitions with many checkpoints before and after."""

    async def transitions(self, after: int, limit: int, job_id: str | None = None) -> Any:  # noqa: ANN401
        for _ in range(5):
            await checkpoint()
        found = await super().transitions(after, limit, job_id)
        for _ in range(5):
            await checkpoint()
        return found


async def test_one_that_is_cancelled_while_it_reads_the_history_misses_nothing() -> None:
    for checkpoints in range(14):
        async with JobEngine(SlowHistory()) as engine:
            await finished(engine)
            watch = engine.watch(after=0)
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    seen: list[Any] = []

                    async def take(into: list[Any] = seen, watch: Any = watch) -> None:  # noqa: ANN401
                        into.append(await anext(watch))

                    tasks.start_soon(take)
                    for _ in range(checkpoints):
                        await checkpoint()
                    scope.cancel()
            await engine.create("hash")
            seen += await taken(watch, 4 - len(seen))
            assert numbers(seen) == [1, 2, 3, 4]


async def _move_jobs(engine: JobEngine[Any], draw: random.Random, count: int) -> None:
    job = await engine.create("hash")
    for _ in range(count):
        for _ in range(draw.randrange(4)):
            await checkpoint()
        if job.status is RUNNING:
            await engine.cancel(job.job_id)
            job = await engine.create("hash")
        else:
            job = await engine.transition(job.job_id, RUNNING)
    await engine.cancel(job.job_id)


async def _watch(engine: JobEngine[Any], draw: random.Random, seen: list[Any]) -> None:
    """Watch from the last seen event, leave after a while, and come back, as clients do."""
    while True:
        watch = engine.watch(after=seen[-1].sequence if seen else 0)
        for _ in range(draw.randrange(1, 8)):
            for _ in range(draw.randrange(4)):
                await checkpoint()
            seen.append(await anext(watch))


async def test_no_gap_and_no_double_while_others_write(
    monkeypatch: pytest.MonkeyPatch, anyio_backend_name: str
) -> None:
    monkeypatch.setattr("engine.owner.watching.MAX_KEPT", 3)
    lines = 0
    for seed in seeds(300):
        with repeatable(seed, f"watching on {anyio_backend_name}"):
            draw = random.Random(seed)
            seen: list[list[Any]] = [[], [], []]
            async with agents(yielding(seed)) as engine, anyio.create_task_group() as watching:
                for each in seen:
                    watching.start_soon(_watch, engine, draw, each)
                async with anyio.create_task_group() as tasks:
                    for _ in range(4):
                        tasks.start_soon(_move_jobs, engine, draw, 6)
                last = (await engine.statistics()).last_sequence
                with anyio.fail_after(60):
                    while any(len(each) < last for each in seen):
                        await checkpoint()
                watching.cancel_scope.cancel()
            assert [numbers(each) for each in seen] == [[*range(1, last + 1)]] * 3
            lines += last
    report(f"watching: {lines} transitions")
    assert lines > 20 * len(seeds(300))


async def test_every_watcher_of_a_job_sees_its_last_transition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.owner.watching.MAX_KEPT", 2)
    for seed in seeds(300):
        with repeatable(seed, "watching one job"):
            draw = random.Random(seed)
            async with agents(yielding(seed)) as engine:
                job = await engine.create("hash")
                seen: list[list[Any]] = [[] for _ in range(4)]

                async def watch(into: list[Any]) -> None:
                    for _ in range(draw.randrange(9)):  # noqa: B023 - of this turn
                        await checkpoint()
                    async for line in engine.watch(job.job_id):  # noqa: B023
                        into.append(line)

                with anyio.fail_after(60):
                    async with anyio.create_task_group() as tasks:
                        for each in seen:
                            tasks.start_soon(watch, each)
                        await engine.transition(job.job_id, RUNNING)
                        for _ in range(draw.randrange(3)):
                            asking = AgentJobStatus.AWAITING_INPUT
                            await engine.transition(job.job_id, asking)
                            await engine.transition(job.job_id, RUNNING, expected_status=asking)
                        await engine.transition(job.job_id, COMPLETED)
                assert seen == [await engine.history(job.job_id)] * 4


async def test_an_iterator_that_is_left_leaves_the_feed(new_place: NewPlace) -> None:
    async with JobEngine(new_place()) as engine:
        job = await engine.create("hash")
        async for _ in engine.watch(job.job_id):
            break
        async for _ in engine.watch(after=0):
            break
        gc.collect()
        await engine.count()
        assert (await engine.statistics()).watchers == 0
        [line async for line in engine.watch((await finished(engine)).job_id)]
        assert (await engine.statistics()).watchers == 0


async def test_what_cannot_be_watched_is_refused(new_place: NewPlace) -> None:
    async with JobEngine(new_place()) as engine:
        with pytest.raises(JobNotFoundError) as unknown:
            await anext(engine.watch("unheard of"))
        assert unknown.value.item is None
        for wrong in ({"after": -1}, {"after": "-1"}, {"job_id": 5}):
            with pytest.raises(InvalidValueError):
                engine.watch(**wrong)
        gc.collect()
        await engine.count()
        assert (await engine.statistics()).watchers == 0


async def test_an_engine_that_closes_ends_its_watchers_after_what_they_have() -> None:
    async with agents() as engine:
        job, other = await engine.create("hash"), await engine.create("hash")
        ends, stays, every = engine.watch(job.job_id), engine.watch(other.job_id), engine.watch()
        for watch in (ends, stays):
            await taken(watch, 1)
        await begin(every)
        await engine.cancel(job.job_id)
    assert [line.sequence async for line in ends] == [3]
    assert numbers(await taken(every, 1)) == [3]
    for watch in (stays, every):
        for _ in range(2):
            with pytest.raises(EngineClosedError):
                await anext(watch)


class Crashing(MemoryStorage):
    async def count(self, jobs: JobFilter, at_most: int, after: int = 0) -> StoredCount:
        raise KeyError(f"planted in the count of {jobs}, up to {at_most}, behind {after}")


async def test_an_engine_that_crashes_tells_its_watchers_why() -> None:
    with pytest.raises(EngineCrashedError):
        async with JobEngine(Crashing()) as engine:
            errors: list[BaseException] = []

            async def watch() -> None:
                try:
                    async for _ in engine.watch():
                        pytest.fail("nothing happens")
                except EngineCrashedError as error:
                    errors.append(error)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch)
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(EngineCrashedError):
                    await engine.count()
            assert [type(error.__cause__) for error in errors] == [KeyError]


class Refusing(MemoryStorage):
    refuses = True

    async def transitions(self, after: int, limit: int, job_id: str | None = None) -> Any:  # noqa: ANN401
        if self.refuses:
            raise StorageError("it can't be read")
        return await super().transitions(after, limit, job_id)


async def test_a_history_that_cannot_be_read_now_is_read_when_asked_again() -> None:
    storage = Refusing()
    async with JobEngine(storage) as engine:
        await finished(engine)
        watch = engine.watch(after=0)
        with pytest.raises(StorageError):
            await anext(watch)
        storage.refuses = False
        assert numbers(await taken(watch, 3)) == [1, 2, 3]


async def test_progress_is_shown_to_those_who_want_it_newest_first_lost_first() -> None:
    async with agents() as engine:
        jobs = [await running(engine) for _ in range(2)]
        wants, other = engine.watch(progress=True), engine.watch()
        of_job = engine.watch(jobs[0].job_id, after=3, progress=True)
        for watch in (wants, other, of_job):
            await begin(watch)
        for done in range(5):
            for job in jobs:
                said = Progress(job_id=job.job_id, attempt=1, done=done)
                engine.core.state.events.publish_progress(said)
        last = [Progress(job_id=job.job_id, attempt=1, done=4) for job in jobs]
        assert await taken(wants, 2) == last
        assert await taken(of_job, 1) == last[:1]
        assert (await engine.get(jobs[1].job_id)).progress is None  # no attempt has it
        await engine.cancel(jobs[0].job_id)
        for watch in (wants, other):
            [line] = await taken(watch, 1)
            assert isinstance(line, Transition)
        assert len(await engine.history(jobs[0].job_id)) == 3


@pytest.mark.parametrize("of", ["one job", "all jobs"])
async def test_a_watch_ends_with_a_block(of: str) -> None:
    async with JobEngine() as engine:
        job = await engine.create("hash")
        async with aclosing(
            engine.watch(job.job_id if of == "one job" else None, after=0)
        ) as watch:
            assert numbers(await taken(watch, 1)) == [1]
            assert (await engine.statistics()).watchers == 1
        assert (await engine.statistics()).watchers == 0
        await engine.transition(job.job_id, JobStatus.RUNNING)
        assert [line async for line in watch] == []
        await watch.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(watch)


async def test_a_watch_that_is_closed_before_its_begin_asks_nothing() -> None:
    async with JobEngine() as engine:
        watch = engine.watch("unheard of")
        await watch.aclose()
        assert [line async for line in watch] == []


async def test_a_closed_watch_gives_nothing_that_it_has_kept() -> None:
    async with JobEngine() as engine:
        for _ in range(3):
            await engine.create("hash")
        watch = engine.watch(after=0)
        assert numbers(await taken(watch, 1)) == [1]
        await watch.aclose()
        assert [line async for line in watch] == []


@pytest.mark.parametrize("is_reading", [False, True])
async def test_closing_ends_the_iteration_of_another_task(*, is_reading: bool) -> None:
    """Close it while it waits for the next event, or for the storage to read earlier ones."""
    storage = PlantedStorage()
    async with JobEngine(storage) as engine:
        await engine.create("hash")
        watch = engine.watch(after=0 if is_reading else 1)
        seen: list[Any] = []

        async def look() -> None:
            seen.extend([line async for line in watch])
            seen.append("the end")

        async with anyio.create_task_group() as tasks:
            if is_reading:
                storage.hold()
                tasks.start_soon(engine.create, "held")
                await begun(storage)
            tasks.start_soon(look)
            await anyio.wait_all_tasks_blocked()
            await watch.aclose()
            storage.let_go()
            with anyio.fail_after(10):
                while seen != ["the end"]:
                    await checkpoint()
        assert (await engine.statistics()).watchers == 0


def test_a_watch_of_a_thread_ends_with_a_block() -> None:
    with SyncJobEngine() as engine:
        engine.create("hash")
        with closing(engine.watch(after=0)) as watch:
            assert next(watch).sequence == 1
            assert engine.statistics().watchers == 1
        assert engine.statistics().watchers == 0
        assert list(watch) == []
