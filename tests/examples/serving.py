"""`shop.py` behind a real server, and the calls of its customers and of its payment service."""

import hashlib
import hmac
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from engine import ORDER_LIFECYCLE, Job, OrderStatus, SyncJobEngine
from tests.examples.programs import EXAMPLES, run
from tests.unit.web.serving import ROOT, Service, Stream

KEY = "secret"
JSON = {"Content-Type": "application/json"}

Json = dict[str, Any]


class Shop(Service):
    """A running shop."""

    def order(
        self, text: str, kind: str = "report", *, customer: str = "Ann", key: str | None = None
    ) -> str:
        """Order; return the job's id."""
        headers = {} if key is None else {"Idempotency-Key": key}
        order = {"kind": kind, "text": text}
        answer = self.call("POST", "", customer, value=order, **headers)
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["job_id"]
        assert answer.headers["location"] == f"/orders/{job_id}"
        return job_id

    def pay(self, job_id: str, payment_id: str | None = None, *, key: str = KEY) -> Json:
        """Call back as the payment service does; by default the payment is named for its job."""
        answer = self.post_payment(
            json.dumps({"job_id": job_id, "payment_id": payment_id or f"for {job_id}"}), key
        )
        assert answer.status_code == 200, answer.text
        told: Json = answer.json()
        return told

    def post_payment(self, body: str, key: str = KEY) -> httpx.Response:
        signature = hmac.new(key.encode(), body.encode(), hashlib.sha256).hexdigest()
        return self.client.post(
            "/payments", content=body, headers=JSON | {"X-Signature": signature}
        )

    def call(
        self,
        method: str,
        path: str,
        customer: str = "Ann",
        *,
        value: object = None,
        content: str | None = None,
        **headers: str,
    ) -> httpx.Response:
        """Call as a customer, with a JSON value or a text that may be none."""
        return self.client.request(
            method,
            f"/orders{path}",
            headers=JSON | {"Customer": customer} | headers,
            content=json.dumps(value) if content is None else content,
        )

    def get(self, job_id: str, wait_seconds: int = 0) -> Json:
        answer = self.call("GET", f"/{job_id}", Prefer=f"wait={wait_seconds}")
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    @contextmanager
    def events_of(self, job_id: str, last_id: str | None = None) -> Iterator[Stream]:
        with self.events(f"/orders/{job_id}/events", last_id, Customer="Ann") as events:
            yield events

    def begin(self, job_id: str) -> None:
        """Pay for a job, and wait until its handler runs."""
        with self.events_of(job_id) as events:
            self.pay(job_id)
            assert any(each["event"] == "progress" for each in events)


@contextmanager
def served(
    folder: Path,
    *,
    app: str = "shop:app",
    server: str = "uvicorn",
    pause: float = 0,
    pay_within: float = 3_600,
    place: str | None = None,
    webhook: str = "",
) -> Iterator[Shop]:
    """Run the shop; kill it at the end, if it still runs."""
    shop = Shop(
        *(server, app),
        PYTHONPATH=f"{ROOT}:{EXAMPLES}:{folder}",
        PAYMENT_SECRET=KEY,
        SHOP_JOBS=place or str(folder / "shop.db"),
        SHOP_PAUSE=str(pause),
        SHOP_PAY_WITHIN=str(pay_within),
        SHOP_WEBHOOK=webhook,
    )
    try:
        yield shop
    finally:
        shop.kill()


def jobs_in(folder: Path, kind: str | None = None) -> list[Job[OrderStatus]]:
    """Read the file of a shop that has ended."""
    with SyncJobEngine(folder / "shop.db", lifecycle=ORDER_LIFECYCLE) as engine:
        return list(engine.list_jobs(kind=kind, limit=1_000).jobs)


def jobs_at(folder: Path, kind: str, *status: str) -> list[Json]:
    """Read the jobs of a kind in the file of a shop that is running."""
    command = [sys.executable, "-m", "engine", "list", "--json", "--kind", kind]
    lines = run([*command, str(folder / "shop.db")], ROOT).stdout.splitlines()
    found: list[Json] = [json.loads(line) for line in lines]
    return [job for job in found if not status or job["status"] in status]


def refund_in(folder: Path) -> Json:
    """Read the one refund in the file of a shop that is running."""
    [refund] = jobs_at(folder, "refund")
    return refund
