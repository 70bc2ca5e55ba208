"""The feed and the shared reads: any number of open pages cost the engine no more than one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engine import ORDER_LIFECYCLE, JobEngine
from engine import OrderStatus as S
from engine.operations import EngineDesk
from engine.web.dashboard import Dashboard
from engine.web.dashboard.feed import Feed
from engine.web.dashboard.sharing import Shared, Turn
from tests.unit.web.asking import Answer, answered
from tests.unit.web.dashboard.browsing import ROOT
from tests.unit.web.dashboard.conftest import WHO, as_said, client_of, mounted

pytestmark = pytest.mark.anyio


class CountingDesk(EngineDesk):
    """Counts the operations, by name."""

    def __init__(self, engine: JobEngine[Any]) -> None:
        super().__init__(engine.core)
        self.asked: list[str] = []

    async def do(self, operation: str, *args: Any, **how: Any) -> Any:  # noqa: ANN401 - as desks
        self.asked.append(operation)
        return await super().do(operation, *args, **how)


@asynccontextmanager
async def stream(
    dashboard: Dashboard, path: str = "/events", last_id: str | None = None
) -> AsyncIterator[Answer]:
    """Open a stream."""
    headers = [(WHO.encode(), b"eve")]
    if last_id is not None:
        headers.append((b"last-event-id", last_id.encode()))
    app = mounted(dashboard)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        place, _, query = f"{ROOT}{path}".partition("?")
        asked = {"path": place, "query_string": query.encode(), "root_path": ""}
        await app({**scope, **asked, "headers": headers}, receive, send)

    async with answered(cast("Response", answer)) as answering:
        yield answering


async def test_an_open_page_is_told_which_jobs_have_changed(
    engine: JobEngine[S], dashboard: Dashboard
) -> None:
    start = (await EngineDesk(engine.core).do("transitions", {}))["next"]
    async with stream(dashboard, f"/events?after={start}") as open_page:
        first = await open_page.event()  # the feed did not know that place
        assert first["data"] == {"jobs": None}
        job = await engine.create()
        told = await open_page.event()
        assert told["data"] == {"jobs": [job.job_id]}
    async with stream(dashboard, f"/events?after={start}", last_id=first["id"]) as back:
        assert await back.event() == told
        await engine.start(job.job_id)
        assert (await back.event())["data"] == {"jobs": [job.job_id]}


async def test_a_page_that_comes_back_too_late_reads_everything_again(
    engine: JobEngine[S], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.web.dashboard.feed._GATHER_SECONDS", 0.0)
    feed = Feed(EngineDesk(engine.core))
    first = await feed.cursor()
    ids = [(await engine.create()).job_id]
    [second] = await feed.after(first)
    for _ in range(239):
        ids.append((await engine.create()).job_id)
        await feed.after(await feed.cursor())
    assert await feed.after(first) == [(await feed.cursor(), None)]
    assert [news.jobs for news in await feed.after(second.cursor)] == [
        frozenset({each}) for each in ids[1:]
    ]


async def test_the_more_pages_are_open_the_more_rarely_they_are_told(
    engine: JobEngine[S],
) -> None:
    feed = Feed(EngineDesk(engine.core))
    cursor, seconds = await feed.cursor(), list[float]()
    async with anyio.create_task_group() as open_pages:
        for more in (1, 19, 180, 800):
            for _ in range(more):
                open_pages.start_soon(feed.after, cursor)
            await anyio.wait_all_tasks_blocked()
            seconds.append(feed.gather_seconds)
        open_pages.cancel_scope.cancel()
    assert seconds == [0.25, 1.0, 10.0, 10.0]
    assert feed.gather_seconds == 0.25


@pytest.mark.parametrize("place", ["", "0", "nonsense", "00000000-7", "9" * 99])
async def test_a_page_from_an_unknown_place_reads_everything_again(
    engine: JobEngine[S], dashboard: Dashboard, place: str
) -> None:
    await engine.create()
    async with stream(dashboard, f"/events?after={place}") as open_page:
        assert (await open_page.event())["data"] == {"jobs": None}
        job = await engine.create()
        assert (await open_page.event())["data"] == {"jobs": [job.job_id]}


async def test_many_pages_share_one_watch(engine: JobEngine[S]) -> None:
    desk = CountingDesk(engine)
    feed = Feed(desk)
    start = await feed.cursor()
    told: list[frozenset[str] | None] = []
    async with anyio.create_task_group() as tasks:

        async def follow() -> None:
            [news] = await feed.after(start)
            told.append(news.jobs)

        for _ in range(50):
            tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        assert (await engine.statistics()).watchers <= 1
        job = await engine.create()
    assert told == [frozenset({job.job_id})] * 50
    assert desk.asked.count("transitions") <= 3


async def test_while_somebody_watches_a_page_is_made_once_for_all(engine: JobEngine[S]) -> None:
    desk = CountingDesk(engine)
    sharing = Dashboard(desk, authorize=as_said)
    async with stream(sharing) as open_page, client_of(sharing) as client:
        await open_page.event()
        await anyio.wait_all_tasks_blocked()
        texts = set[str]()

        async def look() -> None:
            texts.add((await client.get(f"{ROOT}/")).text)

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(look)
        assert desk.asked.count("statistics") == 1
        assert len(texts) == 1
        job = await engine.create()
        while (await open_page.event())["data"]["jobs"] != [job.job_id]:
            pass
        await look()
        assert any(job.job_id in text for text in texts)
        client.headers[WHO] = "eve"  # who may not act, and so gets another page
        await look()
        assert len(texts) == 3


async def test_when_the_page_that_asks_goes_the_next_one_asks(engine: JobEngine[S]) -> None:
    feed = Feed(EngineDesk(engine.core))
    start = await feed.cursor()
    leaving, told = anyio.CancelScope(), list[frozenset[str] | None]()
    async with anyio.create_task_group() as tasks:

        async def leave() -> None:
            with leaving:
                await feed.after(start)

        async def stay() -> None:
            while not (news := await feed.after(start)):
                pass
            told.append(news[0].jobs)

        tasks.start_soon(leave)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(stay)
        await anyio.wait_all_tasks_blocked()
        leaving.cancel()
        await anyio.wait_all_tasks_blocked()
        job = await engine.create()
    assert told == [frozenset({job.job_id})]


async def test_news_of_very_many_jobs_name_none_and_are_not_followed_one_by_one(
    engine: JobEngine[S],
) -> None:
    feed = Feed(EngineDesk(engine.core))
    start = await feed.cursor()
    for _ in range(1_100):
        last = await engine.create()
    [news] = await feed.after(start)
    assert news.jobs is None
    assert news.cursor.endswith(f"-{last.sequence}")
    await engine.start(last.job_id)
    [news] = await feed.after(news.cursor)
    assert json.loads(news.data()) == {"jobs": [last.job_id]}


async def test_news_that_have_been_passed_over_name_no_job(engine: JobEngine[S]) -> None:
    feed = Feed(EngineDesk(engine.core))
    start = await feed.cursor()
    busy = await engine.create(start=True)
    for _ in range(500):  # so that one page of transitions is of one job alone
        await engine.transition(busy.job_id, S.NEEDS_ATTENTION)
        await engine.retry(busy.job_id)
    other = await engine.create()
    [news] = await feed.after(start)
    assert news.jobs is None
    assert news.cursor.endswith(f"-{other.sequence}")


async def test_the_stream_ends_with_the_engine() -> None:
    engine = JobEngine(lifecycle=ORDER_LIFECYCLE)
    closing, told = Dashboard(engine, authorize=as_said), anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def follow() -> None:
            async with stream(closing) as open_page:
                await open_page.event()
                told.set()
                await open_page.has_returned.wait()
                assert open_page.is_whole

        async with engine:
            tasks.start_soon(follow)
            await told.wait()
            await anyio.wait_all_tasks_blocked()


async def test_a_turn_is_had_by_one_and_awaited_by_the_others() -> None:
    turn, seen = Turn(), list[bool]()
    async with anyio.create_task_group() as tasks:
        go_on = anyio.Event()

        async def take() -> None:
            async with turn.taken() as is_mine:
                seen.append(is_mine)
                if is_mine:
                    await go_on.wait()

        for _ in range(3):
            tasks.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        assert (seen, turn.is_taken) == ([True], True)
        go_on.set()
    assert (seen, turn.is_taken) == ([True, False, False], False)


async def test_a_read_is_shared_until_something_happens() -> None:
    reads = 0
    news: int | None = 1

    async def read() -> int:
        nonlocal reads
        reads += 1
        await anyio.lowlevel.checkpoint()
        return reads

    shared = Shared(read, lambda: 3_600, lambda: news)
    assert [await shared.get(), await shared.get()] == [1, 1]
    news = 2
    assert await shared.get() == 2
    news = None  # nobody would know
    assert [await shared.get(), await shared.get()] == [3, 4]
    old = Shared(read, lambda: 0)
    assert [await old.get(), await old.get()] == [5, 6]


async def test_a_read_that_fails_is_made_again_by_the_next() -> None:
    reads = 0

    async def read() -> int:
        nonlocal reads
        reads += 1
        await anyio.lowlevel.checkpoint()
        if reads == 1:
            raise ValueError("at first")
        return reads

    shared, got = Shared(read, lambda: 3_600), list[int | str]()
    async with anyio.create_task_group() as tasks:

        async def ask() -> None:
            try:
                got.append(await shared.get())
            except ValueError as error:
                got.append(str(error))

        for _ in range(3):
            tasks.start_soon(ask)
    assert got == ["at first", 2, 2]
