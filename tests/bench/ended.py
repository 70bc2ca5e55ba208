"""Gets of ended jobs, beside a plain SELECT by the job's id from the same file.

The SELECT returns the columns that the engine reads, as a tuple. Recent jobs are a thousand, got
again and again soon after their ends. Old jobs are two hundred thousand, more than any cache holds,
got in random order.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import anyio

from engine import JobEngine, JobStatus, Move, NewJob
from engine.storage.sqlite.rows import JOB_COLUMNS
from tests.bench.durable_floors import HASH, RESULT
from tests.bench.ended_file import fill
from tests.bench.inline import INLINE, rate_row, storage_in
from tests.bench.measure import Best, by_callers, timed
from tests.bench.rows import Measured, Row, Stated

RECENT: Final = 1_000
_OLD: Final = 200_000
_CALLS: Final = 5_000
_MANY: Final = 100  # callers
_SELECT: Final = f"SELECT {', '.join(JOB_COLUMNS)} FROM jobs WHERE job_id = ?"


@contextmanager
def old_jobs(scale: float) -> Iterator[Path]:
    """Make a file with old jobs alone."""
    with TemporaryDirectory(prefix="engine-bench-") as folder:
        path = Path(folder, "jobs.db")
        anyio.run(_make, path)
        fill(path, int(_OLD * scale), 0)
        yield path


async def _make(path: Path) -> None:
    async with JobEngine(path):
        pass


def measure(best: Best, old: Path, scale: float) -> None:
    """Measure each row once."""
    calls = max(10, int(_CALLS * scale))
    some = random.sample(_ids(old), calls)
    for inline in INLINE:
        plain = time_recent(best, calls, inline=inline)
        anyio.run(partial(_time_old, best, old, some, inline=inline))
    best.add("plain recent", calls, plain)
    best.add("plain old", calls, _plain_seconds(old, some))


def time_recent(best: Best, calls: int, *, inline: bool) -> float:
    """Add the engine's rates of gets of recent jobs, by one caller and by many.

    Returns:
        The seconds of as many SELECTs from the same file.
    """
    with TemporaryDirectory(prefix="engine-bench-") as folder:
        path = Path(folder, "jobs.db")
        anyio.run(partial(_time_recent, best, path, calls, inline=inline))
        return _plain_seconds(path, [*islice(cycle(_ids(path)), calls)])


async def _time_recent(best: Best, path: Path, calls: int, *, inline: bool) -> None:
    async with JobEngine(storage_in(path, inline=inline)) as engine:
        created = await engine.create_many([NewJob(HASH)] * min(RECENT, calls))
        ids = [job.job_id for job in created]
        await engine.transition_many([Move(job_id, JobStatus.RUNNING) for job_id in ids])
        await engine.transition_many(
            [Move(job_id, JobStatus.COMPLETED, result=RESULT) for job_id in ids]
        )
        wanted = [*islice(cycle(ids), calls)]
        for callers in (1, _MANY):
            seconds = await by_callers(callers, wanted, engine.get)
            best.add(_name("recent", callers, inline=inline), calls, seconds)


def _name(jobs: str, callers: int, *, inline: bool) -> str:
    return f"{jobs} {callers}{' inline' * inline}"


async def _time_old(best: Best, path: Path, ids: Sequence[str], *, inline: bool) -> None:
    async with JobEngine(storage_in(path, inline=inline)) as engine:
        seconds = await by_callers(1, ids, engine.get)
        best.add(_name("old", 1, inline=inline), len(ids), seconds)


def _ids(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [job_id for (job_id,) in connection.execute("SELECT job_id FROM jobs")]


def _plain_seconds(path: Path, ids: Sequence[str]) -> float:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:

        def read() -> None:
            for job_id in ids:
                connection.execute(_SELECT, (job_id,)).fetchone()

        return timed(read)


def rows(best: Best, scale: float) -> list[Row]:
    """Return the rows of what was measured."""
    many = best[_name("recent", _MANY, inline=False)]
    return [
        *recent_rows("get of an ended job, 1 caller", best, "SELECT", best["plain recent"]),
        Stated(f"get of an ended job, {_MANY} callers", many, "SELECT", best["plain recent"]),
        *(_old_row(best, scale, inline=inline) for inline in INLINE),
    ]


def recent_rows(work: str, best: Best, floor_name: str, floor: Measured) -> list[Row]:
    """Return the rows of gets by one caller."""
    return [
        rate_row(
            work, best[_name("recent", 1, inline=inline)], floor_name, floor, 0.5, inline=inline
        )
        for inline in INLINE
    ]


def _old_row(best: Best, scale: float, *, inline: bool) -> Row:
    work = f"get, any of {int(_OLD * scale):,} old jobs, 1 caller{', inline commits' * inline}"
    return Stated(work, best[_name("old", 1, inline=inline)], "SELECT", best["plain old"])
