"""A service of reports whose dashboard is drawn: some jobs wait, some run, some have failed."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
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
engine = JobEngine(
    lifecycle=ORDER_LIFECYCLE,
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


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with engine, Worker(engine, HANDLERS, grace_seconds=0):
        for number in range(1, ORDERS + 1):
            await _order(number)
            await anyio.sleep(0.05)
        yield


app = Starlette(
    lifespan=lifespan,
    routes=[Mount("/ops", Dashboard(engine, authorize=token_access(TOKEN, who="night shift")))],
)
