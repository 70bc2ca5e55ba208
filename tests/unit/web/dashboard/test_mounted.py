"""The dashboard mounts anywhere, and all of its links lead to where it is."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from engine import JobEngine
from engine import OrderStatus as S
from engine.web.dashboard import Access, Dashboard
from tests.unit.web.dashboard.browsing import ORIGIN, Browser, Page

ACCESS = Access("ann", may_act=True)

pytestmark = pytest.mark.anyio


def in_fastapi(dashboard: Dashboard) -> ASGIApp:
    app = FastAPI()
    app.mount("/a/b", dashboard)
    return app


def nested(dashboard: Dashboard) -> ASGIApp:
    return Starlette(routes=[Mount("/a", Starlette(routes=[Mount("/b", dashboard)]))])


def as_litestar_does(dashboard: Dashboard) -> ASGIApp:
    """Cut the place off from the path, and say nowhere what it was."""

    async def mounting(scope: Scope, receive: Receive, send: Send) -> None:
        path = f"{scope['path'].removeprefix('/a/b').rstrip('/')}/"
        await dashboard({**scope, "path": path, "root_path": ""}, receive, send)

    return mounting


def alone(dashboard: Dashboard) -> ASGIApp:
    return dashboard


@pytest.mark.parametrize(
    ("mount", "root_path", "asked", "linked"),
    [
        (alone, "", "", ""),
        (alone, "/ops", "/ops", "/ops"),  # as uvicorn's --root-path, with a proxy that strips it
        (in_fastapi, "", "/a/b", "/a/b"),
        (in_fastapi, "/proxied", "/proxied/a/b", "/proxied/a/b"),
        (nested, "", "/a/b", "/a/b"),
        (as_litestar_does, "", "/a/b", "/a/b"),
        (nested, "/ä b", "/ä b/a/b", "/%C3%A4%20b/a/b"),
    ],
)
async def test_links_and_forms_lead_back(
    engine: JobEngine[S],
    mount: Callable[[Dashboard], ASGIApp],
    root_path: str,
    asked: str,
    linked: str,
) -> None:
    app = mount(Dashboard(engine, authorize=lambda _: ACCESS))
    transport = httpx.ASGITransport(app, root_path=root_path)
    job = await engine.create()
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        page = Page(await client.get(f"{asked}/jobs"))
        assert page.status == 200
        assert page.links["Overview"] == f"{linked}/"
        assert page.body["data-events"] == f"{linked}/events"
        for link in {*page.links.values()} - {"#main"}:
            assert (await client.get(link)).status_code == 200, link
        shown = await Browser(client).follow(page.links[job.job_id])
        done = await Browser(client).send(shown.form("cancel"))
        assert (done.status, "Cancelled" in done.text) == (200, True)
        described = (await client.get(f"{asked}/api/openapi.json")).json()
        assert described["servers"] == [{"url": linked or "/"}]
