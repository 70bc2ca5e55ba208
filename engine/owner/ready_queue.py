"""The ready queue: the jobs that may be claimed, by kind, and those that attempts have.

It holds committed jobs and belongs to the owner. It decides nothing: a claim checks each job again.
A storage that engines on many machines share has the ready jobs itself, so here are only those that
attempts of this engine have.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from datetime import datetime
from typing import Any

from engine.domain.lifecycle import Lifecycle
from engine.owner.handled_kinds import HandledKinds
from engine.owner.intake import Intake
from engine.owner.offer import Offer
from engine.owner.orphans import Orphans
from engine.owner.ranked_jobs import RankedByKind
from engine.owner.strays import Strays
from engine.owner.times import JobTimes
from engine.storage.record import NO_EXECUTION, Record
from engine.storage.shared import ReadyCounts


class ReadyQueue:
    """Holds the running jobs without an attempt; suspects apart, see `engine.domain.deaths`.

    It is filled when it is first needed: an engine without workers does not pay for it.

    Args:
        lifecycle: Has the running status.
        find: Returns the committed job that has an id.
        records: Returns all committed jobs that are live.
        times: Takes the times at which jobs may be claimed again.

    Attributes:
        is_filled: Whether it has the ready jobs that no attempt has ever had.
        orphans: The jobs whose attempts died with their engine.
        strays: The jobs that stray threads hold back.
        intake: Which jobs may be claimed here.
        handled: The kinds that have a handler in this engine.
    """

    def __init__(
        self,
        lifecycle: Lifecycle[Any],
        find: Callable[[str], Record | None],
        records: Callable[[], Iterable[Record]],
        times: JobTimes,
    ) -> None:
        self._running = lifecycle.running_value
        self._find = find
        self._records = records
        self.is_filled = False
        self._retries = times.retries
        self._innocent = RankedByKind(find)
        self._suspects = RankedByKind(find)
        self._held: set[str] = set()
        self._held_suspects: set[str] = set()
        self.orphans = Orphans()
        self.strays = Strays()
        self.intake = Intake()
        self.handled = HandledKinds(times.notices, self._ready_kinds, self.intake)

    def fill(self) -> None:
        """Take in all ready jobs; the second time, do nothing."""
        if not self.is_filled:
            self.is_filled = True
            for record in self._records():  # the queue has those with an execution already
                if record.status == self._running and record.execution is NO_EXECUTION:
                    self.note(record)

    def _ready_kinds(self) -> set[str]:
        return self._innocent.keys() | self._suspects.keys()

    def counts(self) -> ReadyCounts:
        """Return the numbers of jobs that run, or could."""
        self.fill()
        kinds = self._ready_kinds()
        paused = kinds & self.intake.pauses.by_kind.keys()
        others = {kind for kind in kinds - paused if kind not in self.handled}
        suspects = set[str]() if self._held_suspects else {*self._suspects}
        may_run = suspects - paused  # one at a time, because a suspect runs alone
        return ReadyCounts(
            self._ready(kinds - paused) + bool(may_run),
            len(self._held),
            self._ready(others) + bool(may_run and may_run <= others),
            self._ready(paused) + bool(suspects and not may_run),
        )

    def _has(self, kind: str) -> bool:
        return kind in self._innocent or kind in self._suspects

    def _ready(self, kinds: Collection[str]) -> int:
        """Return the number of ready jobs of some kinds, without the suspects."""
        ready = sum(len(self._innocent[kind]) for kind in kinds if kind in self._innocent)
        held_back = filter(None, map(self._find, self.strays))
        return ready - sum(each.kind in kinds and self._innocent.has(each) for each in held_back)

    def unhandled_kind(self, job_id: str) -> str | None:
        """Return the kind of a ready job if workers are open, and none has that kind."""
        record = self._find(job_id)
        if record is None or not self.handled or record.kind in self.handled:
            return None
        if record.kind in self.intake.pauses.by_kind:
            return None
        is_ready = self._innocent.has(record) or self._suspects.has(record)
        return record.kind if is_ready else None

    def paused_kind(self, job_id: str, status: str, kind: str) -> str | None:
        """Return the kind of a job that could run but for its pause, as far as is known here."""
        if status != self._running or job_id in self._held:
            return None
        return kind if kind in self.intake.pauses.by_kind else None

    def note(self, record: Record) -> None:
        """Add, move or remove a job as it was committed."""
        job_id, execution = record.job_id, record.execution
        runs, retry_at = record.status == self._running, execution.retry_at
        is_orphan = bool(self.orphans) and self.orphans.keep(record)
        is_held = execution.token is not None and not is_orphan
        if runs and is_held:
            self.note_held(record)
        else:
            self.forget_held(job_id)
        if runs and not is_held and retry_at is None:
            self._add(record, record.updated_at)
        else:
            self.discard(record)
        self._retries.set(job_id, retry_at if runs and not is_held else None)

    def note_held(self, record: Record) -> None:
        """Note that an attempt of this engine has a job."""
        self._held.add(record.job_id)
        if record.execution.died_attempt is not None:
            self._held_suspects.add(record.job_id)

    def forget_held(self, job_id: str) -> None:
        """Note that no attempt of this engine has a job."""
        self._held.discard(job_id)
        self._held_suspects.discard(job_id)

    @property
    def held(self) -> Collection[str]:
        """The ids of the jobs that attempts of this engine have."""
        return self._held

    @property
    def has_suspect(self) -> bool:
        """Whether an attempt of this engine has a suspect."""
        return bool(self._held_suspects)

    def _add(self, record: Record, at: datetime) -> None:
        """Add a job that is ready since then."""
        innocent = record.execution.died_attempt is None
        if (self._innocent if innocent else self._suspects).add(record):
            self.handled.note_ready(record.kind, at)

    def discard(self, record: Record) -> None:
        """Remove a job that is not ready."""
        was_last = self._innocent.discard(record)
        if self._suspects:
            was_last = self._suspects.discard(record) or was_last
        if was_last and not self._has(record.kind):
            self.handled.forget(record.kind)

    def advance(self, now: datetime) -> None:
        """Add the jobs whose next attempt is due."""
        for job_id in self._retries.due(now, len(self._retries)):
            self._retries.set(job_id, None)
            if (record := self._find(job_id)) is not None:
                self._add(record, now)

    def offer(self, changed: Mapping[str, Record], fresh: Iterable[Record] = ()) -> Offer:
        """Offer the ready jobs to the claims of a round.

        Args:
            changed: The jobs that a batch changes, as they are after it.
            fresh: Those of them that are ready, in their order.
        """
        without: Container[str] = changed
        if self.strays:
            without = changed.keys() | self.strays.keys()
        has_suspect = any(_is_held(job_id, changed) for job_id in self._held_suspects)
        most_suspects, paused = 0 if has_suspect else 1, self.intake.pauses.by_kind
        return Offer(self._innocent, self._suspects, without, fresh, most_suspects, paused)


def _is_held(job_id: str, changed: Mapping[str, Record]) -> bool:
    """Return whether the attempt of a committed job still has it after a batch."""
    record = changed.get(job_id)
    return record is None or record.execution.token is not None
