"""The core: the parts of an engine that its facade, its workers and its gates share."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

import anyio
from anyio.abc import TaskGroup

from engine.domain.exceptions import CallTimeoutError, EngineError, EngineNotStartedError
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import Job, Status
from engine.owner.codec import Codec
from engine.owner.events import Feed
from engine.owner.inbox import Inbox
from engine.owner.messages import Answer, GetJobs, Message
from engine.owner.state import CommittedJobs
from engine.owner.views import Snapshots
from engine.owner.watching import Watcher, wait_for
from engine.portal import LoopAffinity
from engine.portal.time import Time


@dataclass(slots=True)
class Core(Generic[Status]):
    """An engine as seen from the event loop on which its owner runs; its calls are made there."""

    lifecycle: Lifecycle[Status]
    codec: Codec[Status]
    inbox: Inbox
    jobs: CommittedJobs
    snapshots: Snapshots[Status]
    time: Time
    is_blocking: bool
    """Whether the engine's calls block a thread, instead of being awaited."""
    affinity: LoopAffinity | None = None
    """The event loop that an awaited engine belongs to, once it has started."""
    tasks: TaskGroup = field(init=False)
    """Of all that works with the engine while it is open; the owner opens and closes it."""

    @property
    def feed(self) -> Feed:
        """What tells of committed changes."""
        return self.jobs.feed

    def check_caller(self) -> None:
        """Refuse to work with an awaited engine before its start, or on another event loop.

        Raises:
            EngineNotStartedError: It has not started.
            WrongLoopError: It belongs to another event loop.
        """
        if self.is_blocking:
            return  # the loop thread calls it
        if self.affinity is None:
            raise EngineNotStartedError
        self.affinity.check()

    async def ask(self, message: Message[Answer]) -> Answer:
        """Send a message to the owner, and return its answer.

        Raises:
            EngineError: The answer; or the engine can't be called.
        """
        await self.inbox.put(message).wait()
        return message.outcome()

    async def send_all(self, messages: Sequence[Message[Any]]) -> None:
        """Send messages, each for itself, and wait until all have their answers.

        Those that the inbox refuses are answered with that.
        """
        all_told = anyio.Event()
        waiting = 0

        def tell() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                all_told.set()

        for message in messages:
            try:
                self.inbox.put(message, tell)
            except EngineError as refusal:
                message.answer(refusal)
            else:
                waiting += 1
        if waiting:
            await all_told.wait()

    async def wait(
        self, message: GetJobs, statuses: Collection[str], seconds: float | None
    ) -> Job[Status]:
        """Return a job as soon as it has one of these statuses.

        Raises:
            EngineError: Whatever the message is answered; or the engine was closed meanwhile.
            CallTimeoutError: It did not come there within so many seconds.
        """
        with anyio.CancelScope() as scope:
            limit = math.inf if seconds is None else seconds
            record = await wait_for(
                self.feed,
                self.ask,
                message,
                statuses,
                lambda: self.time.limit(scope, limit),
            )
            return self.snapshots.job(record)
        raise CallTimeoutError(seconds or 0.0)

    def watcher(self, job_id: str | None, after: int | None, *, progress: bool) -> Watcher[Status]:
        """Return what gives transitions; by default of one job all, of all jobs the coming ones."""
        if after is None:
            after = self.jobs.last_sequence if job_id is None else 0
        return Watcher(
            self.feed,
            self.ask,
            self.snapshots,
            self.lifecycle.final_values,
            job_id=job_id,
            after=after,
            progress=progress,
        )
