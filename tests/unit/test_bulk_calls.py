"""Bulk calls of both facades: one message, all or nothing; an error has the wrong item's number."""

from collections.abc import Callable
from typing import Any

import pytest

from engine import (
    IdempotencyConflictError,
    InvalidStateTransitionError,
    InvalidValueError,
    JobNotFoundError,
    JobStatus,
    Move,
    NewJob,
    VersionConflictError,
)
from engine.domain.validation import MAX_BULK_ITEMS
from engine.testing.facades import Engine

pytestmark = pytest.mark.anyio


async def test_the_same_key_twice_in_one_bulk_call_gives_one_job(engine: Engine) -> None:
    new = NewJob("hash", idempotency_key="key")
    one, other = await engine.create_many([new, new])
    assert one == other
    assert await engine.count() == 1
    with pytest.raises(IdempotencyConflictError) as caught:
        await engine.create_many([NewJob("a"), NewJob("b", idempotency_key="key")])
    assert caught.value.item == 1
    assert await engine.count() == 1


async def test_a_key_of_a_call_that_failed_is_free(engine: Engine) -> None:
    await engine.create("hash", idempotency_key="taken")
    wrong = [NewJob("a", idempotency_key="key"), NewJob("b", idempotency_key="taken")]
    with pytest.raises(IdempotencyConflictError):
        await engine.create_many(wrong)
    assert (await engine.create("c", idempotency_key="key")).input_hash == "c"


async def test_bulk_calls_answer_in_the_order_of_their_items(engine: Engine) -> None:
    jobs = await engine.create_many([NewJob(f"hash {number}") for number in range(100)])
    assert [job.input_hash for job in jobs] == [f"hash {number}" for number in range(100)]
    ids = [job.job_id for job in jobs]
    assert await engine.get_many(reversed(ids)) == jobs[::-1]
    assert await engine.get_many([ids[0], ids[0]]) == [jobs[0], jobs[0]]
    moved = await engine.transition_many(Move(job_id, JobStatus.RUNNING) for job_id in ids)
    assert [job.job_id for job in moved] == ids
    assert {job.status for job in moved} == {JobStatus.RUNNING}


async def test_a_later_move_of_a_bulk_call_sees_the_earlier_ones(engine: Engine) -> None:
    job = await engine.create("hash")
    moves = [
        Move(job.job_id, JobStatus.RUNNING, expected_version=1),
        Move(job.job_id, JobStatus.COMPLETED, result="x", expected_version=2),
    ]
    running, done = await engine.transition_many(moves)
    assert (running.status, running.version) == (JobStatus.RUNNING, 2)
    assert (done.status, done.version, done.result) == (JobStatus.COMPLETED, 3, "x")
    assert await engine.get(job.job_id) == done


async def test_empty_bulk_calls_answer_nothing(engine: Engine) -> None:
    for call in (engine.create_many, engine.get_many, engine.transition_many):
        assert await call([]) == []
    assert (await engine.statistics()).last_sequence == 0


WRONG_MOVES: dict[str, tuple[Callable[[str], Move[Any]], type[Exception]]] = {
    "illegal": (lambda job_id: Move(job_id, JobStatus.COMPLETED), InvalidStateTransitionError),
    "unknown": (lambda _: Move("unheard of", JobStatus.RUNNING), JobNotFoundError),
    "stale": (
        lambda job_id: Move(job_id, JobStatus.RUNNING, expected_version=9),
        VersionConflictError,
    ),
    "invalid": (lambda job_id: Move(job_id, JobStatus.RUNNING, result="x"), InvalidValueError),
}


@pytest.mark.parametrize("wrong", WRONG_MOVES)
@pytest.mark.parametrize("item", [0, 1, 4])
async def test_a_wrong_move_undoes_all_of_its_bulk_call(
    engine: Engine, wrong: str, item: int
) -> None:
    jobs = await engine.create_many([NewJob("hash")] * 5)
    move, error = WRONG_MOVES[wrong]
    moves = [Move(job.job_id, JobStatus.RUNNING) for job in jobs]
    moves[item] = move(jobs[item].job_id)
    with pytest.raises(error, match=f"^item {item}: ") as caught:
        await engine.transition_many(moves)
    assert getattr(caught.value, "item", None) == item
    assert await engine.get_many(job.job_id for job in jobs) == jobs
    assert (await engine.statistics()).last_sequence == 5
    # The next change continues the numbers: none is lost, none is used twice.
    [line, _] = (await engine.history((await _moved(engine, jobs[0])).job_id))[::-1]
    assert line.sequence == 6


async def _moved(engine: Engine, job: Any) -> Any:  # noqa: ANN401 - the facades' shared shape
    return await engine.transition(job.job_id, JobStatus.RUNNING)


async def test_a_wrong_new_job_undoes_all_of_its_bulk_call(engine: Engine) -> None:
    with pytest.raises(InvalidValueError, match=r"^item 1: input_hash ") as caught:
        await engine.create_many([NewJob("hash"), NewJob(""), NewJob("hash")])
    assert (caught.value.item, caught.value.field) == (1, "input_hash")
    assert await engine.count() == 0


@pytest.mark.parametrize("call", ["create_many", "get_many", "transition_many"])
async def test_an_item_of_the_wrong_type_is_refused(engine: Engine, call: str) -> None:
    good: dict[str, object] = {
        "create_many": NewJob("hash"),
        "get_many": "unheard of",
        "transition_many": Move("unheard of", JobStatus.RUNNING),
    }
    for wrong in (None, 5, b"x", {"input_hash": "x"}):
        with pytest.raises(InvalidValueError, match=r"^item 1 must be a \w+, not ") as caught:
            await getattr(engine, call)([good[call], wrong])
        assert caught.value.item == 1
    assert await engine.count() == 0


@pytest.mark.parametrize("call", ["create_many", "get_many", "transition_many"])
@pytest.mark.parametrize("items", [None, 5, "text", NewJob("hash")], ids=str)
async def test_items_that_are_no_several_are_refused(
    engine: Engine, call: str, items: object
) -> None:
    with pytest.raises(InvalidValueError):
        await getattr(engine, call)(items)


async def test_one_id_is_refused_with_the_call_to_use(engine: Engine) -> None:
    problem = r"^job_ids must be several ids, not 'an id'; for one use `get`$"
    with pytest.raises(InvalidValueError, match=problem):
        await engine.get_many("an id")


async def test_a_bulk_call_has_a_limit(engine: Engine) -> None:
    jobs = await engine.create_many([NewJob("hash")] * MAX_BULK_ITEMS)
    assert len(await engine.get_many(job.job_id for job in jobs)) == MAX_BULK_ITEMS
    problem = "^item 10000 is one too many; a call may have 10,000 items at most: split it$"
    with pytest.raises(InvalidValueError, match=problem) as caught:
        await engine.create_many([NewJob("hash")] * (MAX_BULK_ITEMS + 1))
    assert caught.value.item == MAX_BULK_ITEMS
    assert await engine.count() == MAX_BULK_ITEMS


async def test_items_without_an_end_are_refused(engine: Engine) -> None:
    with pytest.raises(InvalidValueError, match="one too many"):
        await engine.create_many(iter(lambda: NewJob("hash"), None))
