"""The time of each page of the dashboard on the server, in a file with a million jobs.

An empty file is asked for the same pages by turns. Each page is asked of a new dashboard, which
has kept nothing. The statements of a page are counted beside, also in a file with a thousand jobs.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import anyio
from httpx import ASGITransport, AsyncClient

from engine import ORDER_LIFECYCLE, FollowUp, JobEngine, NewJob, SQLiteStorage
from engine import OrderStatus as S
from engine.web.dashboard import Dashboard, token_access
from tests.bench.durable import new_folder
from tests.bench.durable_floors import HASH
from tests.bench.ended_file import fill
from tests.bench.measure import progress, repeated
from tests.bench.rounds import Rounds
from tests.bench.rows import Row, Stated

FEW: Final = 1_000
_ENDED_OF_LIVE: Final = 100
_TRIES: Final = 10
_LIMIT_MS: Final = 100.0
_KINDS: Final = 10
_SOME: Final = 500
_TOKEN: Final = "the token of the benchmark"  # noqa: S105 - opens nothing
_REFUND: Final[FollowUp[Any]] = FollowUp("refund", to={S.FAILED})

PAGES: Final = {
    "overview": "/",
    "jobs": "/jobs",
    "jobs of a status": "/jobs?status=completed",
    "jobs of a kind and a label": "/jobs?kind=kind-3&label=customer%3D13",
    "jobs of no kind": "/jobs?kind=none&label=customer%3Dnobody",
    "search for nothing": "/jobs?q=nothing",
    "a job": "/job?id={job_id}",
    "inbox": "/inbox",
    "kinds": "/kinds",
    "audit": "/audit",
}


class CountingStorage(SQLiteStorage):
    """Counts the statements of its connections."""

    statements = 0

    def connect(self, path: Path) -> sqlite3.Connection:
        """See `SQLiteStorage.connect`."""
        connection = super().connect(path)
        connection.set_trace_callback(self._count)
        return connection

    def _count(self, _: str) -> None:
        self.statements += 1


class Place:
    """An engine on a file, whose dashboard is asked for pages."""

    def __init__(self, path: Path) -> None:
        self.storage = CountingStorage(path)
        self.engine = JobEngine(self.storage, lifecycle=ORDER_LIFECYCLE, follow_ups=[_REFUND])
        self.job_id = ""

    @classmethod
    @asynccontextmanager
    async def opened(cls, path: Path, jobs: int) -> AsyncIterator[Place]:
        """Give one with so many jobs; with one, if it shall have none."""
        async with cls(path).engine:
            pass  # makes the file
        if jobs:
            live = jobs // _ENDED_OF_LIVE
            await anyio.to_thread.run_sync(fill, path, jobs - live, live)
        place = cls(path)
        async with place.engine:
            await place.make_jobs(_SOME if jobs else 1)
            yield place

    async def make_jobs(self, count: int) -> None:
        """Make jobs of some kinds and customers, of which a fifth each needs a person or failed."""
        new = [
            NewJob(
                HASH,
                kind=f"kind-{number % _KINDS}",
                labels={"customer": str(number % 20)},
                start=True,
            )
            for number in range(count)
        ]
        jobs = await self.engine.create_many(new)
        for number, job in enumerate(jobs):
            if number % 5 == 0:
                await self.engine.transition(job.job_id, S.NEEDS_ATTENTION, by="the benchmark")
            elif number % 5 == 1:
                await self.engine.transition(job.job_id, S.FAILED, error="there is no paper")
        self.job_id = jobs[0].job_id

    async def seconds(self, page: str) -> float:
        """Return the time of a page, of a dashboard that has kept nothing."""
        app = Dashboard(self.engine, authorize=token_access(_TOKEN))
        async with AsyncClient(
            transport=ASGITransport(app),
            base_url="http://here",
            headers={"Authorization": f"Bearer {_TOKEN}"},
        ) as client:
            start = time.perf_counter()
            answer = await client.get(PAGES[page].format(job_id=self.job_id))
            seconds = time.perf_counter() - start
        answer.raise_for_status()
        return seconds

    async def statements(self, page: str) -> int:
        """Return how many statements a page takes, when it has been read before.

        What has happened since the last look is counted by minutes then, in steps.
        """
        await self.seconds(page)
        before = self.storage.statements
        await self.seconds(page)
        return self.storage.statements - before


class Pages:
    """The table of pages.

    Attributes:
        statements: How many each page takes, with few jobs and with all.
    """

    def __init__(self) -> None:
        self.statements: dict[str, tuple[int, int]] = {}
        self._rounds = Rounds()
        self._jobs = 0

    def rows(self, jobs: int, turns: int) -> list[Row]:
        """Measure each page, in a file with so many jobs."""
        self._jobs = jobs
        anyio.run(self._measure, turns)
        return self._table()

    async def _measure(self, turns: int) -> None:
        with new_folder() as folder:
            async with AsyncExitStack() as stack:
                empty, few, full = [
                    await stack.enter_async_context(Place.opened(folder / f"{jobs}.db", jobs))
                    for jobs in (0, FEW, self._jobs)
                ]
                for page in PAGES:
                    progress(f"the statements of {page}")
                    counts = [await place.statements(page) for place in (empty, few, full)]
                    self.statements[page] = (counts[1], counts[2])
                for _ in repeated("pages", turns, self._table):
                    for page in PAGES:
                        await self._time(page, empty, full)

    async def _time(self, page: str, empty: Place, full: Place) -> None:
        seconds = [[await place.seconds(page) for place in (empty, full)] for _ in range(_TRIES)]
        for name, its_seconds in zip(("empty", "full"), zip(*seconds, strict=True), strict=True):
            *_, tenth, slowest = sorted(its_seconds)
            self._rounds.add(f"{page} {name}", 1e3 * median(its_seconds))
            self._rounds.add(f"{page} {name} nine of ten", 1e3 * tenth)
            self._rounds.add(f"{page} {name} slowest", 1e3 * slowest)

    def _table(self) -> list[Row]:
        return [row for page in PAGES for row in self._rows(page)]

    def _rows(self, page: str) -> Iterable[Row]:
        work = f"page of {self._jobs:,} jobs: {page}"
        figure, floor = (self._rounds[f"{page} {name}"] for name in ("full", "empty"))
        yield Stated(work, figure, "no jobs", floor, unit="ms")
        most = self._rounds[f"{page} full nine of ten"]
        yield Row(f"{work}, nine of ten", most, "limit", _LIMIT_MS, 1.0, "ms", at_most=True)

    def remarks(self) -> list[str]:
        """Return how many statements the pages take, and the slowest of all pages."""
        told = [f"{page} {few}" for page, (few, _) in self.statements.items()]
        more = [f"{page} {many}" for page, (few, many) in self.statements.items() if few != many]
        with_all = f"with {self._jobs:,} jobs"
        others = f"{with_all}: {', '.join(more)}" if more else f"as many {with_all}"
        full, empty = (
            max(max(self._rounds[f"{page} {name} slowest"].turns) for page in PAGES)
            for name in ("full", "empty")
        )
        return [
            f"- statements a page, with {FEW:,} jobs: {', '.join(told)}; {others}",
            f"- the slowest page of all took {full:.0f} ms, and {empty:.0f} ms without jobs",
        ]
