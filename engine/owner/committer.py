"""The committer: writes batches to the storage, and finds out the outcome of each.

A failed commit is either known not to be applied, or the storage is asked until that is known;
nothing else is committed before.
"""

from __future__ import annotations

import logging
from typing import cast

from engine.domain.exceptions import CommitUnknownError, DuplicateJobIdError, StorageError
from engine.owner.batch import Batch
from engine.owner.state import State
from engine.storage.protocol import Storage

logger = logging.getLogger("engine")


class Committer:
    """Commits batches to a storage, one after the other.

    Args:
        storage: Keeps them.
        state: Shows committed changes.

    Attributes:
        is_committing: Whether a batch is on its way, so that a crash leaves its outcome unknown.
    """

    def __init__(self, storage: Storage, state: State) -> None:
        self.is_committing = False
        self._storage = storage
        self._state = state
        self._undecided: Batch | None = None  # the outcome of its commit is unknown

    async def commit(self, batch: Batch) -> str | None:
        """Commit the changes, if there are any, and show them.

        Returns:
            The id of a new job that was taken already; nothing is applied then.

        Raises:
            StorageError: Nothing is applied.
            CommitUnknownError: It can't be told yet.
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
        """Return if the changes were committed after all.

        Raises:
            StorageError: They were not, and never will be.
            CommitUnknownError: It can't be told yet.
        """
        logger.error("a commit of %s changes failed", len(batch.changes), exc_info=unknown)
        self._undecided = batch
        try:
            applied = await self._storage.resolve(batch.changes)
        except StorageError:
            raise unknown from unknown.__cause__
        self._undecided = None
        if not applied:
            raise cast("StorageError", unknown.__cause__)

    async def resolve(self) -> bool | None:
        """Find out the outcome of earlier changes, if it is unknown; show them if they are there.

        Returns:
            Whether they are committed; None if there were none to ask after.

        Raises:
            StorageError: It still can't be told, so nothing else may be written.
        """
        undecided = self._undecided
        if undecided is None:
            return None
        applied = await self._storage.resolve(undecided.changes)
        logger.warning("an earlier commit is %s", "applied" if applied else "not applied")
        self._undecided = None
        if applied:
            self._state.publish(undecided.changes, undecided.last_position)
        return applied
