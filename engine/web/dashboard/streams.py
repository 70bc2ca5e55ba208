"""The stream of a dashboard's pages: server-sent events that say what is out of date."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engine.domain.exceptions import EngineError
from engine.portal.server_stops import until_server_stops
from engine.web.dashboard.board import board_of

_MOST_SEND_SECONDS: Final = 60.0  # then the client has read nothing for too long
_RETRY: Final = "retry: 2000\n\n"  # milliseconds until a browser comes back
HEARTBEAT: Final = ": still here\n\n"


class Stream(Response):
    """Sends pieces as server-sent events, until they end, the client goes or the server stops.

    Args:
        pieces: Returns the pieces of the stream.
    """

    media_type = "text/event-stream"

    def __init__(self, pieces: Callable[[], AsyncGenerator[str, None]]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            with until_server_stops():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._send_all, send, tasks.cancel_scope)
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    tasks.cancel_scope.cancel()
        with anyio.move_on_after(1):
            await send(_body("", more=False))

    async def _send_all(self, send: Send, answering: anyio.CancelScope) -> None:
        try:
            async with aclosing(self._pieces()) as pieces:
                async for piece in pieces:
                    with anyio.fail_after(_MOST_SEND_SECONDS):
                        await send(_body(piece, more=True))
        except (OSError, EngineError):
            pass  # the client has gone, or comes back and meets the error
        answering.cancel()


def _body(text: str, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": text.encode(), "more_body": more}


async def events(request: Request) -> Response:
    """Tell an open page what changes, from the place on that it has seen."""
    feed = board_of(request).feed
    seen = request.headers.get("last-event-id") or request.query_params.get("after") or ""

    async def pieces() -> AsyncGenerator[str, None]:
        cursor = seen
        yield _RETRY
        while True:
            news = await feed.after(cursor)
            for each in news:
                cursor = each.cursor
                yield f"id: {each.cursor}\ndata: {each.data()}\n\n"
            if not news:
                yield HEARTBEAT

    return Stream(pieces)
