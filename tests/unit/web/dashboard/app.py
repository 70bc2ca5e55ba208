"""A service with a dashboard, which the tests of a real browser run by a real server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from enum import Enum
from typing import Any, Final

import anyio
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from engine import ORDER_LIFECYCLE, Context, FollowUp, Handler, JobEngine, Retry, Worker
from engine import OrderStatus as S
from engine.web.dashboard import Dashboard, token_access
from tests.unit.web.app import JOBS
from tests.unit.web.dashboard.browsing import ROOT

TOKEN: Final = "correct horse battery staple"  # noqa: S105 - of the tests


class Tone(Enum):
    FORMAL = "formal"
    WARM = "warm"


class Wishes(BaseModel):
    pages: int = Field(ge=1, le=500, title="Pages", description="Of the whole report")
    tone: Tone
    due: date
    is_urgent: bool
    note: str | None = None


async def ask(_: dict[str, str], context: Context[S]) -> str:
    wishes = context.request_input(Wishes, timedelta(hours=5), question="What do you wish?")
    return f"{wishes.pages} pages"


async def fail(given: dict[str, str]) -> None:
    raise ValueError(f"there is no model for {given}")


async def work(_: dict[str, str], context: Context[S]) -> str:
    """Report progress until the test says that it is enough."""
    for done in range(1_000_000):
        context.progress(done % 100, 100, "reading")
        if finished.is_set():
            break
        await anyio.sleep(0.05)
    return "read"


HANDLERS: Final[dict[str, Handler[Any, Any]]] = {
    "ask": Handler(ask),
    "fail": Handler(fail, retry=Retry(1)),
    "slow": Handler(work, concurrency=4),
}
finished = anyio.Event()
engine = JobEngine(
    os.environ.get(JOBS),
    lifecycle=ORDER_LIFECYCLE,
    follow_ups=[FollowUp("refund", to={S.FAILED, S.CANCELLED})],
)


async def create(request: Request) -> Response:
    query = request.query_params
    job = await engine.create(
        kind=query["kind"],
        input={"name": query.get("name", "")},
        labels={"customer": query.get("name", "ann")},
        start="start" in query,
    )
    return JSONResponse(job.job_id)


async def move(request: Request) -> Response:
    status = S(request.query_params["status"])
    job = await engine.transition(request.query_params["id"], status, by="the test")
    return JSONResponse(job.job_id)


async def finish(_: Request) -> Response:
    finished.set()
    return Response()


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with engine, Worker(engine, HANDLERS, grace_seconds=0):
        yield


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/create", create, methods=["POST"]),
        Route("/move", move, methods=["POST"]),
        Route("/finish", finish, methods=["POST"]),
        Mount(ROOT, Dashboard(engine, authorize=token_access(TOKEN))),
    ],
)
