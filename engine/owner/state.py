"""State: the live jobs and those that ended recently, all committed. The storage has the others.

Of a shared storage it holds only the jobs of the engine's own attempts, as they were when the
engine wrote them last: others may have written them since. The same is true of the jobs that it has
written lately. A batch may be decided on these, because the commit compares what the batch writes;
what it leaves as it is has to be read (`State.read`).
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from engine.domain.epochs import Epochs
from engine.domain.exceptions import (
    EngineError,
    JobDamagedError,
    JobNotFoundError,
    LifecycleError,
    shown,
)
from engine.domain.lifecycle import Lifecycle, description, differences
from engine.owner.events import Events
from engine.owner.following import Following
from engine.owner.message import Message
from engine.owner.numbers import PROVISIONAL
from engine.owner.ready_queue import ReadyQueue
from engine.owner.recent_jobs import RecentJobs
from engine.owner.shared_progress import SharedProgress
from engine.owner.times import JobTimes
from engine.portal.logs import TaskLogger
from engine.storage.protocol import CheckedOut, Names, Shared, Storage
from engine.storage.record import NO_EXECUTION, Change, Record, newest_records
from engine.storage.table import Table

logger = TaskLogger("engine")

_FEW_NAMES: Final = 16  # messages that name no more share a checkout
_NOTHING: Final = Table()


class Numbers(NamedTuple):
    """The newest numbers of transitions and jobs."""

    sequence: int
    position: int


_PROVISIONAL: Final = Numbers(PROVISIONAL, PROVISIONAL)


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
        shared: What a shared storage has beside a private one; None for a private one.
        following: Passes on the transitions of a shared storage, in their order.
        shared_progress: Exchanges the progress of handlers with other engines.
    """

    def __init__(self, storage: Storage, lifecycle: Lifecycle[Any]) -> None:
        self.lifecycle = lifecycle
        self.table = Table()
        self.last_sequence = 0
        self.last_position = 0
        self.epochs = Epochs()
        self.events = Events()
        self.times = JobTimes(lifecycle)
        self.ready_queue = ReadyQueue(lifecycle, self._find, self._records, self.times)
        self.shared: Shared | None = None
        self.following = Following(self.events)
        self.shared_progress = SharedProgress(self.events)
        self._recently_ended = RecentJobs(self.table)
        self._written = Table()  # lately, by this engine, to a shared storage
        self._recently_written = RecentJobs(self._written)
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
            self.lifecycle.status_outcomes,
            self.lifecycle.renamed_values,
            self.lifecycle.running_value,
        )
        for status in opened.table.statuses():
            if status not in self.lifecycle.values:
                raise LifecycleError(
                    f"the storage has a job in the status {shown(status)}, which "
                    f"{self.lifecycle!r} does not have: name it in `renamed` with its new status, "
                    "or keep it in the lifecycle, as one of `retired`"
                )
        await self._compare_lifecycles()
        self.table = opened.table
        self.shared = opened.shared
        if opened.shared is not None:
            opened.shared.hold_back(self.ready_queue.strays)
            self.ready_queue.handled.tell = opened.shared.handles
            self.following.when_behind = opened.shared.wake
        self._recently_ended = RecentJobs(self.table)
        self._updates_table = not opened.keeps_table
        self.epochs.set(opened.epochs)
        self.last_sequence = opened.last_sequence
        self.last_position = opened.last_position
        for record in self.table.records():
            self.ready_queue.orphans.add(record)
        self._note_all(self.table.records())

    async def _compare_lifecycles(self) -> None:
        """Keep this lifecycle, and log how the one before differs: its jobs may be stuck in it."""
        now = description(self.lifecycle)
        before = await self._storage.keep_lifecycle(now)
        if before not in {None, now}:
            logger.warning(
                "the engine that opened the jobs before had another lifecycle: they differ in %s",
                ", ".join(differences(before or "{}", now)),
            )

    @property
    def newest_numbers(self) -> Numbers:
        """Those behind which a batch numbers its changes."""
        if self.shared is not None:
            return _PROVISIONAL
        return Numbers(self.last_sequence, self.last_position)

    def time_of(self, now: datetime) -> datetime:
        """Return the time of this engine's clock as that of all engines: a server's, if shared."""
        return now if self.shared is None else now + self.shared.clock_offset

    async def named_by(self, messages: Sequence[Message[Any]]) -> CheckedOut:
        """Return the committed jobs that messages name; those not known here are checked out.

        A message that names many gets no more than one read gives; the rest is left out, if no
        other message needs it.
        """
        named = CheckedOut()
        missing = _Missing()  # of messages that name few
        sought = _Missing()
        for message in messages:
            names = len(message.job_ids) + len(message.keys) + len(message.payments)
            if names <= _FEW_NAMES:
                self._find_held(message, named, missing)
                continue
            own = _Missing()
            self._find_held(message, named, own)
            if len(own) <= _FEW_NAMES:
                missing.add(own)
                continue
            found = await self._storage.checkout(own.names())
            named.add(found)
            own.remove(found.take_left_out())
            sought.add(own)
        named_left = zip(named.parts, sought.parts, missing.parts, strict=True)
        for part, its_sought, its_missing in named_left:
            if part.left_out:
                part.left_out.difference_update(its_sought, its_missing)
        while missing:
            found = await self._storage.checkout(missing.names())
            missing = _Missing(found.take_left_out())
            named.add(found)
        return named

    def _find_held(self, message: Message[Any], named: CheckedOut, missing: _Missing) -> None:
        """Add the jobs that are held to those named, and the other names to the missing ones."""
        table = self.table
        if self.shared is not None and not message.by_attempt:
            table = self._written if message.writes else _NOTHING
        for job_id in message.job_ids:
            if (record := table.find(job_id)) is None:
                missing.ids[job_id] = None
            else:
                named.ids.jobs[job_id] = record
        for key in message.keys:
            if (record := table.find_by_key(key)) is None:
                missing.keys[key] = None
            else:
                named.keys.jobs[key] = record
        for payment in message.payments:
            if (record := table.find_by_payment(payment)) is None:
                missing.payments[payment] = None
            else:
                named.payments.jobs[payment] = record

    def publish(self, changes: Sequence[Change], last_position: int) -> None:
        """Show committed changes to readers."""
        if self.shared is not None:
            self._publish_shared(changes)
            return
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

    def _publish_shared(self, changes: Sequence[Change]) -> None:
        for record in newest_records(changes).values():
            self.ready_queue.orphans.keep(record)
            if (held := self.table.find(record.job_id)) is not None:
                self.renew(held, record)
            if record.outcome is None:
                self._written.update({record.job_id: record})
                self._recently_written.add(record)
            else:
                self._recently_written.forget([record.job_id])
        self.events.publish(changes)
        self.last_sequence = max(self.last_sequence, self.following.note(changes))

    def hold(self, record: Record) -> None:
        """Hold a job of a shared storage that an attempt of this engine has."""
        self.table.update({record.job_id: record})
        self.ready_queue.note_held(record)

    def renew(self, held: Record, now: Record | None) -> None:
        """Hold a job as it is now, or no more: it has another attempt than before, or is gone."""
        if now is not None and now.execution.token == held.execution.token:
            self.hold(now)
        else:
            self.table.remove(held)
            self.ready_queue.forget_held(held.job_id)

    def has_unread(self, named: CheckedOut, written: Container[str] = ()) -> bool:
        """Return whether a job is named as this engine has written it lately.

        Args:
            named: The jobs.
            written: The ids of those that do not count.
        """
        return self.shared is not None and any(
            record.job_id not in written and self._written.find(record.job_id) is record
            for part in named.parts
            for record in part.jobs.values()
        )

    async def read(self, named: CheckedOut, written: Container[str]) -> None:
        """Replace jobs that are named by what the storage has of them at one moment.

        Args:
            named: The jobs.
            written: The ids of those that stay as they are.

        Raises:
            StorageError: They can't be read.
        """
        records = (record for part in named.parts for record in part.jobs.values())
        job_ids = {each.job_id: None for each in records if each.job_id not in written}
        missing, read = _Missing(Names(tuple(job_ids))), CheckedOut()
        while missing:
            found = await self._storage.checkout(missing.names())
            missing = _Missing(found.take_left_out())
            read.add(found)
        self.replace(named, read, job_ids.keys() - read.ids.jobs.keys())

    def replace(self, named: CheckedOut, newer: CheckedOut, gone: Collection[str]) -> None:
        """Replace jobs among those that are named by what others have written to the storage.

        Args:
            named: The jobs.
            newer: Some of them, and others, as they are now.
            gone: The ids of jobs that were removed. The engine holds them no more.
        """
        self._recently_written.forget([*newer.ids.jobs, *gone])
        named.replace(newer, gone)
        for job_id in gone:
            if (held := self.table.find(job_id)) is not None:
                self.renew(held, None)

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
                queue.discard(record)

    def forget(self, removed: Iterable[str]) -> None:
        """Drop jobs that the storage has removed, by their ids."""
        self._recently_ended.forget(removed)

    def forget_all(self) -> None:
        """Drop all jobs that have ended: nobody knows which of them the storage has removed."""
        self._recently_ended.forget_all()


class _Missing:
    """Names of jobs that are not held: each once, in their order."""

    __slots__ = ("ids", "keys", "parts", "payments")

    def __init__(self, names: Names = Names()) -> None:  # noqa: B008 - a tuple
        self.parts = tuple(map(dict[str, None].fromkeys, names))
        self.ids, self.keys, self.payments = self.parts

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def add(self, other: _Missing) -> None:
        for part, its in zip(self.parts, other.parts, strict=True):
            part.update(its)

    def remove(self, names: Names) -> None:
        for part, its in zip(self.parts, names, strict=True):
            for name in its:
                del part[name]

    def names(self) -> Names:
        return Names(*map(tuple, self.parts))


def why_missing(job_id: str, named: CheckedOut) -> EngineError:
    """Return the error for a job that is not among those that were found."""
    if (damaged := named.ids.damaged.get(job_id)) is not None:
        return JobDamagedError(job_id, damaged.problem)
    return JobNotFoundError(job_id)
