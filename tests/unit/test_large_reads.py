"""One read gives 16,777,216 characters of texts at most, whatever is asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import (
    EngineError,
    InvalidStateTransitionError,
    InvalidValueError,
    Job,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    Move,
    NewJob,
    SyncJobEngine,
)
from engine.domain.validation import MAX_INPUT_CHARACTERS, MAX_READ_CHARACTERS
from engine.testing.facades import FACADES, Engine, opened_engine
from tests.tries import thorough
from tests.unit.claiming import NewPlace
from tests.unit.large_jobs import FITTING, RESULT, CountingStorage, ended

pytestmark = pytest.mark.anyio

both_facades = pytest.mark.parametrize("facade", [JobEngine, *thorough(SyncJobEngine)])
JOBS = 2 * FITTING + 8
INPUT = "x" * (MAX_INPUT_CHARACTERS - 2)  # and its quotes, as JSON
INPUTS_FITTING = MAX_READ_CHARACTERS // MAX_INPUT_CHARACTERS


@both_facades
async def test_pages_end_early_and_show_every_job_once(
    facade: type[Any], new_place: NewPlace
) -> None:
    async with opened_engine(facade, new_place()) as engine:
        ids = await ended(engine, JOBS)
        seen: list[str] = []
        sizes: list[int] = []
        after = None
        while not sizes or after is not None:
            page = await engine.list_jobs(limit=1_000, after=after)
            assert all(job.result == RESULT for job in page.jobs)
            seen += [job.job_id for job in page.jobs]
            sizes.append(len(page.jobs))
            after = page.next_cursor
        assert (seen, sizes) == (ids, [FITTING, FITTING, 8])
        page = await engine.list_jobs(limit=FITTING)
        assert len(page.jobs) == FITTING
        assert page.next_cursor is not None


@both_facades
async def test_a_get_of_too_much_is_refused_with_how_many_to_ask_for(
    facade: type[Any], new_place: NewPlace
) -> None:
    async with opened_engine(facade, new_place()) as engine:
        ids = await ended(engine, JOBS)
        for too_many in (ids, ids[: FITTING + 1], ids[:1] * (FITTING + 1)):
            told = f"^job_ids .* ask for {FITTING} of these {len(too_many)} jobs at a time$"
            with pytest.raises(InvalidValueError, match=told) as caught:
                await engine.get_many(too_many)
            assert (caught.value.field, caught.value.item) == ("job_ids", None)
        got = [
            job
            for first in range(0, JOBS, FITTING)
            for job in await engine.get_many(ids[first : first + FITTING])
        ]
        assert [job.job_id for job in got] == ids


@both_facades
@pytest.mark.parametrize("item", [3, *thorough(0, FITTING - 1)])
async def test_a_job_that_is_missing_is_told_of_before_those_behind_it_are_too_large(
    facade: type[Any], lasting_place: NewPlace, item: int
) -> None:
    async with opened_engine(facade, lasting_place()) as engine:
        ids = await ended(engine, FITTING + 2)
        with pytest.raises(JobNotFoundError) as caught:
            await engine.get_many([*ids[:item], "unheard of", *ids[item:]])
        assert caught.value.item == item
        with pytest.raises(InvalidValueError, match=f"ask for {FITTING} of"):
            await engine.get_many([*ids, "unheard of"])


@both_facades
async def test_live_jobs_count_too(facade: type[Any], lasting_place: NewPlace) -> None:
    async with opened_engine(facade, lasting_place()) as engine:
        new = [NewJob("hash", input=INPUT)] * (INPUTS_FITTING + 1)
        live = [job.job_id for job in await engine.create_many(new)]
        with pytest.raises(InvalidValueError, match=f"ask for {INPUTS_FITTING} of these"):
            await engine.get_many(live)
        assert len(await engine.get_many(live[:-1])) == INPUTS_FITTING
        page = await engine.list_jobs(limit=1_000)
        assert [job.job_id for job in page.jobs] == live[:-1]
        [job_id, *_] = await ended(engine, 1)
        with pytest.raises(InvalidValueError, match=f"ask for {INPUTS_FITTING} of these"):
            await engine.get_many([*live[:-1], job_id])
        assert len(await engine.get_many([job_id, *live[:-8]])) == INPUTS_FITTING - 6


async def _get(engine: JobEngine, job_id: str, got: list[str]) -> None:
    job = await engine.get(job_id)
    assert job.result == RESULT
    got.append(job.job_id)


async def test_gets_of_one_round_are_read_in_parts() -> None:
    storage = CountingStorage()
    async with JobEngine(storage) as engine:
        ids = await ended(engine, JOBS)
        live = await engine.create("live")
        storage.forget()
        got: list[str] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.get, live.job_id)
            for job_id in ids:
                tasks.start_soon(_get, engine, job_id, got)
            tasks.start_soon(engine.get_many, ids[:FITTING])
            tasks.start_soon(engine.list_jobs)
        assert sorted(got) == sorted(ids)
        assert sum(storage.checked_out) == JOBS  # a call that names few shares what was read
        assert max(storage.checked_out) == FITTING


async def test_small_gets_of_one_round_are_one_read() -> None:
    storage = CountingStorage()
    async with JobEngine(storage) as engine:
        [job_id] = await ended(engine, 1)
        storage.forget()
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(engine.get, job_id)
        assert storage.checked_out == [1]


async def _outcomes(calls: Sequence[Callable[[], Awaitable[Job | list[Job]]]]) -> list[str]:
    """Make calls at once; return of each the job's id, or how many, or the name of the error."""
    outcomes = [""] * len(calls)

    async def call(place: int) -> None:
        try:
            outcome = await calls[place]()
            outcomes[place] = outcome.job_id if isinstance(outcome, Job) else str(len(outcome))
        except EngineError as error:
            outcomes[place] = type(error).__name__

    async with anyio.create_task_group() as tasks:
        for place in range(len(calls)):
            tasks.start_soon(call, place)
    return outcomes


# Writes.


@pytest.mark.parametrize("facade", FACADES)
@pytest.mark.parametrize("live", [0, 3])
async def test_a_bulk_move_of_large_ended_jobs_fails_by_the_first(
    facade: type[Any], live: int
) -> None:
    storage = CountingStorage()
    async with opened_engine(facade, storage) as engine:
        ids = await ended(engine, JOBS)
        new = [job.job_id for job in await engine.create_many([NewJob("hash")] * 5)]
        storage.forget()
        moves = [Move(each, JobStatus.RUNNING) for each in [*new[:live], *ids, *new[live:]]]
        with pytest.raises(InvalidStateTransitionError) as caught:
            await engine.transition_many(moves)
        assert (caught.value.item, caught.value.job_id) == (live, ids[0])
        assert storage.checked_out == [FITTING]
        assert await engine.count(JobStatus.RUNNING) == 0
        assert [job.version for job in await engine.get_many(new)] == [1] * 5


@both_facades
async def test_creations_that_stand_for_too_much_are_refused(
    facade: type[Any], new_place: NewPlace
) -> None:
    """Wherever the jobs are that have the keys: in the storage, or held by the owner."""
    async with opened_engine(facade, new_place()) as engine:
        ids = await ended(engine, JOBS)
        again = [NewJob(f"hash {number}", idempotency_key=f"{number}") for number in range(JOBS)]
        new = NewJob("hash", idempotency_key="new")
        with pytest.raises(InvalidValueError, match="one too many") as caught:
            await engine.create_many([new, *again])
        assert (caught.value.field, caught.value.item) == ("idempotency_key", FITTING + 1)
        assert await engine.count() == JOBS
        created = await engine.create_many([new, *again[:FITTING]])
        assert [job.job_id for job in created[1:]] == ids[:FITTING]
        assert await engine.count() == JOBS + 1


async def test_what_one_call_leaves_out_is_not_left_out_of_another(tmp_path: Path) -> None:
    """The calls of a round share what was read, and not what was not."""
    async with JobEngine(tmp_path / "jobs.db") as engine:
        ids = await ended(engine, JOBS)
        keys = [NewJob(f"hash {number}", idempotency_key=f"{number}") for number in range(JOBS)]
        outcomes = await _outcomes(
            [partial(engine.get_many, [*ids, "none"]), partial(engine.get, "none")]
        )
        assert outcomes == ["InvalidValueError", "JobNotFoundError"]
        new = partial(engine.create, "new", idempotency_key="new")
        added = [*keys, NewJob("new", idempotency_key="new")]
        outcomes = await _outcomes([partial(engine.create_many, added), new])
        assert outcomes == ["InvalidValueError", (await new()).job_id]
        late = [NewJob("late", idempotency_key=f"late {number}") for number in range(FITTING + 1)]
        outcomes = await _outcomes(
            [partial(engine.create_many, [*keys, *late]), partial(engine.create_many, late)]
        )
        assert outcomes == ["InvalidValueError", str(len(late))]


@pytest.mark.parametrize("shift", [0, 3])
async def test_writes_of_one_round_that_name_too_much_are_decided_in_parts(shift: int) -> None:
    """Wherever a part ends, each caller gets its own answer, and all come in their order."""
    storage = CountingStorage()
    async with JobEngine(storage) as engine:
        ids = await ended(engine, JOBS)
        storage.forget()
        calls = [partial(engine.create, "new")] * shift
        for number in range(JOBS):
            calls.append(partial(engine.create, f"hash {number}", idempotency_key=f"{number}"))
        calls.append(partial(engine.create, "last"))
        outcomes = await _outcomes(calls)
        assert outcomes[shift:-1] == ids
        assert storage.checked_out[-3:] == [FITTING, FITTING, 8]
        assert await engine.count() == JOBS + shift + 1
        lines = [line async for line in _watched(engine, shift + 1)]
        assert all(one + 1 == next_one for one, next_one in pairwise(lines))


async def _watched(engine: Engine, newest: int) -> Any:  # noqa: ANN401 - an asynchronous iterator
    """Give the sequence numbers of the newest transitions."""
    last = (await engine.statistics()).last_sequence
    watch = engine.watch(after=last - newest)
    for _ in range(newest):
        yield (await anext(watch)).sequence


async def test_ids_of_large_ended_jobs_are_taken() -> None:
    storage = CountingStorage()
    taken: list[str] = []
    fresh = iter(f"job {number}" for number in range(10_000))
    async with JobEngine(storage, new_id=lambda: taken.pop() if taken else next(fresh)) as engine:
        ids = await ended(engine, JOBS)
        storage.forget()
        taken += ids
        outcomes = await _outcomes([partial(engine.create, "hash")] * (JOBS + 2))
        assert outcomes.count("DuplicateJobIdError") == JOBS
        assert await engine.count() == JOBS + 2
        assert max(storage.checked_out) == FITTING
