"""The committed jobs: those that the owner holds, and behind them all others, in the storage.

Nothing that is not yet committed is ever here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.domain.exceptions import (
    EngineError,
    JobDamagedError,
    JobNotFoundError,
    LifecycleError,
    shown,
)
from engine.domain.lifecycle import Lifecycle
from engine.owner.events import Feed
from engine.owner.messages import Message
from engine.owner.ready_queue import Agenda
from engine.storage.protocol import CheckedOut, Storage
from engine.storage.record import (
    Change,
    Record,
    newest_records,
)
from engine.storage.table import Table


class CommittedJobs:
    """What the owner knows of jobs.

    Args:
        storage: Where the jobs are that are not held here.
        lifecycle: Says which jobs have ended, and need not be held.

    Attributes:
        table: The jobs that are held.
        last_sequence: The number of the newest change.
        last_position: The position of the newest job.
        feed: Tells of what is committed.
        agenda: What is to be done with the jobs.
    """

    def __init__(self, storage: Storage, lifecycle: Lifecycle[Any]) -> None:
        self.table = Table()
        self.last_sequence = 0
        self.last_position = 0
        self._storage = storage
        self._lifecycle = lifecycle
        self._updates_table = True
        self.feed = Feed()
        self.agenda = Agenda(lifecycle, self._find)

    def _find(self, job_id: str) -> Record | None:
        return self.table.find(job_id)

    async def open(self) -> None:
        """Open the storage, and hold what it says is live.

        Raises:
            StorageError: It can't be opened.
            LifecycleError: A job has a status that the lifecycle doesn't know.
        """
        opened = await self._storage.open(self._lifecycle.final_values)
        for status in opened.table.statuses():
            if status not in self._lifecycle.values:
                raise LifecycleError(
                    f"the storage has a job in the status {shown(status)}, "
                    f"which {self._lifecycle!r} does not have"
                )
        self.table = opened.table
        self._updates_table = not opened.keeps_table
        self.last_sequence = opened.last_sequence
        self.last_position = opened.last_position
        self.agenda.open(self.table.records())

    async def named_by(self, messages: Sequence[Message[Any]]) -> CheckedOut:
        """Return the committed jobs that messages name; those not held here are checked out."""
        find, find_by_key = self.table.find, self.table.find_by_key
        named = CheckedOut()
        job_ids: set[str] = set()
        keys: set[str] = set()
        for message in messages:
            for job_id in message.job_ids:
                if (record := find(job_id)) is None:
                    job_ids.add(job_id)
                else:
                    named.jobs[job_id] = record
            for key in message.keys:
                if (record := find_by_key(key)) is None:
                    keys.add(key)
                else:
                    named.keys[key] = record
        if job_ids or keys:
            checked_out = await self._storage.checkout(job_ids, keys)
            named.jobs.update(checked_out.jobs)
            named.keys.update(checked_out.keys)
            named.damaged.update(checked_out.damaged)
            named.damaged_keys.update(checked_out.damaged_keys)
        return named

    def publish(self, changes: Sequence[Change], last_position: int) -> None:
        """Show committed changes to readers."""
        self.last_sequence += sum(change.sequence is not None for change in changes)
        self.last_position = last_position
        if self._updates_table:
            changed = newest_records(changes)
            self.table.update(changed)
            for record in changed.values():
                if record.status in self._lifecycle.final_values:
                    self.table.remove(record)
        self.agenda.note(changes)
        self.feed.publish(changes)


def why_missing(job_id: str, named: CheckedOut) -> EngineError:
    """Return the error that stands for a job that is not among those that were found."""
    if (damaged := named.damaged.get(job_id)) is not None:
        return JobDamagedError(job_id, damaged.problem)
    return JobNotFoundError(job_id)
