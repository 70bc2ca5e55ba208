"""A service of reports whose dashboard is drawn: some jobs wait, some run, some have failed."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal

import anyio
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.routing import Mount

from engine import ORDER_LIFECYCLE, Context, FollowUp, Handler, JobEngine, Retry, Worker
from engine import OrderStatus as S
from engine.web.dashboard import Dashboard, token_access

TOKEN: Final = "correct horse battery staple"  # noqa: S105 - of the pictures
ORDERS: Final = 60

_chance = random.Random(7)
_past = random.Random(7)


class Wishes(BaseModel):
    pages: int = Field(ge=1, le=500, title="Pages", description="Of the whole report")
    tone: Literal["formal", "friendly"] = Field(title="Tone")
    until: date = Field(title="Until")
    is_draft: bool = Field(title="Draft")


async def report(order: dict[str, Any], context: Context[S]) -> dict[str, int]:
    number = order["number"]
    if number % 9 == 0:
        context.request_input(Wishes, timedelta(hours=5), question="How long may the report be?")
    if number % 14 == 0:
        raise ValueError("the model returned an empty page")
    for page in range(20):
        context.progress(page, 20, "pages")
        await anyio.sleep(0.02 if number < ORDERS - 6 else 60)
    return {"words": 312 * number}


async def translate(_: dict[str, Any]) -> str:
    return "une rose est une rose"


async def refund() -> None:
    if _chance.random() < 0.2:
        raise RuntimeError("the bank is closed until nine")


HANDLERS: Final[dict[str, Handler[Any, Any]]] = {
    "report": Handler(report, concurrency=4, retry=Retry(2, 0.1)),
    "translation": Handler(translate),
    "refund": Handler(refund, retry=Retry(1)),
}
_ago = timedelta(days=1)


def _time() -> datetime:
    return datetime.now(UTC) - _ago


engine = JobEngine(
    lifecycle=ORDER_LIFECYCLE,
    clock=_time,
    follow_ups=[FollowUp("refund", to={S.FAILED, S.CANCELLED}, started=True)],
)


async def _order(number: int) -> None:
    job = await engine.create(
        kind=_chance.choice(["report", "report", "translation"]),
        input={"number": number, "text": "a rose is a rose"},
        labels={"customer": _chance.choice(["ann", "bob", "cleo"])},
        deadlines={S.AWAITING_PAYMENT: timedelta(hours=1)},
    )
    if number % 10 == 0:
        await engine.cancel(job.job_id, by="ann", reason="changed my mind")
    elif number % 4:
        await engine.start(job.job_id, payment_id=f"pay-{number}")


def _let_it_be(ago: timedelta) -> None:
    global _ago  # noqa: PLW0603 - the time of this program
    _ago = ago


async def _live_through_the_day() -> None:
    """Let orders come and end, fewer at night, up to an hour ago."""
    for minutes in range(24 * 60, 60, -1):
        _let_it_be(timedelta(minutes=minutes))
        busy = 1.6 + 1.5 * math.cos(minutes / 230)
        for _ in range(int(_past.expovariate(1) * busy)):
            job = await engine.create(kind="report", start=True)
            end = _past.choices([S.COMPLETED, S.CANCELLED, S.FAILED], [93, 4, 3])[0]
            await engine.transition(job.job_id, end)
            for refund in await engine.follow_ups(job.job_id):
                await engine.transition(refund.job_id, S.COMPLETED)


async def _live_through_an_hour() -> None:
    """Let orders come up to now, while the worker works."""
    minutes = sorted((_past.uniform(0, 60) for _ in range(ORDERS)), reverse=True)
    for number, ago in enumerate([*minutes[1:], 0], 1):
        _let_it_be(timedelta(minutes=ago))
        await _order(number)
        await anyio.sleep(0.05)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with engine:
        await _live_through_the_day()
        async with Worker(engine, HANDLERS, grace_seconds=0):
            await _live_through_an_hour()
            yield


app = Starlette(
    lifespan=lifespan,
    routes=[Mount("/ops", Dashboard(engine, authorize=token_access(TOKEN, who="night shift")))],
)
