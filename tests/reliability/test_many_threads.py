"""Row 10: a hundred or five hundred threads at once; the final state is exact."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from engine import (
    IdempotencyConflictError,
    InvalidStateTransitionError,
    JobStatus,
    Move,
    SyncJobEngine,
    VersionConflictError,
)
from tests.reliability.planted import SECONDS_AGAINST_HANGS
from tests.tries import thorough

JOBS = 20


def _together(threads: int, work: Any) -> list[Any]:  # noqa: ANN401 - any work, any outcome
    """Let that many threads do the work at once; return the outcomes."""
    start = threading.Barrier(threads)

    def run(number: int) -> Any:  # noqa: ANN401 - as above
        start.wait(SECONDS_AGAINST_HANGS)
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(run, number) for number in range(threads)]
        return [call.result(timeout=SECONDS_AGAINST_HANGS) for call in running]


@pytest.mark.parametrize("threads", [100, *thorough(500)])
def test_of_many_who_move_a_job_one_wins(threads: int) -> None:
    with SyncJobEngine() as engine:
        ids = [engine.create(str(number)).job_id for number in range(JOBS)]

        def move_all(number: int) -> Counter[str]:
            won: Counter[str] = Counter()
            for job_id in ids[number % JOBS :] + ids[: number % JOBS]:
                for target in (JobStatus.RUNNING, JobStatus.COMPLETED):
                    try:
                        engine.transition(job_id, target)
                    except InvalidStateTransitionError:
                        won["refused"] += 1
                    else:
                        won[f"{target} {job_id}"] += 1
            return won

        total: Counter[str] = sum(_together(threads, move_all), Counter())
        assert total.pop("refused") == threads * JOBS * 2 - JOBS * 2
        assert total == {
            f"{target} {job_id}": 1
            for target in (JobStatus.RUNNING, JobStatus.COMPLETED)
            for job_id in ids
        }
        _check_numbers(engine, ids, lines=3)
        assert engine.count(JobStatus.COMPLETED) == JOBS


def _check_numbers(engine: SyncJobEngine, ids: list[str], lines: int) -> None:
    """Check that every job has that many changes, and that all are numbered without gaps."""
    histories = [engine.history(job_id) for job_id in ids]
    assert {len(history) for history in histories} == {lines}
    numbers = sorted(line.sequence for history in histories for line in history)
    assert numbers == list(range(1, lines * len(ids) + 1))
    assert engine.statistics().last_sequence == lines * len(ids)


@pytest.mark.parametrize("threads", [100, *thorough(500)])
def test_every_threads_own_jobs_are_as_it_left_them(threads: int) -> None:
    def work(number: int) -> list[Any]:
        jobs = [engine.create(f"{number} {job}") for job in range(3)]
        engine.transition_many([Move(job.job_id, JobStatus.RUNNING) for job in jobs])
        ended = engine.transition(jobs[0].job_id, JobStatus.COMPLETED, result=str(number))
        assert engine.get(ended.job_id) == ended
        return [ended, *engine.get_many(job.job_id for job in jobs[1:])]

    with SyncJobEngine() as engine:
        jobs = [job for done in _together(threads, work) for job in done]
        assert engine.count() == len({job.job_id for job in jobs}) == threads * 3
        assert engine.get_many(job.job_id for job in jobs) == jobs
        assert engine.statistics().jobs == {
            JobStatus.AWAITING_PAYMENT: 0,
            JobStatus.RUNNING: threads * 2,
            JobStatus.COMPLETED: threads,
            JobStatus.FAILED: 0,
        }
        assert engine.statistics().last_sequence == threads * 7


def test_of_many_with_one_version_one_wins() -> None:
    with SyncJobEngine() as engine:
        job = engine.create("hash")

        def claim(_: int) -> bool:
            try:
                engine.transition(job.job_id, JobStatus.RUNNING, expected_version=1)
            except VersionConflictError:
                return False
            return True

        assert sum(_together(100, claim)) == 1


def test_one_key_from_many_threads_gives_one_job() -> None:
    with SyncJobEngine() as engine:
        jobs = _together(100, lambda _: engine.create("hash", idempotency_key="key"))
        assert len({job.job_id for job in jobs}) == 1
        assert engine.count() == 1

        def other(number: int) -> str:
            try:
                return engine.create(f"hash {number}", idempotency_key="another").input_hash
            except IdempotencyConflictError as error:
                return error.field

        outcomes = Counter(_together(100, other))
        assert outcomes.pop("input_hash") == 99
        assert list(outcomes.values()) == [1]
        assert engine.count() == 2
