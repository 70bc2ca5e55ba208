"""The committer: writes batches to the storage, and finds out the outcome of each.

A failed commit either did not apply its batch, or its outcome is unknown. Then the committer asks
the storage until it knows, and commits nothing else before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple, TypeAlias

from engine.domain.exceptions import (
    CommitsLostError,
    CommitUnknownError,
    DuplicateJobIdError,
    LeaseLostError,
    StorageDamagedError,
    StorageError,
    reason_of,
    shown,
)
from engine.domain.follow_up_rules import StoredRules
from engine.owner.batch import Batch
from engine.owner.numbers import Renumbered
from engine.owner.state import State
from engine.portal.logs import TaskLogger
from engine.storage.answers import CheckedOut, Committed, Names
from engine.storage.protocol import Storage
from engine.storage.record import Record

logger = TaskLogger("engine")

Stored: TypeAlias = Callable[[Sequence[Record]], Sequence[Record]]
"""Returns the records of decisions as they are stored."""


def _as_decided(records: Sequence[Record]) -> Sequence[Record]:
    return records


FATAL: Final = (LeaseLostError, CommitsLostError)
"""What a shared storage says to an engine that must not go on: it crashes."""


class InTheWay(NamedTuple):
    """Why a batch was not applied: jobs that others have written, or whose names are taken."""

    jobs: CheckedOut
    """As they are now."""
    gone: Collection[str] = ()
    """The ids of jobs that were removed."""
    rules: StoredRules | None = None
    """The rules of follow-ups, if others have changed them."""


class Committer:
    """Commits batches to a storage, one after the other.

    Args:
        storage: Stores the batches.
        state: Publishes the committed changes.

    Attributes:
        is_committing: Whether a batch is on its way: a crash leaves its outcome unknown.
    """

    def __init__(self, storage: Storage, state: State) -> None:
        self.is_committing = False
        self._storage = storage
        self._state = state
        self._undecided: Batch | None = None  # the outcome of its commit is unknown

    async def commit(self, batch: Batch) -> Stored | InTheWay:
        """Commit the changes of a batch, if it has any, and publish them.

        Returns:
            The records as they are stored; or what is in the way: then nothing was applied.

        Raises:
            StorageError: Nothing was applied.
            CommitUnknownError: The outcome is still unknown.
        """
        if not batch.changes:
            return _as_decided
        self.is_committing = True
        try:
            committed = await self._storage.commit(batch.changes, batch.lines)
        except DuplicateJobIdError as taken:
            if taken.job_id not in batch.new_ids():
                raise
            self.is_committing = False
            return InTheWay(await self._ended_ones(batch, taken.job_id))
        except CommitUnknownError as unknown:
            committed = await self._learn_outcome(batch, unknown)
        if committed is not None and committed.in_the_way is not None:
            self.is_committing = False
            return InTheWay(committed.in_the_way, committed.gone, committed.rules)
        return self._publish(batch, committed)

    def _publish(self, batch: Batch, committed: Committed | None) -> Stored:
        if committed is None:
            self._state.publish(batch.changes, batch.last_position)
            return _as_decided
        stored = Renumbered([each for each in batch.changes if not each.is_compared], committed)
        self._state.publish(stored.changes, batch.last_position)
        return stored.all_of

    async def _ended_ones(self, batch: Batch, taken_id: str) -> CheckedOut:
        """Return the ended jobs that have the ids of new ones.

        Raises:
            StorageDamagedError: The storage has no job with the id that it says is taken.
        """
        others = batch.new_ids() - {taken_id}
        ended = await self._storage.checkout(Names([taken_id, *others]))
        ended.take_left_out()  # if one of these is taken, the commit says so
        if taken_id not in ended.ids.jobs and taken_id not in ended.ids.damaged:
            raise StorageDamagedError(
                f"the storage says that the id {shown(taken_id)} is taken, but has no such job"
            )
        return ended

    async def _learn_outcome(self, batch: Batch, unknown: CommitUnknownError) -> Committed | None:
        """Return what the storage committed, if it did after all.

        Raises:
            StorageError: It did not, and never will.
            CommitUnknownError: The outcome is still unknown.
        """
        text = "the outcome of a commit of %s changes is unknown: asking the storage"
        logger.error(text, len(batch.changes), exc_info=unknown)
        self._undecided = batch
        try:
            applied = await self._storage.resolve(batch.changes)
        except FATAL:
            raise
        except StorageError:
            raise unknown from unknown.__cause__
        self._undecided = None
        if applied is False:
            raise reason_of(unknown)
        return None if applied is True else applied

    async def resolve(self) -> bool | None:
        """Find out the outcome of an earlier batch, if it is unknown; publish it if it was applied.

        Returns:
            Whether it was applied; None if no outcome was unknown.

        Raises:
            StorageError: The outcome is still unknown, so nothing else may be written.
        """
        undecided = self._undecided
        if undecided is None:
            return None
        applied = await self._storage.resolve(undecided.changes)
        logger.warning("an earlier commit was %s", "applied" if applied else "not applied")
        self._undecided = None
        if applied is False:
            return False
        self._publish(undecided, None if applied is True else applied)
        return True
