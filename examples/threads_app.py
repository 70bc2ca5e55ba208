"""A threaded application: the threads of two pools call one blocking engine.

::

    python examples/threads_app.py

It shows that just one of several competing threads gets a job, that a bulk call moves all its jobs
or none, and how to repeat a call that timed out.
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
    WriteTimeoutError,
)

JOBS = 20
RENDERERS = 4


def render(engine: SyncJobEngine, renderer: int, jobs: list[Job]) -> int:
    """Try to start every job, render the jobs that were won, and return their number."""
    won = [job for job in jobs if engine.start(job.job_id).first]
    for job in won:
        picture = f"{job.input_hash}, rendered by {renderer}"
        engine.transition(job.job_id, JobStatus.COMPLETED, result=picture)
    return len(won)


def show_competition(engine: SyncJobEngine) -> None:
    """Create jobs in many threads, and let a few others compete for them."""
    with ThreadPoolExecutor(JOBS) as customers:
        jobs = list(customers.map(engine.create, [f"scene {number}" for number in range(JOBS)]))
    with ThreadPoolExecutor(RENDERERS) as renderers:
        shares = list(renderers.map(lambda n: render(engine, n, jobs), range(RENDERERS)))
    done = Counter(job.status.value for job in engine.get_many(job.job_id for job in jobs))
    print(f"{RENDERERS} threads competed for {JOBS} jobs and won {sum(shares)}: {dict(done)}")


def show_all_or_none(engine: SyncJobEngine) -> None:
    """Move two jobs in one call, the second against the lifecycle."""
    new, ended = engine.create("scene 20"), engine.list_jobs(limit=1).jobs[0]
    moves = [Move(job.job_id, JobStatus.RUNNING) for job in (new, ended)]
    try:
        engine.transition_many(moves)
    except InvalidStateTransitionError as error:
        print(f"a bulk call failed at item {error.item}: {error.from_state} is final")
    print(f"item 0 is as it was: {engine.get(new.job_id).status.value}")


def show_timeout(engine: SyncJobEngine) -> None:
    """Let a create time out, and repeat it safely."""
    try:
        engine.create("scene 21", idempotency_key="order 21", timeout=0)
    except WriteTimeoutError as error:
        print(error)
    job = engine.create("scene 21", idempotency_key="order 21")
    print(f"sent twice with one key, it is one job: {job.input_hash}, version {job.version}")


def main() -> None:
    """Show all three with one engine."""
    with SyncJobEngine() as engine:
        show_competition(engine)
        show_all_or_none(engine)
        show_timeout(engine)
        print(f"{engine.count()} jobs, {engine.statistics().last_sequence} changes")


if __name__ == "__main__":
    main()
