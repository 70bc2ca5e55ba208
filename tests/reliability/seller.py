"""A seller: an engine whose orders are paid for at a payment service, settled and refunded there.

The payment service is `examples/payment_service.py`, another process. Orders are good or bad, or
ask; buyers pay, cancel, answer, and do none of it; callbacks come twice. Deadlines are short.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from random import Random
from typing import Any, Final

import anyio
from anyio import to_thread

from engine import (
    ORDER_LIFECYCLE,
    Context,
    EngineError,
    FollowUp,
    Handler,
    Job,
    JobEngine,
    Retry,
    Storage,
    Worker,
)
from engine import OrderStatus as S

Json = dict[str, Any]
Engine = JobEngine[S]
Orders = Job[S]

LIVE: Final = (S.AWAITING_PAYMENT, S.RUNNING, S.AWAITING_INPUT, S.NEEDS_ATTENTION)
LOST: Final = {S.FAILED, S.CANCELLED, S.EXPIRED}
RULES: Final = [
    FollowUp("settle", to={S.COMPLETED}),
    FollowUp("refund", to=LOST, started=True),
    FollowUp("close", to=LOST, started=False),
]
CALLBACKS: Final = 2
PAGE: Final = 1_000
SOON: Final = Retry(max_attempts=1_000, first_delay_seconds=0.002, factor=1, jitter=0.5)
SECONDS_AGAINST_HANGS: Final = 50


class RefusedError(Exception):
    """The payment service does not do what it was asked for."""


class UnfinishedError(Exception):
    """Jobs do not end."""


class BadOrderError(Exception):
    """An order that fails for good."""

    retryable = False


def ask(port: int, path: str, body: Json) -> Json:
    """Ask the payment service, on a connection of its own.

    Raises:
        RefusedError: It answers with an error, or not at all.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, json.dumps(body))
        answer = connection.getresponse()
        told: Json = json.loads(answer.read())
    except (OSError, HTTPException) as error:
        raise RefusedError(f"{path}: {error!r}") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise RefusedError(f"{path}: {answer.status} {told}")
    return told


class Seller:
    """Sells orders by one engine.

    Args:
        name: Which orders are its own, in the ledger.
        port: The payment service's.
        random: Says what buyers do.
    """

    def __init__(self, name: str, port: int, random: Random) -> None:
        self._name = name
        self._port = port
        self._random = random

    async def ask(self, path: str, **body: object) -> Json:
        """Ask the payment service; raises a `RefusedError`."""
        return await to_thread.run_sync(ask, self._port, path, body)

    @asynccontextmanager
    async def opened(
        self, place: Storage | None, *, has_rules: bool = True
    ) -> AsyncIterator[Engine]:
        """Open an engine with a worker; without rules it has those of its storage alone."""
        handlers: dict[str, Handler[Any, Any]] = {
            "order": Handler(self._deliver, retry=SOON),
            "settle": Handler(self._settle, retry=SOON),
            **dict.fromkeys(("refund", "close"), Handler(self._give_back, retry=SOON)),
        }
        rules = RULES if has_rules else ()
        async with (
            JobEngine(place, lifecycle=ORDER_LIFECYCLE, follow_ups=rules) as engine,
            Worker(engine, handlers, concurrency=8, max_deaths=1_000),
        ):
            yield engine

    async def _deliver(self, text: str, context: Context[S]) -> str:
        if text == "bad":
            raise BadOrderError
        if text == "asks":
            context.request_input({"type": "string"}, question="Really?")
        await anyio.sleep(self._random.uniform(0, 0.004))
        return f"{text}, delivered"

    async def _settle(self, _: Orders, context: Context[S]) -> None:
        order = context.parent
        body = {"payment_id": order.payment_id, "result_hash": order.result, "key": context.key}
        if (await self.ask("/settle", **body))["state"] != "confirmed":
            raise RefusedError("not confirmed yet")

    async def _give_back(self, _: Orders, context: Context[S]) -> str:
        payment_id = context.parent.payment_id
        return str(await self.ask("/refund", payment_id=payment_id, key=context.key))

    async def sell(self, engine: Engine) -> str:
        """Take an order, and let its buyer do something; return its id."""
        payment = await self.ask("/payments", order={"seller": self._name})
        text = self._random.choice(["good", "good", "bad", "asks"])
        job = await engine.create(
            kind="order",
            input=text,
            payment_id=payment["blockchainIdentifier"],
            deadlines=self._limits(),
        )
        async with anyio.create_task_group() as tasks:
            if self._random.random() < 0.9:
                tasks.start_soon(self._pay, engine, job)
            if self._random.random() < 0.3:
                tasks.start_soon(self._later, lambda: engine.cancel(job.job_id))
            if text == "asks":
                tasks.start_soon(self._later, lambda: answer(engine, job.job_id))
        return job.job_id

    def _limits(self) -> dict[S, timedelta]:
        """Return the deadlines of an order, of which some come soon."""
        return {
            status: timedelta(milliseconds=self._random.uniform(1, 30))
            for status in (S.AWAITING_PAYMENT, S.RUNNING, S.AWAITING_INPUT)
            if self._random.random() < 0.2
        }

    async def _pay(self, engine: Engine, job: Orders) -> None:
        """Pay, and call back as the payment service does."""
        await anyio.sleep(self._random.uniform(0, 0.01))
        with suppress(RefusedError):  # the payment was closed before
            await self.ask("/pay", payment_id=job.payment_id)
            async with anyio.create_task_group() as callbacks:
                for _ in range(CALLBACKS):
                    callbacks.start_soon(
                        self._later, lambda: engine.start(job.job_id, payment_id=job.payment_id)
                    )

    async def _later(self, call: Callable[[], Awaitable[object]]) -> None:
        await anyio.sleep(self._random.uniform(0, 0.01))
        with suppress(EngineError):  # the order has ended, or the outcome is unknown
            await call()

    async def finish(self, engine: Engine) -> None:
        """Do what buyers, operators and callbacks still owe, until every job has ended."""
        with anyio.move_on_after(SECONDS_AGAINST_HANGS) as limit:
            while sum([await engine.count(status) for status in LIVE]):
                with suppress(EngineError, RefusedError):
                    await self._finish_some(engine)
                await anyio.sleep(0.005)
        if limit.cancelled_caught:
            jobs = [job for each in LIVE for job in (await engine.list_jobs(each)).jobs]
            raise UnfinishedError(f"{len(jobs)} jobs do not end, such as {jobs[0]!r}")

    async def _finish_some(self, engine: Engine) -> None:
        held = set((await self.ask("/held"))["held"])
        for job in (await engine.list_jobs(S.AWAITING_PAYMENT, limit=PAGE)).jobs:
            if job.payment_id in held:
                await engine.start(job.job_id)
            else:
                await engine.cancel(job.job_id, "nobody paid")
        for job in (await engine.list_jobs(S.AWAITING_INPUT, limit=PAGE)).jobs:
            await answer(engine, job.job_id)
        for job in (await engine.list_jobs(S.NEEDS_ATTENTION, limit=PAGE)).jobs:
            await engine.retry(job.job_id)


async def answer(engine: Engine, job_id: str) -> None:
    """Answer the question of an order, if it asks."""
    prompt = (await engine.get(job_id)).prompt
    if prompt is not None:
        await engine.provide_input(job_id, prompt.prompt_id, "yes")


async def orders_of(engine: Engine) -> dict[str, Orders]:
    """Return the orders by their payments."""
    found: dict[str, Orders] = {}
    after: str | None = None
    while True:
        page = await engine.list_jobs(kind="order", limit=PAGE, after=after)
        found |= {str(job.payment_id): job for job in page.jobs}
        if (after := page.next_cursor) is None:
            return found
