"""What the awaited and the blocking engine are made of: the same parts, put together once."""

from __future__ import annotations

from os import PathLike
from typing import Any, Final, Generic, TypeAlias, cast

from engine.codec import Codec, IdSource
from engine.committed_jobs import CommittedJobs
from engine.core import Core
from engine.domain.clock import Clock
from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.lifecycle import Lifecycle
from engine.domain.limits import check_integer
from engine.domain.models import Status
from engine.domain.retention import Retention
from engine.hooks import OnTransition, TransitionHook
from engine.inbox import Inbox
from engine.owner import Owner
from engine.portal import choose_event
from engine.snapshots import Snapshots
from engine.sqlite import SQLiteStorage
from engine.sqlite.location import IN_MEMORY
from engine.storage import MemoryStorage, Storage
from engine.timing import time_of

Place: TypeAlias = Storage | str | PathLike[str]
"""A storage, or where one is to be: the path of a file, or a URL such as ``sqlite:///jobs.db``."""

_STORAGE_CALLS: Final = sorted(name for name in vars(Storage) if not name.startswith("_"))


class Facade(Generic[Status]):
    """A codec, an inbox, an owner, and what makes snapshots.

    The arguments are those of `engine.JobEngine`, which tells what they mean. Both facades repeat
    them, because type checkers look for the two ways to make an engine on the class itself.
    """

    def __init__(
        self,
        storage: Place | None,
        *,
        lifecycle: Lifecycle[Any],
        retention: Retention | None,
        on_transition: OnTransition | None,
        clock: Clock,
        new_id: IdSource,
        max_waiting: int,
        max_batch: int,
    ) -> None:
        if not isinstance(lifecycle, Lifecycle):
            raise InvalidValueError("lifecycle", f"must be a Lifecycle, not {shown(lifecycle)}")
        if not isinstance(retention, Retention | None):
            raise InvalidValueError("retention", f"must be a Retention, not {shown(retention)}")
        check_integer("max_waiting", max_waiting, 1, 1_000_000)
        check_integer("max_batch", max_batch, 1, 100_000)
        self._storage = _storage_at(storage)
        jobs = CommittedJobs(self._storage, lifecycle)
        self._core: Core[Status] = Core(
            lifecycle,
            Codec(lifecycle, new_id),
            Inbox(max_waiting, max_batch, choose_event),
            jobs,
            Snapshots(lifecycle, jobs.feed.progress),
            time_of(clock),
        )
        if on_transition is not None:
            jobs.feed.join(TransitionHook(on_transition, self._core.snapshots))
        self._codec = self._core.codec
        self._inbox = self._core.inbox
        self._snapshots = self._core.snapshots
        self._owner: Owner[Status] = Owner(self._core, self._storage, clock, retention)


def core_of(engine: Facade[Status]) -> Core[Status]:
    """Return the parts of an engine, for what works with it: workers and gates."""
    return engine._core  # noqa: SLF001 - not for callers, who hold the engine


def _storage_at(place: Place | None) -> Storage:
    """Return the storage that is meant.

    Raises:
        InvalidValueError: It is neither a storage nor a place for one.
    """
    if place is None or (isinstance(place, str) and place in IN_MEMORY):
        return MemoryStorage()
    if hasattr(place, "commit"):
        missing = [name for name in _STORAGE_CALLS if not hasattr(place, name)]
        if missing:
            raise InvalidValueError("storage", f"{shown(place)} has no {', '.join(missing)}")
        return cast("Storage", place)
    return SQLiteStorage(place)  # which refuses anything else
