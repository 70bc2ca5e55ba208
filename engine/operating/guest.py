"""Guests: engines that act for an operator on a place that is there, and do nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from engine.domain.ids import new_job_id
from engine.domain.lifecycle import Lifecycle
from engine.owner.base import EngineBase
from engine.owner.core import Core
from engine.portal import LoopAffinity
from engine.portal.time import utc_now
from engine.storage.protocol import Storage

_MAX_WAITING: Final = 10_000  # jobs that calls name, as of other engines by default
_MAX_BATCH: Final = 1_000


class Guest(EngineBase[Any]):
    """An engine without handlers, timers and a cleaner.

    Args:
        storage: The storage of a guest; see `engine.storage.inspection.Place.guest`.
        lifecycle: That which the place keeps.
    """

    def __init__(self, storage: Storage, lifecycle: Lifecycle[Any]) -> None:
        super().__init__(
            storage,
            lifecycle=lifecycle,
            retention=None,
            follow_ups=(),
            on_transition=None,
            clock=utc_now,
            new_id=new_job_id,
            max_waiting=_MAX_WAITING,
            max_batch=_MAX_BATCH,
            is_blocking=False,
            is_guest=True,
        )

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Core[Any]]:
        """Give its core while the storage is open.

        Raises:
            StorageError: The storage can't be opened or closed.
            LifecycleError: It has a job in a status that the lifecycle doesn't know.
        """
        self.core.affinity = LoopAffinity()
        async with self._owner:
            yield self.core
