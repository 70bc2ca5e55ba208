"""Row 19 of the reliability table: one idempotency key from 100 callers at once makes one job.

The callers with the content of the winner get that job; the others get a typed conflict. This holds
among tasks on both backends, among threads, for an ended job, inside a bulk call, and for a second
engine on the same storage.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import anyio
import pytest

from engine import (
    IdempotencyConflictError,
    Job,
    JobEngine,
    JobStatus,
    MemoryStorage,
    NewJob,
    Storage,
    SyncJobEngine,
)
from tests.tries import seeds

from .faults import ForgetsKeys
from .storages import PlainStorage, pause, yielding

CALLERS = 100
KEY = "order 7"


async def ask_from_many_tasks(
    engine: JobEngine, contents: Iterable[str]
) -> list[Job | IdempotencyConflictError]:
    """Create with the key from one task for each content; return the answers."""
    told: list[Job | IdempotencyConflictError] = []

    async def ask(number: int, content: str) -> None:
        await pause(number % 4)
        try:
            told.append(await engine.create(content, idempotency_key=KEY))
        except IdempotencyConflictError as error:
            told.append(error)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for number, content in enumerate(contents):
                tasks.start_soon(ask, number, content)
    return told


def check_one_job_won(told: list[Job | IdempotencyConflictError], contents: list[str]) -> Job:
    """Check that the winner's content got the winner, and all other content a conflict."""
    assert len(told) == len(contents)
    jobs = [answer for answer in told if isinstance(answer, Job)]
    errors = [answer for answer in told if isinstance(answer, IdempotencyConflictError)]
    winner = jobs[0]
    assert {job.job_id for job in jobs} == {winner.job_id}
    assert len(jobs) == contents.count(winner.input_hash)
    assert {(error.job_id, error.idempotency_key, error.field) for error in errors} <= {
        (winner.job_id, KEY, "input_hash")
    }
    return winner


@pytest.mark.anyio
async def test_the_same_key_from_many_tasks_makes_one_job() -> None:
    for seed in seeds(100):
        async with JobEngine(yielding(seed)) as engine:
            contents = ["the same"] * CALLERS
            winner = check_one_job_won(await ask_from_many_tasks(engine, contents), contents)
            assert await engine.count() == 1
            assert len(await engine.history(winner.job_id)) == 1


@pytest.mark.anyio
async def test_one_content_wins_and_the_other_is_a_conflict() -> None:
    for seed in seeds(100):
        async with JobEngine(yielding(seed)) as engine:
            contents = ["one", "other"] * (CALLERS // 2)
            check_one_job_won(await ask_from_many_tasks(engine, contents), contents)
            assert await engine.count() == 1


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [MemoryStorage, PlainStorage])
async def test_the_key_of_a_job_that_has_ended_is_still_taken(kind: Callable[[], Storage]) -> None:
    storage = kind()
    async with JobEngine(storage) as engine:
        job = await engine.create("the same", idempotency_key=KEY)
        await engine.transition(job.job_id, JobStatus.RUNNING)
        ended = await engine.transition(job.job_id, JobStatus.COMPLETED, result="done")
        contents = ["the same", "other"] * (CALLERS // 2)
        told = await ask_from_many_tasks(engine, contents)
        assert check_one_job_won(told, contents) == ended
    async with JobEngine(storage) as again:
        assert check_one_job_won(await ask_from_many_tasks(again, contents), contents) == ended
        assert await again.count() == 1


@pytest.mark.anyio
async def test_a_bulk_call_with_a_conflict_creates_nothing() -> None:
    async with JobEngine() as engine:
        first = await engine.create("the same", idempotency_key=KEY)
        with pytest.raises(IdempotencyConflictError) as conflict:
            await engine.create_many(
                [NewJob("new"), NewJob("other", idempotency_key=KEY), NewJob("new")]
            )
        assert (conflict.value.item, conflict.value.job_id) == (1, first.job_id)
        assert await engine.count() == 1
        again = await engine.create_many([NewJob("the same", idempotency_key=KEY)] * 2)
        assert again == [first, first]


def test_the_same_key_from_many_threads_makes_one_job() -> None:
    for seed in seeds(50):
        with SyncJobEngine(yielding(seed)) as engine:
            contents = ["one", "other"] * (CALLERS // 2)
            check_one_job_won(ask_from_many_threads(engine, contents), contents)
            assert engine.count() == 1


def ask_from_many_threads(
    engine: SyncJobEngine, contents: list[str]
) -> list[Job | IdempotencyConflictError]:
    """Create with the key from one thread for each content; return the answers."""
    told: list[Job | IdempotencyConflictError] = []
    together = threading.Barrier(len(contents))

    def ask(content: str) -> None:
        together.wait(timeout=30)
        try:
            told.append(engine.create(content, idempotency_key=KEY))
        except IdempotencyConflictError as error:
            told.append(error)

    threads = [threading.Thread(target=ask, args=(each,), daemon=True) for each in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive(), "a call hangs"
    return told


@pytest.mark.anyio
@pytest.mark.usefixtures("ended_jobs_leave")
async def test_a_second_job_under_one_key_is_found() -> None:
    async with JobEngine(ForgetsKeys()) as engine:
        job = await engine.create("the same", idempotency_key=KEY)
        await engine.transition(job.job_id, JobStatus.RUNNING)
        await engine.transition(job.job_id, JobStatus.FAILED)
        contents = ["the same", "other"] * (CALLERS // 2)
        told = [job, *await ask_from_many_tasks(engine, contents)]
        with pytest.raises(AssertionError):
            check_one_job_won(told, ["the same", *contents])
