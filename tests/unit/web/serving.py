"""Apps that real servers run in processes of their own, and clients for them."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any, Final

import httpx

from tests.unit.web.app import JOBS

SECONDS: Final = 60.0
ROOT: Final = Path(__file__).parents[3]
APP: Final = "tests.unit.web.app:app"
HYPERCORN: Final = ["hypercorn", "-b", "127.0.0.1:0", "--graceful-timeout", "3600"]
SERVERS: Final = {
    # None of them limits the time for answers, so a stream that did not end would be waited for.
    "uvicorn": ["uvicorn", "--port", "0"],
    "hypercorn": HYPERCORN,
    "hypercorn on trio": [*HYPERCORN, "-k", "trio"],
    "hypercorn without workers": [*HYPERCORN, "-w", "0"],
}

Json = dict[str, Any]


class Service:
    """An app behind one of the servers."""

    def __init__(self, server: str, app: str, *options: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", *SERVERS[server], app, *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,  # so that its worker processes can be killed with it
        )
        self.log = ""
        address: Future[str] = Future()
        self._reader = Thread(target=self._read_log, args=(address,))
        self._reader.start()
        self.address = httpx.URL(address.result(SECONDS))
        # A connection for each call: hypercorn closes one, without saying so in the answer, whose
        # request had a body that was still to be read, and the next request may go to it first.
        self.client = httpx.Client(
            base_url=self.address,
            timeout=SECONDS,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def _read_log(self, address: "Future[str]") -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.log += line
                if (found := re.search(r"unning on (http://\S+)", line)) and not address.done():
                    address.set_result(found[1])
        if not address.done():
            address.set_exception(RuntimeError(f"it ended at once: {self.log}"))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; return the exit code when the process has ended."""
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code

    def kill(self) -> None:
        """End all of its processes."""
        self.client.close()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(SECONDS)
        self._reader.join(SECONDS)

    @contextmanager
    def events(self, path: str, last_id: str | None = None, **headers: str) -> Iterator["Stream"]:
        """Open a stream."""
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        with self.client.stream("GET", path, headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield Stream(answer.iter_lines(), last_id)


class Stream:
    """Reads events as a browser does.

    (https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation).

    Attributes:
        last_id: The id that a browser would send if it came back now.
    """

    def __init__(self, lines: Iterator[str], last_id: str | None = None) -> None:
        self.last_id = last_id
        self.heartbeats = 0
        self._lines = lines

    def __iter__(self) -> Iterator[Json]:
        return self

    def __next__(self) -> Json:
        """Return the next event."""
        while (event := self.next_block()) is None:
            pass
        return event

    def next_block(self) -> Json | None:
        """Read up to the next empty line, and return an event if that ends one."""
        kind, data = "message", list[str]()
        while line := next(self._lines):
            name, _, value = line.partition(": ")
            if name == "id":
                self.last_id = value
            elif name == "event":
                kind = value
            elif name == "data":
                data.append(value)
            elif line.startswith(":"):
                self.heartbeats += 1
        return {"event": kind, **json.loads("\n".join(data))} if data else None


class Jobs(Service):
    """`app.py` behind one of the servers, and the calls of its clients."""

    def create(self) -> str:
        answer = self.client.post("/jobs", content="the input")
        job_id: str = answer.raise_for_status().json()["job_id"]
        return job_id

    def move(self, job_id: str, *statuses: str) -> None:
        for status in statuses:
            self.client.post(f"/jobs/{job_id}/{status}").raise_for_status()


@contextmanager
def served(server: str, *options: str, jobs: Path | None = None) -> Iterator[Jobs]:
    """Run the app; kill it at the end, if it still runs."""
    service = Jobs(server, APP, *options, **({JOBS: str(jobs)} if jobs else {}))
    try:
        yield service
    finally:
        service.kill()


def statuses(events: Iterator[Json]) -> list[str]:
    return [each["to_status"] for each in events]
