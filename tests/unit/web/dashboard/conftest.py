"""Fixtures of the dashboard's tests: a dashboard over a real engine, and a browser for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from engine import ORDER_LIFECYCLE, FollowUp, JobEngine
from engine import OrderStatus as S
from engine.web.dashboard import Access, Dashboard
from tests.unit.web.dashboard.browsing import ORIGIN, ROOT, Browser

REFUND: FollowUp[Any] = FollowUp("refund", to={S.FAILED})
WHO = "who"


def as_said(request: Request) -> Access | None:
    """Believe what the request says: ``ann`` may act, ``eve`` may look."""
    who = request.headers.get(WHO)
    return None if who is None else Access(who, may_act=who != "eve")


@pytest.fixture
async def engine() -> AsyncIterator[JobEngine[S]]:
    async with JobEngine(lifecycle=ORDER_LIFECYCLE, follow_ups=[REFUND]) as engine:
        yield engine


def mounted(dashboard: Dashboard) -> Starlette:
    return Starlette(routes=[Mount(ROOT, dashboard)])


def client_of(dashboard: Dashboard, who: str | None = "ann") -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(mounted(dashboard)),
        base_url=ORIGIN,
        headers={} if who is None else {WHO: who},
    )


@pytest.fixture
def dashboard(engine: JobEngine[S]) -> Dashboard:
    return Dashboard(engine, authorize=as_said)


@pytest.fixture
async def client(dashboard: Dashboard) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(dashboard) as client:
        yield client


@pytest.fixture
def browser(client: httpx.AsyncClient) -> Browser:
    return Browser(client)
