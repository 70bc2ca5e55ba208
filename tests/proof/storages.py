"""Storages for the proofs: a plain one, and some that let others run around a commit."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import dropwhile
from pathlib import Path
from typing import Any

from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from engine import (
    DuplicateJobIdError,
    MemoryStorage,
    Storage,
    StorageError,
    StorageInUseError,
)
from engine.domain.epochs import new_epoch
from engine.domain.follow_up_rules import NO_RULES, StoredRules
from engine.domain.pauses import NO_PAUSES
from engine.storage import (
    KEPT_ATTEMPTS,
    AttemptRecord,
    CheckedOut,
    JobFilter,
    Names,
    Opened,
    ProgressCallback,
    ReadLimit,
    StoredCount,
    StoredPage,
)
from engine.storage.audit import KEPT_AUDIT_LINES, AuditLine, KeptAuditLine, removal_line
from engine.storage.record import Change, Entry, Record, entries_of, newest_records
from engine.storage.table import Table
from engine.storage.throughput import (
    STEP_TRANSITIONS,
    MinuteCount,
    MinuteCounts,
    Span,
    minute_of,
)


class PlainStorage:
    """Keeps the changes in a list and the jobs in a dictionary, as simple as can be.

    Unlike `MemoryStorage`, it has jobs of its own: ended jobs leave the owner's table and are
    checked out again, as with a storage on disk. It keeps its jobs when it is closed.
    """

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.jobs: dict[str, Record] = {}  # in the order of their creation
        self._epoch = new_epoch(1)
        self._newest_removed = (0, 0)  # the highest numbers that were removed
        self._outcomes: Mapping[str, str | None] = {}
        self._users = 0
        self.lifecycle: str | None = None
        self.stored_rules = NO_RULES
        self.audit_lines: list[KeptAuditLine] = []
        self.stored_pauses = NO_PAUSES
        self.counts = MinuteCounts()
        self.counted = 0  # the number of the newest transition among these

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        self._users += 1
        if self._users > 1:
            raise StorageInUseError(
                "this PlainStorage", "one of this process, given the same object"
            )
        if all(job.status in {*outcomes, *renamed} for job in self.jobs.values()):
            self._outcomes = outcomes
            self.jobs = {
                job_id: job.reopened(renamed, outcomes, running)
                for job_id, job in self.jobs.items()
            }
            self.changes = [_reopened(each, renamed, outcomes, running) for each in self.changes]
            self.counts.rename(renamed)
        live = Table(each for each in self.jobs.values() if not outcomes.get(each.status))
        sequence, position = self._newest_removed
        return Opened(
            live,
            last_sequence=max([sequence, *(entry.sequence for entry in self._entries())]),
            epochs=[self._epoch],
            rules=self.stored_rules,
            last_position=max([position, *(job.position for job in self.jobs.values())]),
        )

    async def keep_lifecycle(self, description: str) -> str | None:
        before, self.lifecycle = self.lifecycle, description
        return before

    async def rules(self) -> StoredRules:
        return self.stored_rules

    async def keep_rules(self, text: str, lines: Sequence[AuditLine] = ()) -> StoredRules:
        self.keep_lines(lines)
        self.stored_rules = StoredRules(self.stored_rules.number + 1, text)
        return self.stored_rules

    async def pauses(self) -> str:
        return self.stored_pauses

    async def keep_pauses(self, text: str, before: str, lines: Sequence[AuditLine] = ()) -> bool:
        del before
        self.keep_lines(lines)
        self.stored_pauses = text
        return True

    async def checkout(self, names: Names) -> CheckedOut:
        found, limit, is_full = CheckedOut(), ReadLimit(), False
        by_key = {job.idempotency_key: job for job in self.jobs.values()}
        by_payment = {job.blockchain_identifier: job for job in self.jobs.values()}
        known: tuple[Mapping[Any, Record], ...] = (self.jobs, by_key, by_payment)
        for asked, jobs, part in zip(names, known, found.parts, strict=True):
            for name in asked:
                if (job := jobs.get(name)) is None:
                    continue
                is_full = is_full or not limit.admits(job)
                if is_full:
                    part.left_out.add(name)
                else:
                    part.jobs[name] = job
        return found

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        for change in changes:
            is_new = change.sequence and change.from_status is None
            if is_new and change.record.job_id in self.jobs:
                raise DuplicateJobIdError(change.record.job_id)
        self.changes += changes
        self.jobs |= newest_records(changes)
        self.keep_lines(lines)

    def keep_lines(self, lines: Sequence[AuditLine]) -> None:
        """Keep lines of the audit behind all others."""
        for line in lines:
            number = self.audit_lines[-1].number + 1 if self.audit_lines else 1
            self.audit_lines.append(KeptAuditLine(number, *line))
        del self.audit_lines[:-KEPT_AUDIT_LINES]

    async def note_acts(self, lines: Sequence[AuditLine]) -> None:
        self.keep_lines(lines)

    async def audit(
        self, before: int | None, limit: int, job_id: str | None = None
    ) -> Sequence[KeptAuditLine]:
        below = [each for each in self.audit_lines if before is None or each.number < before]
        of_job = [each for each in below if job_id is None or each.job_id == job_id]
        return of_job[::-1][:limit]

    async def count_throughput(self) -> bool:
        entries, behind = self._entries(), self._uncounted()
        if not behind:
            return False
        first = Span.around(entries[-1].at).first
        step = [*dropwhile(lambda entry: entry.at < first, behind)][:STEP_TRANSITIONS]
        self._count(step, entries[-1].at)
        self.counted = max(self.counted, *(entry.sequence for entry in step or behind))
        return bool(self._uncounted())

    def _uncounted(self) -> list[Entry]:
        return [entry for entry in self._entries() if entry.sequence > self.counted]

    def _count(self, entries: Iterable[Entry], newest: datetime) -> None:
        self.counts.add(
            (
                MinuteCount(minute_of(each.at), each.to_status, each.from_status is None, 1)
                for each in entries
            ),
            newest,
        )

    async def throughput(self, since: datetime) -> Sequence[MinuteCount]:
        return self.counts.since(since)

    async def resolve(self, changes: Sequence[Change]) -> bool:
        return changes[-1] in self.changes

    async def count(self, jobs: JobFilter, at_most: int, after: int = 0) -> StoredCount:
        behind = (job for job in self.jobs.values() if job.position > after)
        return StoredCount(min(sum(map(jobs.admits, behind)), at_most))

    async def page(
        self, jobs: JobFilter, after: int, limit: int, *, newest_first: bool = False
    ) -> StoredPage:
        return StoredPage.of(self.listed(jobs, after, newest_first=newest_first), limit)

    def listed(self, jobs: JobFilter, after: int, *, newest_first: bool) -> list[Record]:
        """Return all jobs behind a position."""
        if newest_first:
            newest = reversed(self.jobs.values())
            behind = [job for job in newest if not after or job.position < after]
        else:
            behind = [job for job in self.jobs.values() if job.position > after]
        return [job for job in behind if jobs.admits(job)]

    async def history(
        self, job_id: str, newest: int | None = None, before: int | None = None
    ) -> Sequence[Entry] | None:
        lines = [entry for entry in self._entries() if entry.job_id == job_id]
        older = [line for line in lines if before is None or line.sequence < before]
        return older[-(newest or len(older)) :] if lines else None

    async def attempts(self, job_id: str) -> Sequence[AttemptRecord] | None:
        changes = [each for each in self.changes if each.record.job_id == job_id]
        failed = [each.failed_attempt for each in changes if each.failed_attempt]
        return failed[-KEPT_ATTEMPTS:] if job_id in self.jobs else None

    async def transitions(
        self, after: int, limit: int, job_id: str | None = None
    ) -> Sequence[Entry]:
        behind = [entry for entry in self._entries() if entry.sequence > after]
        return [entry for entry in behind if job_id in {None, entry.job_id}][:limit]

    def _entries(self) -> list[Entry]:
        return entries_of(self.changes)

    async def removed_up_to(self) -> int:
        return self._newest_removed[0]

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        families: dict[str, list[Record]] = {}
        for job in self.jobs.values():
            families.setdefault(job.root_id, []).append(job)
        ended = sum(bool(self._outcomes.get(job.status)) for job in self.jobs.values())
        removable: list[str] = []
        for family in sorted(families.values(), key=lambda its: its[0].updated_at):
            is_too_much = keep is not None and ended - len(removable) > keep
            is_old = before is not None and all(job.updated_at < before for job in family)
            has_ended = all(self._outcomes.get(job.status) for job in family)
            if has_ended and (is_too_much or is_old) and len(removable) < limit:
                removable += [job.job_id for job in family]
        self._remove(removable)
        if line is not None and removable:
            self.keep_lines([removal_line(line, len(removable))])
        return removable

    def _remove(self, job_ids: Collection[str]) -> None:
        sequence, position = self._newest_removed
        if job_ids:
            leaving = [each for each in self._uncounted() if each.job_id in job_ids]
            self._count(leaving, self._entries()[-1].at)
        for job_id in job_ids:
            position = max(position, self.jobs.pop(job_id).position)
        for change in self.changes:
            if change.record.job_id in job_ids:
                sequence = max(sequence, change.sequence or 0)
        self.changes = [each for each in self.changes if each.record.job_id not in job_ids]
        self._newest_removed = sequence, position

    def backup(self, path: Path, progress: ProgressCallback) -> None:
        del progress
        raise StorageError(f"there is nothing to be copied to {path}")

    async def aclose(self) -> None:
        self._users = max(0, self._users - 1)


async def pause(checkpoints: int) -> None:
    """Let others run."""
    for _ in range(checkpoints):
        await checkpoint()


class Yielding:
    """Lets others run before and after every commit, a random number of times.

    Inherit it before a storage.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await pause(self._random.randrange(3))
        await super().commit(changes, lines)  # type: ignore[misc]
        await pause(self._random.randrange(3))


class YieldingPlainStorage(Yielding, PlainStorage):
    """The plain storage, yielding."""


class YieldingMemoryStorage(Yielding, MemoryStorage):
    """The memory storage, yielding."""


def yielding(seed: int) -> Storage:
    """Return a yielding storage: in memory for even seeds, the plain one for odd ones."""
    return YieldingPlainStorage(seed) if seed % 2 else YieldingMemoryStorage(seed)


def _reopened(
    change: Change,
    names: Mapping[str, str],
    outcomes: Mapping[str, str | None],
    running: str,
) -> Change:
    before = change.from_status
    return replace(
        change,
        from_status=None if before is None else names.get(before, before),
        record=change.record.reopened(names, outcomes, running),
    )
