"""A shop that sells reports and translations over HTTP: orders, payments, questions, live events.

::

    pip install '.[shop]'
    PAYMENT_SECRET=secret uvicorn --app-dir examples shop:app

One process, one file. An order is answered at once. A payment service calls back and starts the
job. The customer waits for it, watches it, answers its question or cancels it. Money that comes too
late, or for nothing, is given back. Kill the shop at any moment and start it again: it goes on.
Authentication is missing: the shop believes the header ``Customer``.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, Any, Literal

import anyio
from fastapi import Body, Depends, FastAPI, Header, HTTPException, Request, Response
from pydantic import BaseModel, Field, JsonValue, NonNegativeInt

import engine
from engine import Context, FollowUp, Handler, Job, JobEngine, Retry, Worker
from engine import OrderStatus as S
from engine.web import event_stream, health_response, install_errors, wait_as_preferred
from engine.webhooks import Endpoint, Webhooks

if not (SECRET := os.environ.get("PAYMENT_SECRET", "").encode()):
    raise SystemExit("set PAYMENT_SECRET: the payment service signs its calls with it")
PAY_WITHIN = timedelta(seconds=float(os.environ.get("SHOP_PAY_WITHIN", "3600")))
LIMITS = {S.AWAITING_PAYMENT: PAY_WITHIN, S.NEEDS_ATTENTION: timedelta(days=3)}
PAUSE_SECONDS = float(os.environ.get("SHOP_PAUSE", "0.1"))  # of work for each word
LONG_WORDS = 100  # a longer text takes longer, so its customer is asked first


# --- the work -------------------------------------------------------------------------------------
class Order(BaseModel):
    """What a customer orders."""

    kind: Literal["report", "translation"] = "report"
    text: str = Field(min_length=1, max_length=100_000)


class Report(BaseModel):
    """A report about a text."""

    words: int
    longest: str


class Payment(BaseModel):
    """The payment service's callback."""

    job_id: str
    payment_id: str = Field(min_length=1, max_length=200)


async def write_report(order: Order, context: Context[S]) -> Report:
    """Find the longest word of a text, slowly; ask first how much of a long text to read."""
    words = order.text.split()
    if len(words) > LONG_WORDS:
        question = f"The text has {len(words)} words. How many shall I read?"
        words = words[: context.request_input(NonNegativeInt, timedelta(days=1), question=question)]
    for done, _ in enumerate(words, start=1):
        context.progress(done, len(words))
        await anyio.sleep(PAUSE_SECONDS)
    return Report(words=len(words), longest=max(words, key=len, default=""))


async def translate(order: Order) -> str:
    """Translate a text, into the one language that this example knows."""
    return " ".join(f"{word[1:]}{word[0]}ay" for word in order.text.split())


async def give_back(job: Job[S], context: Context[S]) -> str:
    """Tell the payment service to give money back, with `Context.key`: it may be told twice."""
    order = job if job.parent_id is None else context.parent
    return f"{order.payment_id} was given back"  # here it only says so


# --- the server -----------------------------------------------------------------------------------
orders, lost = {"report", "translation"}, {S.FAILED, S.CANCELLED, S.EXPIRED}
hooks = Webhooks[S]([])
if told := os.environ.get("SHOP_WEBHOOK"):  # the URL and the secret of who hears of ended orders
    url, secret = told.split()
    ended = {S.COMPLETED, *lost}
    hooks = Webhooks([Endpoint("ends", url, secret, of=orders, to=ended, allow_private=True)])
rules = [FollowUp("refund", of=orders, to=lost, started=True), *hooks.rules]
place = os.environ.get("SHOP_JOBS", "shop.db")
jobs = JobEngine(place, lifecycle=engine.ORDER_LIFECYCLE, follow_ups=rules)
handlers: dict[str, Handler[Any, Any]] = {
    "report": Handler(write_report, concurrency=4),
    "translation": Handler(translate),
    "refund": Handler(give_back, retry=Retry(50, 60)),
    **hooks.handlers,
}


@asynccontextmanager
async def open_shop(_app: FastAPI) -> AsyncIterator[None]:
    """Open the engine and its worker, from the server's startup to its shutdown."""
    async with jobs, Worker(jobs, handlers, grace_seconds=5):
        yield


app = FastAPI(title="A shop", lifespan=open_shop)
install_errors(app)

Customer = Annotated[str, Header(min_length=1, max_length=100)]
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=100)]
Answer = Annotated[JsonValue, Body()]
Json = dict[str, Any]


async def own_order(job_id: str, customer: Customer) -> str:
    """Return the id of an order that is the customer's own; for all others there is none."""
    job = await jobs.get(job_id)
    if job.parent_id or job.labels.get("customer") != customer:  # a refund is the shop's
        raise engine.JobNotFoundError(job_id)
    return job_id


OwnOrder = Annotated[str, Depends(own_order)]


async def check_signature(request: Request, x_signature: Annotated[str, Header()] = "") -> None:
    """Refuse a call without the HMAC-SHA256 of its body, with the shared secret."""
    signature = hmac.new(SECRET, await request.body(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signature.encode(), x_signature.encode()):
        raise HTTPException(401, "the signature is wrong")


def shown(job: Job[S]) -> Json:
    """Return the fields of a job that its customer sees."""
    seen = {"job_id", "kind", "status", "value", "error", "prompt", "progress", "deadline_at"}
    return job.model_dump(mode="json", include=seen)


# --- the calls ------------------------------------------------------------------------------------
@app.post("/orders", status_code=202)
async def take_order(order: Order, customer: Customer, response: Response, key: Key = None) -> Json:
    """Take an order. The same ``Idempotency-Key`` of the same customer gives the same job."""
    own_key, labels = key and f"order\n{customer}\n{key}", {"customer": customer}
    about: Json = {"kind": order.kind, "input": order, "deadlines": LIMITS}
    job = await jobs.create(**about, idempotency_key=own_key, labels=labels, by=customer)
    response.headers["Location"] = f"/orders/{job.job_id}"
    return shown(job)


@app.post("/payments", dependencies=[Depends(check_signature)])
async def take_payment(payment: Payment) -> Json:
    """Start a paid job. The payment service calls this, perhaps twice, perhaps too late."""
    try:
        started = await jobs.start(payment.job_id, payment_id=payment.payment_id)
    except (engine.JobEndedError, engine.PaymentConflictError, engine.PaymentInUseError):
        # Give it back. The refund has this payment from now on, so it starts no other order.
        name, key = payment.payment_id, f"refund\n{payment.payment_id}"
        refund = await jobs.create(
            kind="refund", input=payment, payment_id=name, idempotency_key=key, start=True
        )
        return {"refund": refund.job_id}
    return {"started": started.job.job_id, "first": started.first}


@app.get("/orders")
async def list_orders(customer: Customer, after: str | None = None) -> Json:
    """Return a page of the customer's orders, the newest first."""
    whose = {"customer": customer}
    page = await jobs.list_jobs(labels=whose, newest_first=True, after=after, follow_ups=False)
    return {"orders": [shown(job) for job in page.jobs], "next": page.next_cursor}


@app.get("/orders/{job_id}")
async def get_order(job_id: OwnOrder, request: Request) -> Json:
    """Return an order; with ``Prefer: wait=10`` once it has ended or asks, or after 10 s."""
    job = await wait_as_preferred(jobs, request, job_id, until=[S.AWAITING_INPUT])
    return shown(job)


@app.post("/orders/{job_id}/answers/{prompt_id}")
async def give_answer(job_id: OwnOrder, prompt_id: str, value: Answer) -> Json:
    """Answer an order's question; the order shows its ``prompt_id`` and its schema."""
    return shown(await jobs.provide_input(job_id, prompt_id, value))


@app.delete("/orders/{job_id}", status_code=202)
async def cancel(job_id: OwnOrder, customer: Customer) -> Json:
    """Cancel an order. This asks a running handler to stop; `get_order` shows the outcome."""
    return shown(await jobs.cancel(job_id, "by its customer", by=customer))


@app.get("/orders/{job_id}/events")
async def watch(job_id: OwnOrder, request: Request) -> Response:
    """Stream the order's events, as server-sent events."""
    return event_stream(jobs, request, job_id, progress=True)


@app.get("/health")
async def health() -> Response:
    """Answer 200 while the engine can be called, else 503."""
    return health_response(jobs)
