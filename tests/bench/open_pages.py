"""Open pages of a dashboard: each follows the news, and reads itself again as the script does.

``python -m tests.bench.open_pages PORT TOKEN COUNT PATH …`` opens so many pages, by turns of these
paths, and prints a line when all are open. They stay open until it can read a line; then it prints
what they have read meanwhile, and ends. It is as cheap as it can be, so that it leaves the machine
to what is measured.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import unescape
from itertools import cycle, islice
from statistics import median

import anyio
from anyio import BrokenResourceError, IncompleteRead, to_thread
from anyio.abc import ByteStream, TaskGroup
from anyio.streams.buffered import BufferedByteReceiveStream

_HEAD_BYTES = 16_384
_DEBOUNCE_SECONDS = 0.15  # as `dashboard.js` has it, and the next one
_CLOCK_SECONDS = 30.0
_AT_ONCE = 20


@dataclass
class Browser:
    """Has the pages.

    Attributes:
        seconds: What each reading of a page has taken.
    """

    port: int
    token: str
    seconds: list[float] = field(default_factory=list)

    async def connect(self) -> Connection:
        stream = await anyio.connect_tcp("127.0.0.1", self.port)
        return Connection(stream, self.token)

    async def open(self, path: str, following: TaskGroup) -> None:
        """Open a page; from then on it follows."""
        page = Page(self, path, await self.connect(), await self.connect())
        await page.begin()
        for task in (page.follow, page.tick, page.refresh):
            following.start_soon(task)


class Connection:
    """A connection to the server, for one request at a time."""

    def __init__(self, stream: ByteStream, token: str) -> None:
        self._stream = stream
        self._received = BufferedByteReceiveStream(stream)
        self._token = token

    async def ask(self, path: str) -> bytes:
        """Send a request; return the head of the answer.

        Raises:
            RuntimeError: It is refused.
        """
        head = f"GET {path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {self._token}\r\n\r\n"
        await self._stream.send(head.encode())
        told = await self._received.receive_until(b"\r\n\r\n", _HEAD_BYTES)
        if b" 200 " not in told.partition(b"\r\n")[0]:
            raise RuntimeError(told.decode())
        return told

    async def page(self, path: str) -> str:
        told = re.search(rb"content-length: (\d+)", await self.ask(path))
        assert told is not None
        return (await self._received.receive_exactly(int(told[1]))).decode()

    async def line(self) -> bytes:
        """Return the next line of a stream."""
        return await self._received.receive_until(b"\n", _HEAD_BYTES)


class Page:
    """A page that somebody looks at."""

    def __init__(
        self, browser: Browser, path: str, reading: Connection, following: Connection
    ) -> None:
        self._browser = browser
        self._path = path
        self._reading = reading
        self._following = following
        self._is_stale = anyio.Event()

    async def begin(self) -> None:
        """Read it, and ask for the news behind it."""
        told = await self._read()
        await self._following.ask(f"{told['events']}?after={told['after']}")

    async def _read(self) -> dict[str, str]:
        """Read it; return what it tells its script."""
        html = await self._reading.page(self._path)
        told = {name: unescape(value) for name, value in re.findall(r'data-(\w+)="(.*?)"', html)}
        self._jobs = frozenset(json.loads(told.get("jobs") or "null") or ())
        self._every = float(told.get("every") or _CLOCK_SECONDS)
        return told

    async def follow(self) -> None:
        """Find it stale when there is news of its jobs."""
        while True:
            name, _, data = (await self._following.line()).partition(b": ")
            if name == b"data":
                jobs = json.loads(data)["jobs"]
                if not self._jobs or jobs is None or not self._jobs.isdisjoint(jobs):
                    self._is_stale.set()

    async def tick(self) -> None:
        """Find it stale every so often."""
        await anyio.sleep(self._every * random.random())
        while True:
            self._is_stale.set()
            await anyio.sleep(self._every)

    async def refresh(self) -> None:
        """Read it again when it is stale."""
        while True:
            await self._is_stale.wait()
            await anyio.sleep(_DEBOUNCE_SECONDS * (1 + random.random()))
            self._is_stale = anyio.Event()
            start = time.perf_counter()
            try:
                await self._read()
            except (IncompleteRead, BrokenResourceError):  # it was idle for too long
                self._reading = await self._browser.connect()
                await self._read()
            self._browser.seconds.append(time.perf_counter() - start)


async def _run(port: int, token: str, count: int, paths: Sequence[str]) -> None:
    browser = Browser(port, token)
    async with anyio.create_task_group() as following:
        waiting = islice(cycle(paths), count)

        async def open_some() -> None:
            for path in waiting:
                await browser.open(path, following)

        async with anyio.create_task_group() as opening:
            for _ in range(_AT_ONCE):
                opening.start_soon(open_some)
        print(flush=True)
        browser.seconds.clear()
        start = time.perf_counter()
        await to_thread.run_sync(sys.stdin.readline)
        pages_a_second = len(browser.seconds) / (time.perf_counter() - start)
        milliseconds = 1e3 * median(browser.seconds) if browser.seconds else 0.0
        print(json.dumps([pages_a_second, milliseconds]), flush=True)
        following.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(_run, int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:])
