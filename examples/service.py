"""A service that sells reports over HTTP: orders, payments, questions, live events.

::

    pip install 'engine[service]'
    PAYMENT_SECRET=secret python examples/service.py

One process, one file. An order is answered at once; a payment service calls back and lets the job
run; its customer waits for it, watches it, answers its question or cancels it. Kill it at any
moment and start it again: it goes on where it was. It reads top to bottom: the work, the calls, the
events, the server.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from functools import partial
from socket import socket
from typing import TypeAlias, TypeVar

import anyio
import uvicorn
from pydantic import BaseModel, Field, JsonValue, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    CallTimeoutError,
    Context,
    EngineError,
    EngineUnavailableError,
    InvalidValueError,
    Job,
    JobEngine,
    JobNotFoundError,
    OutcomeUnknownError,
    OverloadedError,
    Progress,
    StorageError,
    Transition,
    VersionConflictError,
    Worker,
)

MAX_BODY_BYTES = 262_144
MAX_WAIT_SECONDS = 30.0
HEARTBEAT_SECONDS = 15.0
GRACE_SECONDS = 5
ANSWER_WITHIN = timedelta(days=1)
LONG_WORDS = 100  # a longer text takes longer, so its customer is asked first

Event: TypeAlias = Transition[AgentJobStatus] | Progress
Kind = TypeVar("Kind")


# --- the work -------------------------------------------------------------------------------------


class Report(BaseModel):
    """What is sold."""

    words: int
    longest: str


class Approval(BaseModel):
    """What a customer answers who is asked about a long text."""

    go_on: bool


class NotWantedError(Exception):
    """The customer doesn't want it any more."""

    retryable = False  # the engine tries again what fails, but for errors that say this


async def write_report(
    job: Job[AgentJobStatus], context: Context[AgentJobStatus], *, pause_seconds: float
) -> Report:
    """Find a text's longest word, slowly: the handler."""
    words: list[str] = job.input["text"].split()
    if len(words) > LONG_WORDS:
        question = f"The text has {len(words)} words. Go on?"
        if not context.request_input(Approval, ANSWER_WITHIN, question=question).go_on:
            raise NotWantedError("the customer said no")
    longest = ""
    for done, word in enumerate(words, start=1):
        longest = max(longest, word, key=len)
        context.progress(done, len(words))
        await anyio.sleep(pause_seconds)
    return Report(words=len(words), longest=longest)


# --- the calls ------------------------------------------------------------------------------------


class Order(BaseModel):
    """The body of ``POST /jobs``."""

    text: str = Field(max_length=100_000)


class Payment(BaseModel):
    """The body of ``POST /payments``."""

    job_id: str


class Answer(BaseModel):
    """The body of ``POST /jobs/{job_id}/input``."""

    prompt_id: str
    value: JsonValue


async def create_job(request: Request) -> Response:
    """Take an order: 202, and where its job is. The same Idempotency-Key gives the same job."""
    order = parsed(Order, await body_of(request))
    pay_within = timedelta(seconds=request.app.state.pay_within_seconds)
    job = await engine_of(request).create(
        hashlib.sha256(order.text.encode()).hexdigest(),
        idempotency_key=request.headers.get("idempotency-key"),
        input={"text": order.text},
        deadlines={AgentJobStatus.AWAITING_PAYMENT: pay_within},
    )
    return shown(job, 202, {"Location": f"/jobs/{job.job_id}"})


async def take_payment(request: Request) -> Response:
    """Let a job run that has been paid for: what a payment service calls, perhaps twice.

    It proves itself by ``X-Signature``, the HMAC-SHA256 of the body under the secret of both.
    """
    body = await body_of(request)
    signature = hmac.new(request.app.state.secret, body, hashlib.sha256).hexdigest()
    given = request.headers.get("x-signature", "")
    if not hmac.compare_digest(signature.encode(), given.encode()):
        raise HTTPException(401, "the signature is wrong")
    engine, job_id = engine_of(request), parsed(Payment, body).job_id
    try:
        # Version 1 is the job as it was ordered. Later it may be asking its customer something,
        # and a payment that comes twice must not pass for the answer.
        job = await engine.transition(job_id, AgentJobStatus.RUNNING, expected_version=1)
    except VersionConflictError:
        _, first_move, *_ = await engine.history(job_id)
        if first_move.to_status is not AgentJobStatus.RUNNING:
            raise HTTPException(409, "too late: the job has ended, give the money back") from None
        job = await engine.get(job_id)
    return shown(job)


async def get_job(request: Request) -> Response:
    """Return a job; with ``?wait=SECONDS`` when it has ended or asks, or as it is after that."""
    engine, job_id = engine_of(request), request.path_params["job_id"]
    seconds = min(parsed(float, request.query_params.get("wait", "0")), MAX_WAIT_SECONDS)
    with until_closing(), suppress(CallTimeoutError):
        await engine.wait(job_id, until=[AgentJobStatus.AWAITING_INPUT], timeout=seconds)
    return shown(await engine.get(job_id))


async def provide_input(request: Request) -> Response:
    """Answer what a job asks: it says under which ``prompt_id``, and by which schema."""
    answer, job_id = parsed(Answer, await body_of(request)), request.path_params["job_id"]
    return shown(await engine_of(request).provide_input(job_id, answer.prompt_id, answer.value))


async def cancel_job(request: Request) -> Response:
    """Cancel a job. One at work is told to stop; `get_job` tells what becomes of it."""
    job = await engine_of(request).cancel(request.path_params["job_id"], "by its customer")
    return shown(job, 202)


def engine_of(request: Request) -> JobEngine[AgentJobStatus]:
    """Return the engine, which the server has started."""
    engine: JobEngine[AgentJobStatus] = request.app.state.engine
    return engine


async def body_of(request: Request) -> bytes:
    """Return the body, if it is no larger than it may be."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body has more than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def parsed(kind: type[Kind], text: bytes | str) -> Kind:
    """Return what a text says in JSON."""
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        raise HTTPException(422, str(error)) from None


def shown(
    job: Job[AgentJobStatus], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Answer with a job, but for what its customer has sent."""
    hidden = {"input", "input_hash", "idempotency_key"}
    return JSONResponse(job.model_dump(mode="json", exclude=hidden), status, headers)


async def tell_error(_request: Request, error: Exception) -> Response:
    """Answer with an error of the engine."""
    match error:
        case JobNotFoundError():
            status = 404
        case InvalidValueError():
            status = 422
        # Not applied, or it is not known: to be sent again, with the same key.
        case OverloadedError() | StorageError() | EngineUnavailableError() | OutcomeUnknownError():
            return PlainTextResponse(str(error), 503, {"Retry-After": "1"})
        case _:
            status = 409  # it has ended, it was answered, the key is another order's
    return PlainTextResponse(str(error), status)


# --- the events -----------------------------------------------------------------------------------


async def watch_jobs(request: Request) -> Response:
    """Stream what happens to one job, or to all, as server-sent events.

    A transition's id is its number. A client that comes back says by ``Last-Event-ID`` which one it
    had last, as browsers do by themselves, and gets all that came after it.
    """
    engine, job_id = engine_of(request), request.path_params.get("job_id")
    last_id = request.headers.get("last-event-id")
    after = None if last_id is None else parsed(int, last_id)
    if job_id is not None:
        last = (await engine.history(job_id))[-1]
        if AGENT_JOB_LIFECYCLE.is_final(last.to_status) and last.sequence <= (after or 0):
            return Response(status_code=204)  # which tells the client not to come back
    return EventStream(engine.watch(job_id, after=after, progress=True))


class EventStream(Response):
    """Sends events until there are no more, the client has gone, or the server closes."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[Event]) -> None:
        super().__init__(headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's form
        """Answer."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        with until_closing():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._beat, send)
                tasks.start_soon(self._send_events, send, tasks.cancel_scope)
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()
        await send({"type": "http.response.body"})

    async def _send_events(self, send: Send, answering: anyio.CancelScope) -> None:
        """Send what happens. A client that reads slowly makes nobody else wait."""
        with suppress(EngineUnavailableError):  # the client comes back, and asks for the rest
            async for event in self._events:
                # Progress has no id: a client that comes back need not know of it.
                head = "event: progress" if isinstance(event, Progress) else f"id: {event.sequence}"
                await send(_piece(f"{head}\ndata: {event.model_dump_json()}\n\n"))
        answering.cancel()

    async def _beat(self, send: Send) -> None:
        """Send a comment now and then, so that nobody on the way takes the line for dead."""
        while True:
            await send(_piece(": still here\n\n"))
            await anyio.sleep(HEARTBEAT_SECONDS)


def _piece(text: str) -> dict[str, object]:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}


# --- the server -----------------------------------------------------------------------------------

_long_calls: set[anyio.CancelScope] = set()


@contextmanager
def until_closing() -> Iterator[None]:
    """Leave off what could take long when the server is told to stop."""
    with anyio.CancelScope() as scope:
        _long_calls.add(scope)
        try:
            yield
        finally:
            _long_calls.remove(scope)


class Server(uvicorn.Server):
    """Ends what could take long before it waits for the calls that are under way."""

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Close, when the process is told to stop."""
        for scope in _long_calls:
            scope.cancel()
        await super().shutdown(sockets)


def application(options: argparse.Namespace, secret: bytes) -> Starlette:
    """Return the application. It has an engine and a worker from its start to its end."""
    handler = partial(write_report, pause_seconds=options.pause)
    new_engine = partial(JobEngine, lifecycle=AGENT_JOB_LIFECYCLE, max_waiting=options.max_waiting)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with (
            new_engine(options.jobs) as app.state.engine,
            Worker(app.state.engine, handler, grace_seconds=GRACE_SECONDS),
        ):
            yield

    routes = [
        Route("/jobs", create_job, methods=["POST"]),
        Route("/payments", take_payment, methods=["POST"]),
        Route("/jobs/{job_id}", get_job, methods=["GET"]),
        Route("/jobs/{job_id}", cancel_job, methods=["DELETE"]),
        Route("/jobs/{job_id}/input", provide_input, methods=["POST"]),
        Route("/jobs/{job_id}/events", watch_jobs, methods=["GET"]),
        Route("/events", watch_jobs, methods=["GET"]),
    ]
    app = Starlette(routes=routes, exception_handlers={EngineError: tell_error}, lifespan=lifespan)
    app.state.secret, app.state.pay_within_seconds = secret, options.pay_within
    return app


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(
        description="Sell reports over HTTP. The environment variable PAYMENT_SECRET is what the "
        "payment service signs its calls with.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--jobs", default="service.db", help="the file where the jobs are kept")
    parser.add_argument("--port", default=8000, type=int, help="where to listen; 0: anywhere")
    parser.add_argument("--pay-within", default=3600.0, type=float, help="seconds, from the order")
    parser.add_argument("--pause", default=0.1, type=float, help="seconds of work for each word")
    parser.add_argument("--max-waiting", default=10_000, type=int, help="calls before a 503")
    options = parser.parse_args()
    secret = os.environ.get("PAYMENT_SECRET", "").encode()
    if not secret:
        parser.error("set PAYMENT_SECRET")
    config = uvicorn.Config(
        application(options, secret), port=options.port, timeout_graceful_shutdown=GRACE_SECONDS
    )
    with suppress(KeyboardInterrupt):
        Server(config).run()


if __name__ == "__main__":
    main()
