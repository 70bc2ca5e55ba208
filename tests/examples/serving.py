"""`service.py` in its own process, on a free port, and a real HTTP client for it."""

import hashlib
import hmac
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import httpx

from tests.examples.programs import EXAMPLES, TIMEOUT_SECONDS

SECRET = b"secret"

Json = dict[str, Any]


class Service:
    """A running service, and the calls of its customers and its payment service."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "service.py"), "--port", "0", *options],
            cwd=folder,
            env={**os.environ, "PAYMENT_SECRET": SECRET.decode()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self.log = ""
        address: Future[str] = Future()
        self._reader = Thread(target=self._read_log, args=(address,))
        self._reader.start()
        self.client = httpx.Client(
            base_url=address.result(TIMEOUT_SECONDS), timeout=TIMEOUT_SECONDS
        )

    def _read_log(self, address: Future[str]) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.log += line
                if found := re.search(r"running on (http://\S+)", line):
                    address.set_result(found[1])
        if not address.done():
            self.process.wait(TIMEOUT_SECONDS)
            address.set_exception(RuntimeError(f"it ended at once: {self.log}"))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; return the exit code when the process has ended."""
        self.process.send_signal(number)
        code = self.process.wait(TIMEOUT_SECONDS)
        self._reader.join()
        return code

    def order(self, text: str, key: str | None = None, customer: str = "Ann") -> Json:
        headers = {} if key is None else {"Idempotency-Key": key, "Customer": customer}
        answer = self.client.post("/jobs", json={"text": text}, headers=headers)
        assert answer.status_code == 202, answer.text
        job: Json = answer.json()
        assert answer.headers["location"] == f"/jobs/{job['job_id']}"
        return job

    def pay(self, job: Json, secret: bytes = SECRET) -> httpx.Response:
        body = json.dumps({"job_id": job["job_id"]}).encode()
        signature = hmac.new(secret, body, hashlib.sha256).hexdigest()
        return self.client.post("/payments", content=body, headers={"X-Signature": signature})

    def get(self, job: Json, wait_seconds: float = 0) -> Json:
        answer = self.client.get(f"/jobs/{job['job_id']}", params={"wait": str(wait_seconds)})
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    @contextmanager
    def events(self, path: str = "/events", last_id: str | None = None) -> Iterator[Iterator[Json]]:
        """Open a stream and yield its events, each with its id if it has one."""
        headers = {} if last_id is None else {"Last-Event-ID": last_id}
        with self.client.stream("GET", path, headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.iter_lines()
            assert next(lines) == ": still here"  # now it listens
            yield events_of(lines)


def events_of(lines: Iterator[str]) -> Iterator[Json]:
    """Read server-sent events (https://html.spec.whatwg.org/#event-stream-interpretation)."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            data = json.loads(fields["data"])
            yield {"event": fields.get("event", "message"), "id": fields.get("id"), **data}
            fields = {}


@contextmanager
def served(folder: Path, *options: str) -> Iterator[Service]:
    """Run the service; kill it at the end of ``with``, if it still runs."""
    service = Service(folder, *options)
    try:
        with service.client:
            yield service
    finally:
        service.stop(signal.SIGKILL)
