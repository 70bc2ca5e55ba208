"""A threaded application: one blocking engine, called from every thread of two pools.

::

    python examples/threads_app.py

It shows how threads compete for a job and just one gets it, how a bulk call moves many jobs or
none, and what a timeout means.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from engine import (
    InvalidStateTransitionError,
    Job,
    JobStatus,
    Move,
    SyncJobEngine,
    VersionConflictError,
    WriteTimeoutError,
)

JOBS = 20
RENDERERS = 4


def claim(engine: SyncJobEngine, job: Job) -> Job | None:
    """Take a job over, unless another thread was faster."""
    try:
        return engine.transition(job.job_id, JobStatus.RUNNING, expected_version=job.version)
    except VersionConflictError:
        return None


def render(engine: SyncJobEngine, renderer: int, jobs: list[Job]) -> int:
    """Try to claim every job, render those that were won, and return how many that were."""
    won = [job for job in jobs if claim(engine, job) is not None]
    for job in won:
        picture = f"{job.input_hash}, rendered by {renderer}"
        engine.transition(job.job_id, JobStatus.COMPLETED, result=picture)
    return len(won)


def show_competition(engine: SyncJobEngine) -> None:
    """Create jobs from many threads, and let a few others compete for them."""
    with ThreadPoolExecutor(JOBS) as customers:
        jobs = list(customers.map(engine.create, [f"scene {number}" for number in range(JOBS)]))
    with ThreadPoolExecutor(RENDERERS) as renderers:
        shares = list(renderers.map(lambda n: render(engine, n, jobs), range(RENDERERS)))
    done = Counter(job.status.value for job in engine.get_many(job.job_id for job in jobs))
    print(f"{RENDERERS} threads competed for {JOBS} jobs and won {sum(shares)}: {dict(done)}")


def show_all_or_none(engine: SyncJobEngine) -> None:
    """Move two jobs in one call, of which the second may not move."""
    new, ended = engine.create("scene 20"), engine.list_jobs(limit=1).jobs[0]
    moves = [Move(job.job_id, JobStatus.RUNNING) for job in (new, ended)]
    try:
        engine.transition_many(moves)
    except InvalidStateTransitionError as error:
        print(f"a bulk call failed at item {error.item}: {error.from_state} is final")
    print(f"item 0 is as it was: {engine.get(new.job_id).status.value}")


def show_timeout(engine: SyncJobEngine) -> None:
    """Do not wait for the answer to a create, and repeat it safely."""
    try:
        engine.create("scene 21", idempotency_key="order 21", timeout=0)
    except WriteTimeoutError as error:
        print(error)
    job = engine.create("scene 21", idempotency_key="order 21")
    print(f"sent twice with one key, it is one job: {job.input_hash}, version {job.version}")


def main() -> None:
    """Show all three on one engine."""
    with SyncJobEngine() as engine:
        show_competition(engine)
        show_all_or_none(engine)
        show_timeout(engine)
        print(f"{engine.count()} jobs, {engine.statistics().last_sequence} changes")


if __name__ == "__main__":
    main()
