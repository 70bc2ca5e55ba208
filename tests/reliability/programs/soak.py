"""Run many jobs in one process, and print its growth.

It is a process of its own, because garbage of pytest would hide a leak.
"""

import asyncio
import gc
import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import trio

from engine import JobEngine, JobStatus, Move, NewJob, Retention, SQLiteStorage
from engine.storage.audit import AuditLine
from engine.storage.record import Change

ROUNDS = 10
BATCH = 250
CALLERS = 4
KEPT = 2_000
RULE = Retention(max_jobs=KEPT, interval_seconds=0.05)
SECONDS_TO_REMOVE = 60
WARM_ROUNDS = 3
MOST_MORE_BYTES = 10_000_000
MOST_TIMES_LARGER = 1.5


@dataclass(frozen=True)
class State:
    """The resources of a process."""

    memory_bytes: int
    open_files: int
    threads: int
    tasks: int
    file_bytes: int


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return trio.lowlevel.current_statistics().tasks_living


def _threads() -> list[threading.Thread]:
    """Return all threads except those that trio caches after their work."""
    return [each for each in threading.enumerate() if not each.name.startswith("Trio thread")]


def _join_threads() -> None:
    """Wait for threads that are about to end."""
    for thread in _threads():
        if thread.name.startswith("engine storage"):
            thread.join(SECONDS_TO_REMOVE)


def _state(path: Path) -> State:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return State(
        pages * os.sysconf("SC_PAGE_SIZE"),
        len(list(Path("/proc/self/fd").iterdir())),
        len(_threads()),
        _tasks(),
        sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*")),
    )


async def _live(engine: JobEngine, jobs: int, name: str) -> None:
    """Run so many jobs from creation to removal."""
    for first in range(0, jobs, BATCH):
        many = await engine.create_many(
            NewJob(f"{name} {number}", idempotency_key=f"{name} {number}")
            for number in range(first, first + BATCH)
        )
        await engine.transition_many(Move(job.job_id, JobStatus.RUNNING) for job in many)
        await engine.transition_many(
            Move(job.job_id, JobStatus.COMPLETED, result="x" * 200) for job in many
        )
        await engine.get_many(job.job_id for job in many)


async def _round(engine: JobEngine, jobs: int, name: str) -> None:
    """Run jobs with some callers."""
    async with anyio.create_task_group() as tasks:
        for caller in range(CALLERS):
            tasks.start_soon(_live, engine, jobs // CALLERS, f"{name} {caller}")


async def _removed(engine: JobEngine) -> None:
    """Wait until the old jobs are removed."""
    with anyio.fail_after(SECONDS_TO_REMOVE):
        while await engine.count() > KEPT:  # noqa: ASYNC110 - there is no event for it
            await anyio.sleep(RULE.interval_seconds)


async def _soak(storage: SQLiteStorage, jobs: int, rule: Retention | None) -> list[str]:
    """Run many jobs through an engine, and return its growth."""
    before = _state(storage.path)
    states: list[State] = []
    async with JobEngine(storage, retention=rule) as engine:
        for number in range(ROUNDS):
            await _round(engine, jobs // ROUNDS, f"round {number}")
            if rule is not None:
                await _removed(engine)
            states.append(_state(storage.path))
        done = (await engine.statistics()).last_sequence
    _join_threads()
    after = _state(storage.path)
    seen = f"{done} transitions: before {before}, then {states[0]} to {states[-1]}, after {after}"
    print(seen, file=sys.stderr)  # noqa: T201 - the counts are a part of the result
    assert done == 3 * jobs
    return [*_grown(states[WARM_ROUNDS], states[-1]), *_left(before, after)]


def _grown(first: State, last: State) -> Iterator[str]:
    """Return the growth of a process since it was warm."""
    if last.memory_bytes > first.memory_bytes + MOST_MORE_BYTES:
        yield "memory"
    if last.file_bytes > first.file_bytes * MOST_TIMES_LARGER:
        yield "the file"
    for name in ("open_files", "threads", "tasks"):
        if getattr(last, name) > getattr(first, name):
            yield name


def _left(before: State, after: State) -> Iterator[str]:
    """Return the resources that are left after the engine has closed."""
    for name in ("open_files", "threads", "tasks"):
        if getattr(after, name) > getattr(before, name):
            yield f"{name} after the end"


class LeakingStorage(SQLiteStorage):
    """Its bug: it leaks a megabyte and an open file with each commit."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.kept: list[tuple[bytes, int]] = []

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        self.kept.append((b"x" * 1_000_000, os.dup(0)))
        await super().commit(changes, lines)


def main() -> None:
    """Soak; print the growth and the counts.

    Arguments: the file, the number of jobs, the backend, and ``rule`` or ``leak``.
    """
    path, jobs, backend, kind = sys.argv[1:]
    leaking = kind == "leak"
    storage = (LeakingStorage if leaking else SQLiteStorage)(Path(path))
    grown = anyio.run(_soak, storage, int(jobs), None if leaking else RULE, backend=backend)
    print(json.dumps(grown))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
