"""What the awaited and the blocking engine are made of: the same parts, put together once."""

from __future__ import annotations

from typing import Any, Generic, overload

from engine.codec import Codec, IdSource, new_job_id
from engine.domain.lifecycle import Lifecycle
from engine.domain.limits import check_integer
from engine.domain.models import PAID_JOB_LIFECYCLE, JobStatus, Status
from engine.inbox import Inbox
from engine.owner import Clock, Owner, utc_now
from engine.portal import new_event
from engine.snapshots import Snapshots
from engine.storage import MemoryStorage, Storage


class Facade(Generic[Status]):
    """A codec, an inbox and an owner; `JobEngine` tells what the arguments mean."""

    @overload
    def __init__(
        self: Facade[JobStatus],
        storage: Storage | None = None,
        *,
        clock: Clock = utc_now,
        new_id: IdSource = new_job_id,
        max_waiting: int = 10_000,
        max_batch: int = 1_000,
    ) -> None: ...
    @overload
    def __init__(
        self,
        storage: Storage | None = None,
        *,
        lifecycle: Lifecycle[Status],
        clock: Clock = utc_now,
        new_id: IdSource = new_job_id,
        max_waiting: int = 10_000,
        max_batch: int = 1_000,
    ) -> None: ...
    def __init__(
        self,
        storage: Storage | None = None,
        *,
        lifecycle: Lifecycle[Any] = PAID_JOB_LIFECYCLE,
        clock: Clock = utc_now,
        new_id: IdSource = new_job_id,
        max_waiting: int = 10_000,
        max_batch: int = 1_000,
    ) -> None:
        check_integer("max_waiting", max_waiting, 1, 1_000_000)
        check_integer("max_batch", max_batch, 1, 100_000)
        self._codec: Codec[Status] = Codec(lifecycle, new_id)
        self._snapshots: Snapshots[Status] = Snapshots(lifecycle)
        self._inbox = Inbox(max_waiting, max_batch, new_event)
        self._owner: Owner[Status] = Owner(
            self._inbox, MemoryStorage() if storage is None else storage, lifecycle, clock
        )
        self._made()

    def _made(self) -> None:
        """Do what else there is to do when the engine is made."""
