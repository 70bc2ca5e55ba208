"""The dashboard over an engine elsewhere, by its control socket."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from engine import ORDER_LIFECYCLE, JobEngine
from engine import OrderStatus as S
from engine.control.client import SocketDesk
from engine.control.peer import this_operator
from engine.web.dashboard import Dashboard
from tests.unit.control.clients import until
from tests.unit.web.dashboard.browsing import Browser
from tests.unit.web.dashboard.conftest import as_said, client_of
from tests.unit.web.dashboard.test_feed import stream

pytestmark = pytest.mark.anyio


async def test_an_engine_is_shown_and_acted_on_by_its_socket(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"
    async with JobEngine(file, lifecycle=ORDER_LIFECYCLE) as engine, SocketDesk(file) as desk:
        elsewhere = Dashboard(desk, authorize=as_said)
        job = await engine.create(labels={"customer": "ann"})
        async with client_of(elsewhere) as client, stream(elsewhere) as open_page:
            browser = Browser(client)
            await open_page.event()
            for path in ("/", "/jobs", "/inbox", "/kinds", "/audit"):
                assert (await browser.get(path)).status == 200
            page = await browser.get("/job", id=job.job_id)
            done = await browser.send(page.form("cancel"), reason="closed")
            assert (done.status, "cancelled: closed" in done.text) == (200, True)
            assert (await open_page.event())["data"] == {"jobs": [job.job_id]}
            refused = await browser.send(page.form("cancel"))
            assert refused.status == 409
            assert (await browser.get("/job", id="lost")).status == 404
        assert (await engine.get(job.job_id)).status is S.CANCELLED
        [entry] = await engine.audit()
        assert entry.by == f"{this_operator()} for ann"


async def test_open_pages_are_told_of_news_while_programs_wait(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"
    async with JobEngine(file, lifecycle=ORDER_LIFECYCLE) as engine, SocketDesk(file) as desk:
        elsewhere = Dashboard(desk, authorize=as_said)
        job = await engine.create()
        arguments = {"job_id": job.job_id, "after": str(job.sequence), "wait": 30}
        async with stream(elsewhere) as open_page, anyio.create_task_group() as programs:
            await open_page.event()
            for _ in range(12):
                programs.start_soon(desk.do, "transitions", arguments)
            await until(lambda: len(engine.core.state.events) >= 5)
            other = await engine.create()
            with anyio.fail_after(15):  # less than they wait
                assert (await open_page.event())["data"] == {"jobs": [other.job_id]}
            programs.cancel_scope.cancel()


async def test_an_engine_that_is_not_there_is_told(tmp_path: Path) -> None:
    desk = SocketDesk(tmp_path / "jobs.db")
    async with desk, client_of(Dashboard(desk, authorize=as_said)) as client:
        page = await Browser(client).get("/")
        assert (page.status, "no engine" in page.text) == (503, True)
