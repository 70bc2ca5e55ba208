"""A server of one request, for tests that need to hold its parts in their hands."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message


def request(path: str = "/", **headers: str) -> Request:
    """Return a GET request; in its headers' names a line stands for a dash."""
    raw = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return Request({"type": "http", "method": "GET", "path": path, "headers": raw})


def problem(response: Response) -> dict[str, Any]:
    assert response.media_type == "application/problem+json"
    body: dict[str, Any] = json.loads(bytes(response.body))
    assert body["status"] == response.status_code
    return body


class Answer:
    """The answer to the request, as it is sent.

    Attributes:
        status: The status, once that has been sent.
        is_whole: Whether the last part of the body has been sent.
        has_returned: Whether the application has.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.is_whole = False
        self.has_returned = anyio.Event()
        self.takes = anyio.Event()
        """Set while the client reads."""
        self.takes.set()
        self.gone = anyio.Event()
        self._send, self._parts = anyio.create_memory_object_stream[str](1_000)

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        await self.takes.wait()
        if not message.get("more_body", False):
            self.is_whole = True
            self._send.close()
        else:
            await self._send.send(message["body"].decode())

    async def run(self, response: Response) -> None:
        await response({"type": "http", "method": "GET"}, self.receive, self.send)
        self.has_returned.set()

    def close(self) -> None:
        self._send.close()
        self._parts.close()

    async def part(self) -> str:
        """Return the next part of the body."""
        return await self._parts.receive()

    async def event(self) -> dict[str, Any]:
        """Return the fields of the next event."""
        while "data" not in (fields := self._fields(await self.part())):
            pass
        return fields

    async def events(self) -> list[dict[str, Any]]:
        """Return all events up to the end."""
        fields = [self._fields(part) async for part in self._parts]
        return [each for each in fields if "data" in each]

    @staticmethod
    def _fields(part: str) -> dict[str, Any]:
        assert part.endswith("\n\n")
        fields: dict[str, Any] = dict(
            line.split(": ", 1) for line in part.split("\n") if ": " in line
        )
        if "data" in fields:
            fields["data"] = json.loads(fields["data"])
        return fields


@asynccontextmanager
async def answered(response: Response) -> AsyncIterator[Answer]:
    """Send a response; cancel it at the end, as a server does in the end."""
    answer = Answer()
    try:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(answer.run, response)
                yield answer
                tasks.cancel_scope.cancel()
    finally:
        answer.close()
