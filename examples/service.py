"""A service that sells reports over HTTP: orders, payments, questions, live events.

::

    pip install '.[service]'
    PAYMENT_SECRET=secret python examples/service.py

One process, one file. An order is answered at once. A payment service calls back and starts the
job. The customer waits for the job, watches it, answers its question or cancels it. Kill the
service at any moment and start it again: it resumes. Read it from top to bottom: the work, the
calls, the events, the server.

Authentication is missing: the service believes the header ``Customer``, everyone who knows a job's
id may use the job, and ``GET /events`` streams everybody's jobs. Add it before you go public.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
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
    CursorExpiredError,
    EngineError,
    EngineUnavailableError,
    IdempotencyConflictError,
    InvalidValueError,
    Job,
    JobEndedError,
    JobEngine,
    JobNotFoundError,
    OutcomeUnknownError,
    OverloadedError,
    Progress,
    StorageError,
    Transition,
    UnknownCursorError,
    Worker,
)

MAX_BODY_BYTES = 262_144
MAX_WAIT_SECONDS = 30.0
HEARTBEAT_SECONDS = 15.0
GRACE_SECONDS = 5
ANSWER_WITHIN = timedelta(days=1)
LONG_WORDS = 100  # a longer text takes longer, so the handler asks its customer first

Event: TypeAlias = Transition[AgentJobStatus] | Progress
Kind = TypeVar("Kind")


# --- the work -------------------------------------------------------------------------------------


class Report(BaseModel):
    """The product: a report about a text."""

    words: int
    longest: str


class Approval(BaseModel):
    """The customer's answer to the question about a long text."""

    go_on: bool


class NotWantedError(Exception):
    """The customer does not want the report any more."""

    retryable = False  # a retry would ask again in vain


async def write_report(
    job: Job[AgentJobStatus], context: Context[AgentJobStatus], *, pause_seconds: float
) -> Report:
    """Handle a job: find the longest word of its text, slowly."""
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
    """Take an order: 202 and the job's location.

    The same ``Idempotency-Key`` of the same ``Customer`` gives the same job.
    """
    order = parsed(Order, await body_of(request))
    pay_within = timedelta(seconds=request.app.state.pay_within_seconds)
    job = await engine_of(request).create(
        hashlib.sha256(order.text.encode()).hexdigest(),
        idempotency_key=key_of(request),
        input={"text": order.text},
        deadlines={AgentJobStatus.AWAITING_PAYMENT: pay_within},
    )
    return shown(job, 202, {"Location": f"/jobs/{job.job_id}"})


async def take_payment(request: Request) -> Response:
    """Start a paid job. The payment service calls this, perhaps twice.

    It signs the call by ``X-Signature``: the HMAC-SHA256 of the body with the shared secret.
    """
    body = await body_of(request)
    signature = hmac.new(request.app.state.secret, body, hashlib.sha256).hexdigest()
    given = request.headers.get("x-signature", "")
    if not hmac.compare_digest(signature.encode(), given.encode()):
        raise HTTPException(401, "the signature is wrong")
    engine, job_id = engine_of(request), parsed(Payment, body).job_id
    try:
        started = await engine.start(job_id, by="the payment service")
    except JobEndedError:
        raise HTTPException(409, "too late: the job has ended, give the money back") from None
    return shown(started.job)


async def get_job(request: Request) -> Response:
    """Return a job; ``?wait=SECONDS`` first waits, at most 30 s, until it has ended or asks."""
    engine, job_id = engine_of(request), request.path_params["job_id"]
    seconds = min(parsed(float, request.query_params.get("wait", "0")), MAX_WAIT_SECONDS)
    with until_closing(), suppress(CallTimeoutError):
        await engine.wait(job_id, until=[AgentJobStatus.AWAITING_INPUT], timeout=seconds)
    return shown(await engine.get(job_id))


async def provide_input(request: Request) -> Response:
    """Answer a job's prompt; the job shows its ``prompt_id`` and its schema."""
    answer, job_id = parsed(Answer, await body_of(request)), request.path_params["job_id"]
    return shown(await engine_of(request).provide_input(job_id, answer.prompt_id, answer.value))


async def cancel_job(request: Request) -> Response:
    """Cancel a job. This asks a running handler to stop; `get_job` shows the outcome."""
    job = await engine_of(request).cancel(request.path_params["job_id"], "by its customer")
    return shown(job, 202)


def key_of(request: Request) -> str | None:
    """Return the idempotency key, prefixed with the customer: the engine's keys are global."""
    key, customer = (request.headers.get(name) for name in ("idempotency-key", "customer"))
    if key is None:
        return None
    if not customer:
        raise HTTPException(422, "an Idempotency-Key needs a Customer")
    return f"{customer}\n{key}"  # a header has no line breaks: no two customers share a key


def engine_of(request: Request) -> JobEngine[AgentJobStatus]:
    """Return the engine that the server has started."""
    engine: JobEngine[AgentJobStatus] = request.app.state.engine
    return engine


async def body_of(request: Request) -> bytes:
    """Return the body, up to the limit of its size."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body has more than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def parsed(kind: type[Kind], text: bytes | str) -> Kind:
    """Parse a JSON text."""
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        raise HTTPException(422, str(error)) from None


def shown(
    job: Job[AgentJobStatus], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Answer with a job, without the data that its customer sent."""
    hidden = {"input", "input_hash", "idempotency_key"}
    return JSONResponse(job.model_dump(mode="json", exclude=hidden), status, headers)


async def tell_error(_request: Request, error: Exception) -> Response:
    """Answer with an error of the engine."""
    match error:
        case JobNotFoundError():
            status = 404
        case InvalidValueError():
            status = 422
        # Not applied, or the outcome is unknown: the client repeats the call with the same key.
        case OverloadedError() | StorageError() | EngineUnavailableError() | OutcomeUnknownError():
            return PlainTextResponse(str(error), 503, {"Retry-After": "1"})
        case IdempotencyConflictError():  # its text names the job that has the key
            return PlainTextResponse("another order has this Idempotency-Key", 409)
        case _:
            status = 409  # the job has ended, or the prompt is stale
    return PlainTextResponse(str(error), status)


# --- the events -----------------------------------------------------------------------------------


async def watch_jobs(request: Request) -> Response:
    """Stream the events of one job, or of all, as server-sent events.

    The id of a transition is its cursor. A client that reconnects sends the last one that it
    received as ``Last-Event-ID``, as browsers do, and gets all transitions after it.
    """
    engine, job_id = engine_of(request), request.path_params.get("job_id")
    last_id = request.headers.get("last-event-id")
    if job_id is not None:
        last = (await engine.history(job_id))[-1]
        if AGENT_JOB_LIFECYCLE.is_final(last.to_status) and last.cursor == last_id:
            return Response(status_code=204)  # tells the client not to reconnect
    return EventStream(engine.watch(job_id, after=last_id, progress=True))


class EventStream(Response):
    """Sends events until there are no more, the client has gone, or the server closes."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[Event]) -> None:
        super().__init__(headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's form
        """Send the events and heartbeats, and end when the client disconnects."""
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
        """Send the events. A slow client delays no one else."""
        try:
            async for event in self._events:
                # Progress has no id: a client that reconnects does not need the old one.
                head = "event: progress" if isinstance(event, Progress) else f"id: {event.cursor}"
                await send(_piece(f"{head}\ndata: {event.model_dump_json()}\n\n"))
        except EngineUnavailableError:
            pass  # the client reconnects and gets the rest
        except (UnknownCursorError, CursorExpiredError) as error:
            # An empty id makes the client forget its own: it reads the jobs again, and reconnects.
            reason = json.dumps({"reason": str(error)})
            await send(_piece(f"id\nevent: reset\ndata: {reason}\n\n"))
        answering.cancel()

    async def _beat(self, send: Send) -> None:
        """Send a comment periodically, so that no proxy closes the idle connection."""
        while True:
            await send(_piece(": still here\n\n"))
            await anyio.sleep(HEARTBEAT_SECONDS)


def _piece(text: str) -> dict[str, object]:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}


# --- the server -----------------------------------------------------------------------------------

_long_calls: set[anyio.CancelScope] = set()


@contextmanager
def until_closing() -> Iterator[None]:
    """Cancel the enclosed long call when the server shuts down."""
    with anyio.CancelScope() as scope:
        _long_calls.add(scope)
        try:
            yield
        finally:
            _long_calls.remove(scope)


class Server(uvicorn.Server):
    """Cancels long calls at shutdown, before it waits for the calls in progress."""

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Shut down on SIGINT or SIGTERM."""
        for scope in _long_calls:
            scope.cancel()
        await super().shutdown(sockets)


def application(options: argparse.Namespace, secret: bytes) -> Starlette:
    """Return the application. Its engine and worker run from its startup to its shutdown."""
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
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(
        description="Sell reports over HTTP. The payment service signs its calls with the secret "
        "in the environment variable PAYMENT_SECRET.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--jobs", default="service.db", help="the file of the jobs")
    parser.add_argument("--port", default=8000, type=int, help="the port; 0: any free one")
    parser.add_argument("--pay-within", default=3600.0, type=float, help="seconds from the order")
    parser.add_argument("--pause", default=0.1, type=float, help="seconds of work for each word")
    parser.add_argument("--max-waiting", default=10_000, type=int, help="waiting calls before 503s")
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
