"""The floors of the figures: the least code that could replace the engine.

None of them is bounded, durable, closable or cancellable, has a history, or checks its arguments
beyond pydantic's own checks.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from anyio.from_thread import BlockingPortal
from pydantic import BaseModel, ConfigDict

from engine import LEGAL_TRANSITIONS, JobStatus


class PlainJob(BaseModel):
    """A frozen pydantic job with the eight fields that the acceptance suite asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str
    status: JobStatus
    input_hash: str
    blockchain_identifier: str
    created_at: datetime
    updated_at: datetime
    result: str | None = None
    error: str | None = None


class LockedDict:
    """(a): a `threading.Lock` and a dict of frozen pydantic jobs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, PlainJob] = {}

    def create(self, input_hash: str) -> PlainJob:
        now = datetime.now(UTC)
        job_id = str(uuid4())
        job = PlainJob(
            job_id=job_id,
            status=JobStatus.AWAITING_PAYMENT,
            input_hash=input_hash,
            blockchain_identifier=f"mock_bc_{job_id}",
            created_at=now,
            updated_at=now,
        )
        with self._lock:
            self._jobs[job_id] = job
        return job

    def get(self, job_id: str) -> PlainJob:
        with self._lock:
            return self._jobs[job_id]

    def transition(self, job_id: str, target: JobStatus) -> PlainJob:
        with self._lock:
            job = self._jobs[job_id]
            if target not in LEGAL_TRANSITIONS[job.status]:
                raise ValueError(target)
            changes = {"status": target, "updated_at": datetime.now(UTC)}
            self._jobs[job_id] = job = job.model_copy(update=changes)
        return job


class AsyncioActor:
    """(b): a bare asyncio actor on a deque, with one Future for each call."""

    def __init__(self) -> None:
        self._jobs = LockedDict()
        self._calls: deque[tuple[asyncio.Future[PlainJob], Callable[..., PlainJob], Any]] = deque()
        self._loop = asyncio.get_running_loop()
        self._wake = self._loop.create_future()
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while True:
            while self._calls:
                future, function, arguments = self._calls.popleft()
                try:
                    future.set_result(function(*arguments))
                except Exception as error:  # noqa: BLE001 - it goes to the caller
                    future.set_exception(error)
            self._wake = self._loop.create_future()
            await self._wake

    def _ask(self, function: Callable[..., PlainJob], *arguments: object) -> Awaitable[PlainJob]:
        future: asyncio.Future[PlainJob] = self._loop.create_future()
        self._calls.append((future, function, arguments))
        if not self._wake.done():
            self._wake.set_result(None)
        return future

    async def create(self, input_hash: str) -> PlainJob:
        return await self._ask(self._jobs.create, input_hash)

    async def get(self, job_id: str) -> PlainJob:
        return await self._ask(self._jobs.get, job_id)

    async def transition(self, job_id: str, target: JobStatus) -> PlainJob:
        return await self._ask(self._jobs.transition, job_id, target)

    def stop(self) -> None:
        self._task.cancel()


class ThreadActor:
    """(c): a bare thread actor on a `queue.SimpleQueue`, with one lock for each reply."""

    def __init__(self) -> None:
        self._jobs = LockedDict()
        self._calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            reply, answered, function, argument = call
            reply.append(function(argument))
            answered.release()

    def _ask(self, function: Callable[[str], PlainJob], argument: str) -> PlainJob:
        reply: list[PlainJob] = []
        answered = threading.Lock()
        answered.acquire()
        self._calls.put((reply, answered, function, argument))
        answered.acquire()
        return reply[0]

    def create(self, input_hash: str) -> PlainJob:
        return self._ask(self._jobs.create, input_hash)

    def get(self, job_id: str) -> PlainJob:
        return self._ask(self._jobs.get, job_id)

    def stop(self) -> None:
        self._calls.put(None)
        self._thread.join()


class PortalShim:
    """(d): the naive shim, a `portal.call` into the event loop for each call."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._jobs = LockedDict()
        self._portal = portal

    async def _run(self, function: Callable[[str], PlainJob], argument: str) -> PlainJob:
        return function(argument)

    def create(self, input_hash: str) -> PlainJob:
        return self._portal.call(self._run, self._jobs.create, input_hash)

    def get(self, job_id: str) -> PlainJob:
        return self._portal.call(self._run, self._jobs.get, job_id)
