"""Streaming: sends server-sent events until they end, the client goes or the server stops."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Any, Final, TypeAlias

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engine.portal.server_stops import until_server_stops

Pieces: TypeAlias = AsyncGenerator[str, None]
"""The texts of events, each with the empty line that ends it."""

HEARTBEAT: Final = ": still here\n\n"
"""A comment, so that no proxy closes the connection while there are no events."""
_MOST_SEND_SECONDS: Final = 60.0  # then the client has read nothing for too long
_LAST_SEND_SECONDS: Final = 1.0


class Stream(Response):
    """A response of server-sent events, one at a time: the client's pace is that of the stream.

    Args:
        pieces: Begins the events. They are closed when the client goes or the server stops.
    """

    media_type = "text/event-stream"

    def __init__(self, pieces: Callable[[], Pieces]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            await self._send_until_the_end(receive, send)
        with anyio.move_on_after(_LAST_SEND_SECONDS):
            await send(_body("", more=False))

    async def _send_until_the_end(self, receive: Receive, send: Send) -> None:
        with until_server_stops():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._send_pieces, send, tasks.cancel_scope)
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

    async def _send_pieces(self, send: Send, answering: anyio.CancelScope) -> None:
        with suppress(OSError):  # the client has gone, or has not read for too long
            async with aclosing(self._pieces()) as pieces:
                async for piece in pieces:
                    with anyio.fail_after(_MOST_SEND_SECONDS):
                        await send(_body(piece, more=True))
        answering.cancel()


def _body(text: str, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": text.encode(), "more_body": more}
