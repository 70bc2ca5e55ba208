"""Row 16: a huge, deep or unserializable value is refused by a typed error, before it is queued.

Refusing must not walk, copy or print the value: it may allocate no more than some kilobytes. The
largest text has a billion characters.
"""

import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from engine import InvalidValueError, JobStatus, Move, NewJob
from engine.domain.validation import (
    MAX_ERROR_CHARACTERS,
    MAX_IDENTIFIER_CHARACTERS,
    MAX_INPUT_HASH_CHARACTERS,
    MAX_RESULT_CHARACTERS,
)
from engine.testing.facades import FACADES, opened_engine

pytestmark = pytest.mark.anyio

Engine = Any
MOST_BYTES = 200_000
CALLS = 5
"""Other threads allocate too, now and then; a call that copies its value does so each time."""


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


class Unprintable:
    """Can't be printed, compared or hashed."""

    def __repr__(self) -> str:
        raise RuntimeError("planted")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("planted")

    def __hash__(self) -> int:
        raise TypeError("planted")


HUGE: dict[str, Callable[[], Any]] = {
    "a text of 1 MB": lambda: "x" * (2**20 + 1),
    "a text of 100 MB": lambda: "x" * 10**8,
    "a wide text of 4 MB": lambda: "𝄞" * (2**20 + 1),
    "a text of 1 GB": lambda: "x" * 2**30,
}
WRONG: dict[str, Callable[[], Any]] = {
    "bytes": lambda: b"x" * 10**7,
    "a bytearray": lambda: bytearray(10**7),
    "a set": lambda: set(range(10**6)),
    "a memoryview": lambda: memoryview(bytearray(10**7)),
    "a long list": lambda: [0] * 10**6,
    "a long dict": lambda: dict.fromkeys(range(10**5)),
    "a deep list": _deep,
    "a huge integer": lambda: 10**100_000,
    "what can't be printed": Unprintable,
    "a function": lambda: _deep,
    "an endless iterator": lambda: iter(int, 1),
    "NaN": lambda: float("nan"),
}
VALUES = {**HUGE, **WRONG}
"""What makes them, since together they take more than a gigabyte."""

TEXTS: dict[str, Callable[[Engine, Any], Any]] = {
    "input_hash": lambda engine, value: engine.create(value),
    "payment_id": lambda engine, value: engine.create("x", payment_id=value),
    "idempotency_key": lambda engine, value: engine.create("x", idempotency_key=value),
    "input_hash of an item": lambda engine, value: engine.create_many([NewJob(value)]),
    "id to get": lambda engine, value: engine.get(value),
    "id of an item to get": lambda engine, value: engine.get_many([value]),
    "key to find": lambda engine, value: engine.find(idempotency_key=value),
    "payment to find": lambda engine, value: engine.find(payment_id=value),
    "id to move": lambda engine, value: engine.transition(value, JobStatus.RUNNING),
    "id of a history": lambda engine, value: engine.history(value),
    "target": lambda engine, value: engine.transition("x", value),
    "result": lambda engine, value: engine.transition("x", JobStatus.COMPLETED, result=value),
    "error": lambda engine, value: engine.transition("x", JobStatus.FAILED, error=value),
    "result of an item": lambda engine, value: engine.transition_many(
        [Move("x", JobStatus.COMPLETED, result=value)]
    ),
    "status to count": lambda engine, value: engine.count(value),
    "status to list": lambda engine, value: engine.list_jobs(value),
    "kind to count": lambda engine, value: engine.count(kind=value),
    "kind to list": lambda engine, value: engine.list_jobs(kind=value),
    "label to list": lambda engine, value: engine.list_jobs(labels={"a": value}),
    "cursor": lambda engine, value: engine.list_jobs(after=value),
    "token": lambda engine, value: engine.transition("x", JobStatus.RUNNING, attempt_token=value),
    "hash to list": lambda engine, value: engine.list_jobs(input_hash=value),
    "id to cancel": lambda engine, value: engine.cancel(value),
    "reason": lambda engine, value: engine.cancel("x", value),
    "id to answer": lambda engine, value: engine.provide_input(value, "x", 1),
    "prompt to answer": lambda engine, value: engine.provide_input("x", value, 1),
    "id to wait for": lambda engine, value: engine.wait(value),
    "status to wait for": lambda engine, value: engine.wait("x", until=[value]),
    "id to watch": lambda engine, value: engine.watch(value),
    "input": lambda engine, value: engine.create("x", input=value),
    "input of an item": lambda engine, value: engine.create_many([NewJob("x", input=value)]),
    "answer": lambda engine, value: engine.provide_input("x", "x", value),
}
OTHERS: dict[str, Callable[[Engine, Any], Any]] = {
    "labels": lambda engine, value: engine.list_jobs(labels=value),
    "at_most": lambda engine, value: engine.count(at_most=value),
    "created_after": lambda engine, value: engine.list_jobs(created_after=value),
    "created_before": lambda engine, value: engine.count(created_before=value),
    "newest_first": lambda engine, value: engine.list_jobs(newest_first=value),
    "limit": lambda engine, value: engine.list_jobs(limit=value),
    "expected_version": lambda engine, value: engine.transition(
        "x", JobStatus.RUNNING, expected_version=value
    ),
    "priority": lambda engine, value: engine.create("x", priority=value),
    "deadlines": lambda engine, value: engine.create("x", deadlines=value),
    "deadline": lambda engine, value: engine.create("x", deadlines={JobStatus.RUNNING: value}),
    "sequence": lambda engine, value: engine.watch(after=value),
    "item of create_many": lambda engine, value: engine.create_many([value]),
    "item of transition_many": lambda engine, value: engine.transition_many([value]),
}


@pytest.fixture(params=FACADES)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    async with opened_engine(request.param) as engine:
        yield engine


async def _cost(engine: Engine, call: Callable[[Engine, Any], Any], value: object) -> int:
    """Return how many bytes were allocated, by any thread, while a call was refused."""
    tracemalloc.start()
    try:
        with pytest.raises(InvalidValueError) as caught:
            await call(engine, value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 1_000
    return peak


@pytest.mark.parametrize("value", VALUES)
async def test_a_huge_or_wrong_value_is_refused_wherever_it_is_given(
    engine: Engine, value: str
) -> None:
    costly, given = list[str](), VALUES[value]()
    for place, call in {**TEXTS, **OTHERS}.items():
        for _ in range(CALLS):
            if await _cost(engine, call, given) <= MOST_BYTES:
                break
        else:
            costly.append(place)
    statistics = await engine.statistics()
    assert statistics.answered == 0, "nothing was queued"
    assert costly == []


LIMITS: dict[str, tuple[int, Callable[[Engine, str], Any]]] = {
    "input_hash": (MAX_INPUT_HASH_CHARACTERS, lambda engine, text: engine.create(text)),
    "payment_id": (
        MAX_IDENTIFIER_CHARACTERS,
        lambda engine, text: engine.create("hash", payment_id=text),
    ),
    "idempotency_key": (
        MAX_IDENTIFIER_CHARACTERS,
        lambda engine, text: engine.create("hash", idempotency_key=text),
    ),
    "result": (
        MAX_RESULT_CHARACTERS,
        lambda engine, text: _ended(engine, JobStatus.COMPLETED, result=text),
    ),
    "error": (
        MAX_ERROR_CHARACTERS,
        lambda engine, text: _ended(engine, JobStatus.FAILED, error=text),
    ),
}


async def _ended(engine: Engine, target: JobStatus, **outcome: str) -> Any:  # noqa: ANN401 - a job of either facade
    job = await engine.create("hash")
    await engine.transition(job.job_id, JobStatus.RUNNING)
    return await engine.transition(job.job_id, target, **outcome)


@pytest.mark.parametrize("field", LIMITS)
@pytest.mark.parametrize("letter", ["x", "ä", "𝄞"])
async def test_every_text_has_its_limit_and_is_kept_up_to_it(
    engine: Engine, field: str, letter: str
) -> None:
    limit, call = LIMITS[field]
    for size in (1, limit - 1, limit):
        job = await call(engine, letter * size)
        assert getattr(job, field) == letter * size
        assert await engine.get(job.job_id) == job
    with pytest.raises(InvalidValueError) as caught:
        await call(engine, letter * (limit + 1))
    assert caught.value.field == field


async def test_an_id_has_its_limit(engine: Engine) -> None:
    with pytest.raises(LookupError):
        await engine.get("x" * MAX_IDENTIFIER_CHARACTERS)
    with pytest.raises(InvalidValueError):
        await engine.get("x" * (MAX_IDENTIFIER_CHARACTERS + 1))
