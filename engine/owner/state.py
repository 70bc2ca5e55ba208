"""State: the live jobs and those that ended recently, all committed. The storage has the others.

Of a shared storage it holds only the jobs of the engine's own attempts, as they were when the
engine wrote them last: others may have written them since. `Lookup` also knows what it has written
lately.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from engine.domain.epochs import Epochs
from engine.domain.exceptions import (
    CommitUnknownError,
    LifecycleError,
    reason_of,
    shown,
)
from engine.domain.follow_up_rule import Rule
from engine.domain.follow_up_rules import Rules, StoredRules
from engine.domain.lifecycle import Lifecycle, description, differences
from engine.domain.pauses import Pauses
from engine.owner.events import Events
from engine.owner.following import Following
from engine.owner.lookup import Lookup
from engine.owner.numbers import PROVISIONAL
from engine.owner.ready_queue import ReadyQueue
from engine.owner.recent_jobs import RecentJobs
from engine.owner.shared_progress import SharedProgress
from engine.owner.times import JobTimes
from engine.portal.logs import TaskLogger
from engine.storage.answers import CheckedOut
from engine.storage.audit import AuditLine
from engine.storage.protocol import Storage
from engine.storage.record import NO_EXECUTION, Change, Record, newest_records
from engine.storage.shared import Shared
from engine.storage.table import Table

logger = TaskLogger("engine")


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
        given_rules: The rules of follow-ups to add to those that the storage keeps.
        is_guest: Whether the engine only acts for an operator.

    Attributes:
        lifecycle, is_guest: The same.
        rules: Those of follow-ups.
        when_rules_change: Called with how many jobs one transition may create.
        table: The jobs that are held.
        last_sequence: The number of the newest change.
        last_position: The position of the newest job.
        epochs: Those of the history.
        events: Passes committed changes on.
        times: When jobs are due.
        ready_queue: The jobs that may be claimed.
        shared: What a shared storage has beside a private one; None for a private one.
        gates: How many gates of each name are open in this engine.
        following: Passes on the transitions of a shared storage, in their order.
        shared_progress: Exchanges the progress of handlers with other engines.
        lookup: Finds the jobs that messages name.
    """

    def __init__(
        self,
        storage: Storage,
        lifecycle: Lifecycle[Any],
        given_rules: Sequence[Rule] = (),
        *,
        is_guest: bool = False,
    ) -> None:
        self.lifecycle = lifecycle
        self.is_guest = is_guest
        self.rules = Rules()
        self.when_rules_change: Callable[[int], object] = lambda _: None
        self._given_rules = given_rules
        self.table = Table()
        self.last_sequence = 0
        self.last_position = 0
        self.epochs = Epochs()
        self.events = Events()
        self.times = JobTimes(lifecycle)
        self.ready_queue = ReadyQueue(lifecycle, self._find, self._records, self.times)
        self.shared: Shared | None = None
        self.gates = Counter[str]()
        self.following = Following(self.events)
        self.shared_progress = SharedProgress(self.events)
        self.lookup = Lookup(storage, self.table)
        self._recently_ended = RecentJobs(self.table)
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
            InvalidValueError: The rules of follow-ups make a circle with those that are kept, or
                are too many with them.
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
        if not self.is_guest:
            await self._compare_lifecycles()
        self.ready_queue.intake.pauses = Pauses.read(await self._storage.pauses())
        self.take_rules(opened.rules)
        await self._keep_given_rules()
        self.table = opened.table
        self.shared = opened.shared
        if opened.shared is not None:
            opened.shared.hold_back(self.ready_queue.strays)
            self.ready_queue.handled.tell = opened.shared.handles
            self.following.when_behind = opened.shared.wake
        self.lookup = Lookup(self._storage, self.table, is_shared=opened.shared is not None)
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

    def take_rules(self, stored: StoredRules) -> None:
        """Decide by these rules from now on.

        Raises:
            StorageDamagedError: They can't be read.
        """
        self.rules = Rules.read(stored)
        self.when_rules_change(self.rules.most(self.lifecycle.running_value))

    async def read_rules(self) -> None:
        """Decide from now on by the rules as they are kept now.

        Raises:
            StorageError: They can't be read.
        """
        self.take_rules(await self._storage.rules())

    async def change_rules(
        self, change: Callable[[Rules], Rules], lines: Sequence[AuditLine] = ()
    ) -> None:
        """Keep other rules of follow-ups, unless they are as those before.

        Args:
            change: Makes them from those that are kept; called again if others have changed these.
            lines: The lines of the audit that are kept with them.

        Raises:
            StorageError: They can't be written.
        """
        while (changed := change(self.rules)).text != self.rules.text:
            kept = await self._storage.keep_rules(changed.text, lines)
            self.take_rules(await self._storage.rules() if kept is None else kept)

    async def _keep_given_rules(self) -> None:
        """Keep the rules that the engine was given.

        Raises:
            StorageError: They can't be written, or nobody knows: the engine does not open, and the
                next opening keeps them.
        """
        try:
            await self.change_rules(self._with_given_rules)
        except CommitUnknownError as unknown:
            raise reason_of(unknown) from unknown

    def _with_given_rules(self, rules: Rules) -> Rules:
        changed = rules.with_these(self._given_rules, self.lifecycle.renamed_values)
        changed.check_most(self.lifecycle.running_value)
        return changed

    @property
    def newest_numbers(self) -> Numbers:
        """Those behind which a batch numbers its changes."""
        if self.shared is not None:
            return _PROVISIONAL
        return Numbers(self.last_sequence, self.last_position)

    def time_of(self, now: datetime) -> datetime:
        """Return the time of this engine's clock as that of all engines: a server's, if shared."""
        return now if self.shared is None else now + self.shared.clock_offset

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
            self.lookup.note_written(record)
        self.events.publish(changes)
        self.last_sequence = max(self.last_sequence, self.following.note(changes))

    def hold(self, record: Record) -> None:
        """Hold a job of a shared storage that an attempt of this engine has."""
        self.table.update({record.job_id: record})
        self.ready_queue.note_held(record)

    def renew(self, held: Record, now: Record | None) -> None:
        """Hold a job as others have written it; no more, if it has another attempt, or is gone."""
        if now is not None and now.execution.token == held.execution.token:
            self.hold(now)
        else:
            self.table.remove(held)
            self.ready_queue.forget_held(held.job_id)

    def replace(self, named: CheckedOut, newer: CheckedOut, gone: Collection[str]) -> None:
        """Replace jobs among those that are named by what others have written to the storage.

        Args:
            named: The jobs.
            newer: Some of them, and others, as they are now.
            gone: The ids of jobs that were removed. The engine holds them no more.
        """
        self.lookup.forget([*newer.ids.jobs, *gone])
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
