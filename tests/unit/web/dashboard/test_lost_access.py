"""What takes long ends with the access that it began with."""

from __future__ import annotations

import anyio
import pytest
from starlette.requests import Request

from engine import JobEngine
from engine import OrderStatus as S
from engine.web.dashboard import Access, Dashboard, api, feed, streams
from tests.unit.web.dashboard.browsing import ROOT
from tests.unit.web.dashboard.conftest import client_of
from tests.unit.web.dashboard.test_feed import stream

pytestmark = pytest.mark.anyio


class Door:
    """Lets everybody in, as long as it is open."""

    def __init__(self) -> None:
        self.is_open = True
        self.asked = 0

    async def __call__(self, _: Request) -> Access | None:
        self.asked += 1
        return Access("ann", may_act=True) if self.is_open else None


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def dashboard(engine: JobEngine[S], door: Door) -> Dashboard:
    return Dashboard(engine, authorize=door)


@pytest.mark.parametrize("path", ["/events", "/api/events"])
async def test_a_stream_ends_when_its_access_is_lost_and_tells_nothing_more(
    engine: JobEngine[S],
    dashboard: Dashboard,
    door: Door,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "_ACCESS_SECONDS", 0.0)
    async with stream(dashboard, path) as told:
        await told.part()  # it has begun
        await engine.create()
        await told.event()
        door.is_open = False
        await engine.create()
        assert await told.events() == []
        await told.has_returned.wait()
        assert told.is_whole


@pytest.mark.parametrize(("path", "module"), [("/events", feed), ("/api/events", api)])
async def test_a_stream_without_news_ends_with_its_access_too(
    dashboard: Dashboard,
    door: Door,
    path: str,
    module: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "_ACCESS_SECONDS", 0.0)
    monkeypatch.setattr(module, "_WAIT_SECONDS", 0.01)
    async with stream(dashboard, path) as told:
        while await told.part() != ": still here\n\n":
            pass
        door.is_open = False
        await told.has_returned.wait()


async def test_a_stream_asks_for_its_access_now_and_then_and_not_for_each_event(
    engine: JobEngine[S], dashboard: Dashboard, door: Door
) -> None:
    async with stream(dashboard, "/api/events") as told:
        await told.part()
        for _ in range(50):
            await engine.create()
            await told.event()
    assert door.asked == 1


@pytest.mark.parametrize(
    ("path", "how", "header"),
    [("job", {}, {"Prefer": "wait=30"}), ("transitions", {"wait": "30"}, {})],
)
async def test_an_answer_that_was_waited_for_is_for_those_who_still_have_access(
    engine: JobEngine[S],
    dashboard: Dashboard,
    door: Door,
    path: str,
    how: dict[str, str],
    header: dict[str, str],
) -> None:
    job, statuses = await engine.create(start=True), list[int]()
    async with client_of(dashboard) as client, anyio.create_task_group() as tasks:

        async def wait() -> None:
            answer = await client.get(
                f"{ROOT}/api/{path}", params={"job_id": job.job_id, **how}, headers=header
            )
            statuses.append(answer.status_code)
            assert job.job_id not in answer.text

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        door.is_open = False
        await engine.transition(job.job_id, S.COMPLETED)
    assert statuses == [403]
