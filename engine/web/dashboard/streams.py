"""The streams of a dashboard: server-sent events, for as long as their caller has access.

That of the pages says what is out of date. The JSON API has another one, of transitions.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Final

import anyio
from starlette.requests import Request
from starlette.responses import Response

from engine.domain.exceptions import EngineError
from engine.web.dashboard.board import board_of
from engine.web.dashboard.guard import still_has_access
from engine.web.streaming import HEARTBEAT, Pieces, Stream

_RETRY: Final = "retry: 2000\n\n"  # milliseconds until a browser comes back
_ACCESS_SECONDS: Final = 10.0
"""How long a stream goes on before ``authorize`` is asked again: less than from one heartbeat to
the next."""


async def events(request: Request) -> Response:
    """Tell an open page what changes, from the place on that it has seen."""
    feed = board_of(request).feed
    seen = request.headers.get("last-event-id") or request.query_params.get("after") or ""

    async def pieces() -> Pieces:
        cursor = seen
        yield _RETRY
        with suppress(EngineError):  # the page comes back, and meets it
            while True:
                news = await feed.after(cursor)
                for each in news:
                    cursor = each.cursor
                    yield f"id: {each.cursor}\ndata: {each.data()}\n\n"
                if not news:
                    yield HEARTBEAT

    return guarded_stream(request, pieces)


def guarded_stream(request: Request, pieces: Callable[[], Pieces]) -> Stream:
    """Return a stream that ends when its caller has lost the access to the dashboard.

    Args:
        request: The caller's.
        pieces: Begins the events, and heartbeats between them.
    """

    async def guarded() -> Pieces:
        known_at = anyio.current_time()
        async with aclosing(pieces()) as told:
            async for piece in told:
                if anyio.current_time() - known_at >= _ACCESS_SECONDS:
                    if not await still_has_access(request):
                        return
                    known_at = anyio.current_time()
                yield piece

    return Stream(guarded)
