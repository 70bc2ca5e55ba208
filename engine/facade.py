"""What the awaited and the blocking engine are made of: the same parts, put together once."""

from __future__ import annotations

from typing import Any, Generic

from engine.codec import Codec, IdSource
from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.lifecycle import Lifecycle
from engine.domain.limits import check_integer
from engine.domain.models import Status
from engine.inbox import Inbox
from engine.owner import Clock, Owner
from engine.portal import choose_event
from engine.snapshots import Snapshots
from engine.storage import MemoryStorage, Storage


class Facade(Generic[Status]):
    """A codec, an inbox, an owner, and what makes snapshots.

    The arguments are those of `engine.JobEngine`, which tells what they mean. Both facades repeat
    them, because type checkers look for the two ways to make an engine on the class itself.
    """

    def __init__(
        self,
        storage: Storage | None,
        *,
        lifecycle: Lifecycle[Any],
        clock: Clock,
        new_id: IdSource,
        max_waiting: int,
        max_batch: int,
    ) -> None:
        if not isinstance(lifecycle, Lifecycle):
            raise InvalidValueError("lifecycle", f"must be a Lifecycle, not {shown(lifecycle)}")
        check_integer("max_waiting", max_waiting, 1, 1_000_000)
        check_integer("max_batch", max_batch, 1, 100_000)
        self._codec: Codec[Status] = Codec(lifecycle, new_id)
        self._snapshots: Snapshots[Status] = Snapshots(lifecycle)
        self._inbox = Inbox(max_waiting, max_batch, choose_event)
        self._owner: Owner[Status] = Owner(
            self._inbox, MemoryStorage() if storage is None else storage, lifecycle, clock
        )
