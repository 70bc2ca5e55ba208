"""The committer: writes batches to the storage, and finds out the outcome of each.

A failed commit either did not apply its batch, or its outcome is unknown. Then the committer asks
the storage until it knows, and commits nothing else before.
"""

from __future__ import annotations

from typing import cast

from engine.domain.exceptions import CommitUnknownError, DuplicateJobIdError, StorageError
from engine.owner.batch import Batch
from engine.owner.state import State
from engine.portal.logs import TaskLogger
from engine.storage.protocol import Storage

logger = TaskLogger("engine")


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

    async def commit(self, batch: Batch) -> str | None:
        """Commit the changes of a batch, if it has any, and publish them.

        Returns:
            None, or the id of a new job that an ended job has already. Then nothing was applied.

        Raises:
            StorageError: Nothing was applied.
            CommitUnknownError: The outcome is still unknown.
        """
        if batch.changes:
            self.is_committing = True
            try:
                await self._storage.commit(batch.changes)
            except DuplicateJobIdError as taken:
                if taken.job_id not in batch.new_ids():
                    raise
                self.is_committing = False
                return taken.job_id
            except CommitUnknownError as unknown:
                await self._learn_outcome(batch, unknown)
            self._state.publish(batch.changes, batch.last_position)
        return None

    async def _learn_outcome(self, batch: Batch, unknown: CommitUnknownError) -> None:
        """Return if the storage committed the changes after all.

        Raises:
            StorageError: It did not, and never will.
            CommitUnknownError: The outcome is still unknown.
        """
        text = "the outcome of a commit of %s changes is unknown: asking the storage"
        logger.error(text, len(batch.changes), exc_info=unknown)
        self._undecided = batch
        try:
            applied = await self._storage.resolve(batch.changes)
        except StorageError:
            raise unknown from unknown.__cause__
        self._undecided = None
        if not applied:
            raise cast("StorageError", unknown.__cause__)

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
        if applied:
            self._state.publish(undecided.changes, undecided.last_position)
        return applied
