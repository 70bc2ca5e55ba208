"""Event streams: the transitions of one job or of all, as server-sent events.

The id of an event is the cursor of its transition. A client that reconnects sends the last one that
it received as ``Last-Event-ID``, as browsers do, and misses none
(https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engine._job_engine import JobEngine
from engine.domain.exceptions import (
    CursorExpiredError,
    EngineError,
    EngineUnavailableError,
    InvalidValueError,
    StorageDamagedError,
    UnknownCursorError,
    shown,
)
from engine.domain.models import Progress, Transition
from engine.domain.validation import check_flag, check_seconds, is_async_function
from engine.owner.watching import Watch
from engine.web.errors import log_error, problem_of
from engine.web.streaming import HEARTBEAT, Pieces, Stream

Event: TypeAlias = Transition[Any] | Progress
Show: TypeAlias = Callable[[Event], Any]
"""Returns the JSON value by which a client sees an event; None leaves the event out."""


def event_stream(
    engine: JobEngine[Any],
    request: Request,
    job_id: str | None = None,
    *,
    progress: bool = False,
    show: Show | None = None,
    heartbeat_seconds: float = 15.0,
) -> Response:
    """Stream the transitions of one job or of all, as server-sent events.

    A stream of one job begins with its creation and ends with it: a client that comes back after
    that gets a 204, and so stops. A stream of all jobs begins with the first transition from now
    on. With ``Last-Event-ID`` both begin behind that event. If the history doesn't have it any
    more, the one event is ``reset``, with the problem: the client has to read the jobs again, and
    comes back without an id.

    The stream also ends when the client goes, when the server or the engine stops, or when the
    engine can't read on: then the client comes back and gets the rest. ``engine.web`` logs why the
    engine can't. If the stored data is damaged, which lasts, the last event is ``problem``. A slow
    client delays nobody, and takes no more memory. One that has read nothing for 60 s is cut off.

    Args:
        engine: The engine.
        request: The request, with its ``Last-Event-ID``.
        job_id: The job's id; None for all jobs, of all customers.
        progress: Also send the progress that handlers report, as events ``progress`` without an
            id: each job's newest, and none of before.
        show: Shows the events to this client, or leaves them out: a function that is not async. By
            default it shows their fields, but not who made a transition and why, which may be the
            service's own business.
        heartbeat_seconds: How often to send a comment while there are no events, so that no proxy
            closes the connection: more than 0.

    Raises:
        EngineError: The response raises it before it begins, for `install_errors` to tell:
            `JobNotFoundError`, `InvalidValueError` for another ``Last-Event-ID`` than an event's,
            or the engine can't be called.
        InvalidValueError: ``engine`` is no `JobEngine`, or another argument has the wrong type or
            size.
    """
    if not isinstance(engine, JobEngine):
        raise InvalidValueError("engine", f"must be a JobEngine, not {shown(engine)}")
    return _EventStream(
        engine,
        request,
        job_id,
        _fields_for_customers if show is None else _checked_show(show),
        check_seconds("heartbeat_seconds", heartbeat_seconds, above_zero=True),
        check_flag("progress", progress),
    )


def _checked_show(show: Any) -> Show:  # noqa: ANN401 - it may be anything
    if not callable(show) or is_async_function(show):
        raise InvalidValueError("show", f"must be a function that is not async, not {shown(show)}")
    checked: Show = show
    return checked


def _fields_for_customers(event: Event) -> dict[str, Any]:
    return event.model_dump(mode="json", exclude={"by", "reason", "epoch"})


class _EventStream(Stream):
    """Sends the events; see `event_stream`."""

    _events: Watch[Event]

    def __init__(
        self,
        engine: JobEngine[Any],
        request: Request,
        job_id: str | None,
        show: Show,
        heartbeat_seconds: float,
        progress: bool,  # noqa: FBT001 - as its caller has got it
    ) -> None:
        super().__init__(self._begin)
        self._engine = engine
        self._request = request
        self._job_id = job_id
        self._last_id = request.headers.get("last-event-id") or None
        self._show = show
        self._heartbeat_seconds = heartbeat_seconds
        self._progress = progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        if await self._has_seen_all():
            await Response(status_code=204)(scope, receive, send)
            return
        if self._last_id is None and self._job_id is None:
            self._last_id = str(await self._engine.core.newest_cursor())
        after = 0 if self._last_id == "0" else self._last_id
        self._events = self._engine.watch(self._job_id, after=after, progress=self._progress)
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)

    async def _has_seen_all(self) -> bool:
        """Return whether the job has ended with the last event that the client has."""
        if self._job_id is None:
            self._engine.core.inbox.check_open()
            return False
        job = await self._engine.get(self._job_id)
        last = str(self._engine.core.cursor_at(job.sequence))
        return job.outcome is not None and last == self._last_id

    async def _begin(self) -> Pieces:
        """Yield events, and heartbeats between them."""
        piece: str | None = f"id: {self._last_id}\n\n" if self._last_id else HEARTBEAT
        while piece is not None:
            yield piece
            piece = HEARTBEAT
            with anyio.move_on_after(self._heartbeat_seconds):
                piece = await self._next_piece(self._events)

    async def _next_piece(self, events: Watch[Event]) -> str | None:
        """Wait for the next event that is shown, and return its text; None after the last."""
        while True:
            try:
                event = await anext(events, None)
            except EngineError as error:
                await events.aclose()
                return self._piece_of_error(error)
            if event is None:
                return None
            if (value := self._show(event)) is not None:
                return f"{_head(event)}\ndata: {json.dumps(value)}\n\n"

    def _piece_of_error(self, error: EngineError) -> str | None:
        """Return the event of an error that lasts; None if the client may come back for the rest.

        It is the last one: the watch is closed.
        """
        problem = problem_of(error)
        if not isinstance(error, EngineUnavailableError):  # its end is no news
            log_error(self._request, error, problem.status_code)
        if isinstance(error, (UnknownCursorError, CursorExpiredError)):
            head = "id\nevent: reset"  # an empty id makes the client forget its own
        elif isinstance(error, StorageDamagedError):
            head = "event: problem"
        else:
            return None
        return f"{head}\ndata: {bytes(problem.body).decode()}\n\n"


def _head(event: Event) -> str:
    """Return the fields before the data. Progress has no id: nobody comes back for old one."""
    return "event: progress" if isinstance(event, Progress) else f"id: {event.cursor}"
