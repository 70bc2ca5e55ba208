"""The stream of a dashboard's pages: server-sent events that say what is out of date."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from engine.domain.exceptions import EngineError
from engine.web.dashboard.board import board_of
from engine.web.streaming import HEARTBEAT, Pieces, Stream

_RETRY: Final = "retry: 2000\n\n"  # milliseconds until a browser comes back


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

    return Stream(pieces)
