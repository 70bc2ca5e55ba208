"""`agent.py` behind a real server, and the payment service that it works with, each a process."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from engine import AGENT_JOB_LIFECYCLE, AgentJobStatus, Job, SyncJobEngine
from tests.examples.programs import EXAMPLES
from tests.reliability.engine_process import until
from tests.unit.web.serving import ROOT, SECONDS, Service

Json = dict[str, Any]
Agents = Job[AgentJobStatus]


class Payments:
    """A running payment service, and its buyers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(base_url=url, timeout=SECONDS)

    def call(self, path: str, **body: object) -> Json:
        answer = self.client.post(path, json=body)
        told: Json = answer.raise_for_status().json()
        return told

    def faults(self, **faults: object) -> None:
        """Order faults of the next calls."""
        self.call("/faults", **faults)

    def ledger(self) -> dict[str, Json]:
        """Return the payments by their names."""
        payments = self.client.get("/ledger").raise_for_status().json()["payments"]
        return {payment["payment_id"]: payment for payment in payments}

    def moves(self, payment_id: str) -> list[Json]:
        moves: list[Json] = self.ledger()[payment_id]["moves"]
        return moves


@contextmanager
def payment_service() -> Iterator[Payments]:
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(EXAMPLES / "payment_service.py")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"running on (\S+)", process.stdout.readline())
            assert found is not None
            payments = Payments(found[1])
            with payments.client:
                yield payments
        finally:
            process.kill()


class Agent:
    """An agent on a file, which can be killed and started again.

    Args:
        folder: The file's.
        payments: The payment service.
        environment: The agent's, by the ends of the names.
    """

    def __init__(self, folder: Path, payments: Payments, **environment: float) -> None:
        self._environment = {
            "PYTHONPATH": f"{ROOT}:{EXAMPLES}",
            "AGENT_JOBS": str(folder / "agent.db"),
            "PAYMENT_SERVICE": payments.url,
            "AGENT_PAUSE": "0.05",
            **{f"AGENT_{name.upper()}": str(value) for name, value in environment.items()},
        }
        self._path = folder / "agent.db"
        self._service: Service | None = None
        self.start()

    @property
    def service(self) -> Service:
        assert self._service is not None
        return self._service

    def start(self) -> None:
        self._service = Service("uvicorn", "agent:app", **self._environment)

    def kill(self) -> None:
        if self._service is not None:
            self._service.kill()
        self._service = None

    def restart(self) -> None:
        """Kill it, as -9 does, and start it on its file."""
        self.kill()
        self.start()

    def call(self, path: str, **body: object) -> Json:
        told: Json = self.service.client.post(path, json=body).raise_for_status().json()
        return told

    def order(self, text: str, identifier: str = "mine") -> tuple[str, str]:
        """Order a summary; return the ids of its job and of its payment."""
        told = self.call(
            "/start_job", identifier_from_purchaser=identifier, input_data={"text": text}
        )
        return told["job_id"], told["blockchainIdentifier"]

    def status(self, job_id: str) -> Json:
        answer = self.service.client.get("/status", params={"job_id": job_id})
        told: Json = answer.raise_for_status().json()
        return told

    def until(self, job_id: str, status: str) -> Json:
        """Wait for a status of a job."""
        until(lambda: self.status(job_id)["status"] == status)
        return self.status(job_id)

    def jobs(self) -> list[Agents]:
        """Kill it, and read its file."""
        self.kill()
        with SyncJobEngine(self._path, lifecycle=AGENT_JOB_LIFECYCLE) as engine:
            return list(engine.list_jobs(limit=1_000).jobs)


@contextmanager
def agent(folder: Path, payments: Payments, **environment: float) -> Iterator[Agent]:
    """Run an agent; kill it at the end, if it still runs."""
    its = Agent(folder, payments, **environment)
    try:
        yield its
    finally:
        its.kill()
