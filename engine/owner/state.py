"""State: the live jobs and those that ended recently, all committed. The storage has the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from engine.domain.epochs import Epochs
from engine.domain.exceptions import (
    EngineError,
    JobDamagedError,
    JobNotFoundError,
    LifecycleError,
    shown,
)
from engine.domain.lifecycle import Lifecycle
from engine.owner.events import Events
from engine.owner.message import Message
from engine.owner.ready_queue import ReadyQueue
from engine.owner.recently_ended import RecentlyEnded
from engine.owner.times import JobTimes
from engine.storage.protocol import CheckedOut, Storage
from engine.storage.record import NO_EXECUTION, Change, Record, newest_records
from engine.storage.table import Table

_FEW_NAMES: Final = 16  # messages that name no more share a checkout


class State:
    """The owner's knowledge of jobs.

    Args:
        storage: Has the jobs that are not held here.
        lifecycle: Says which jobs have ended, and need not be held.

    Attributes:
        lifecycle: The same.
        table: The jobs that are held.
        last_sequence: The number of the newest change.
        last_position: The position of the newest job.
        epochs: Those of the history.
        events: Passes committed changes on.
        times: When jobs are due.
        ready_queue: The jobs that may be claimed.
    """

    def __init__(self, storage: Storage, lifecycle: Lifecycle[Any]) -> None:
        self.lifecycle = lifecycle
        self.table = Table()
        self.last_sequence = 0
        self.last_position = 0
        self.epochs = Epochs()
        self.events = Events()
        self.times = JobTimes(lifecycle)
        self.ready_queue = ReadyQueue(lifecycle, self._find, self._records, self.times.retries)
        self._recently_ended = RecentlyEnded(self.table)
        self._storage = storage
        self._updates_table = True

    def _find(self, job_id: str) -> Record | None:
        return self.table.find(job_id)

    def _records(self) -> Iterable[Record]:
        return self.table.records()

    async def open(self) -> None:
        """Open the storage, and hold the jobs that it says are live.

        Raises:
            StorageError: It can't be opened.
            LifecycleError: A job has a status that the lifecycle doesn't know.
        """
        opened = await self._storage.open(
            self.lifecycle.final_values, self.lifecycle.renamed_values
        )
        for status in opened.table.statuses():
            if status not in self.lifecycle.values:
                raise LifecycleError(
                    f"the storage has a job in the status {shown(status)}, which "
                    f"{self.lifecycle!r} does not have: name it in `renamed` with its new status, "
                    "or keep it in the lifecycle, as one of `retired`"
                )
        self.table = opened.table
        self._recently_ended = RecentlyEnded(self.table)
        self._updates_table = not opened.keeps_table
        self.epochs.set(opened.epochs)
        self.last_sequence = opened.last_sequence
        self.last_position = opened.last_position
        for record in self.table.records():
            self.ready_queue.add_orphan(record)
        self._note_all(self.table.records())

    async def named_by(self, messages: Sequence[Message[Any]]) -> CheckedOut:
        """Return the committed jobs that messages name; those not held here are checked out.

        A message that names many gets no more than one read gives; the rest is left out, if no
        other message needs it.
        """
        named = CheckedOut()
        job_ids: dict[str, None] = {}  # of messages that name few; in their order, each once
        keys: dict[str, None] = {}
        sought_ids: set[str] = set()
        sought_keys: set[str] = set()
        for message in messages:
            if len(message.job_ids) + len(message.keys) <= _FEW_NAMES:
                self._find_held(message, named, job_ids, keys)
                continue
            own_ids: dict[str, None] = {}
            own_keys: dict[str, None] = {}
            self._find_held(message, named, own_ids, own_keys)
            if len(own_ids) + len(own_keys) <= _FEW_NAMES:
                job_ids |= own_ids
                keys |= own_keys
                continue
            found = await self._storage.checkout([*own_ids], [*own_keys])
            named.add(found)
            sought_ids.update(found.left_out.symmetric_difference(own_ids))
            sought_keys.update(found.left_out_keys.symmetric_difference(own_keys))
        if named.left_out or named.left_out_keys:
            named.left_out.difference_update(sought_ids, job_ids)
            named.left_out_keys.difference_update(sought_keys, keys)
        while job_ids or keys:
            found = await self._storage.checkout([*job_ids], [*keys])
            job_ids, keys = dict.fromkeys(found.left_out), dict.fromkeys(found.left_out_keys)
            named.add(replace(found, left_out=set(), left_out_keys=set()))
        return named

    def _find_held(
        self,
        message: Message[Any],
        named: CheckedOut,
        job_ids: dict[str, None],
        keys: dict[str, None],
    ) -> None:
        """Add the jobs that are held to those named, and the other ids and keys to these."""
        for job_id in message.job_ids:
            if (record := self.table.find(job_id)) is None:
                job_ids[job_id] = None
            else:
                named.jobs[job_id] = record
        for key in message.keys:
            if (record := self.table.find_by_key(key)) is None:
                keys[key] = None
            else:
                named.keys[key] = record

    def publish(self, changes: Sequence[Change], last_position: int) -> None:
        """Show committed changes to readers."""
        numbers = (change.sequence for change in reversed(changes) if change.sequence is not None)
        self.last_sequence = next(numbers, self.last_sequence)
        self.last_position = last_position
        changed = newest_records(changes)
        if self._updates_table:
            self.table.update(changed)
        self._note_all(changed.values())
        if self._updates_table:
            finals = self.lifecycle.final_values
            for record in changed.values():
                if record.status in finals:
                    self._recently_ended.add(record)
        self.events.publish(changes)

    def _note_all(self, records: Iterable[Record]) -> None:
        """Take in when jobs are due, and whether they are ready."""
        queue, times, running = self.ready_queue, self.times, self.lifecycle.running_value
        is_filled = queue.is_filled
        for record in records:  # most jobs have nothing to do with handlers
            if record.execution is not NO_EXECUTION:
                queue.note(record)
                times.note(record)
            elif is_filled and record.status == running:
                queue.note(record)
            elif is_filled:
                queue.discard(record.job_id)

    def forget(self, removed: Iterable[str]) -> None:
        """Drop jobs that the storage has removed, by their ids."""
        self._recently_ended.forget(removed)

    def forget_all(self) -> None:
        """Drop all jobs that have ended: nobody knows which of them the storage has removed."""
        self._recently_ended.forget_all()


def why_missing(job_id: str, named: CheckedOut) -> EngineError:
    """Return the error for a job that is not among those that were found."""
    if (damaged := named.damaged.get(job_id)) is not None:
        return JobDamagedError(job_id, damaged.problem)
    return JobNotFoundError(job_id)
