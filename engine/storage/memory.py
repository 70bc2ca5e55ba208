"""The memory storage: nothing outlives the process; otherwise a storage like any other.

It keeps columns instead of objects: a history of a million lines must not cost a kilobyte a line,
and the garbage collector must not walk it. A job's position, less one, is its row in the job
columns; a transition's sequence number, less one, is its row in the history columns. The history of
a job is a chain from its newest transition backwards.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import islice, takewhile
from pathlib import Path
from typing import Final, cast

from engine.domain.epochs import new_epoch
from engine.domain.exceptions import StorageError, StorageInUseError
from engine.domain.follow_up_rules import NO_RULES, StoredRules
from engine.domain.labels import DEFAULT_KIND
from engine.domain.pauses import NO_PAUSES
from engine.storage.answers import CheckedOut, Names, StoredCount, StoredPage
from engine.storage.audit import KEPT_AUDIT_LINES, AuditLine, KeptAuditLine, removal_line
from engine.storage.columns import Lead, RowIndex, Statuses, Texts, names_in, names_of, root_name
from engine.storage.filter import JobFilter
from engine.storage.protocol import Opened, ProgressCallback
from engine.storage.record import (
    KEPT_ATTEMPTS,
    NO_ACT,
    Act,
    AttemptRecord,
    Change,
    Entry,
    Record,
    newest_records,
)
from engine.storage.table import Table
from engine.storage.throughput import STEP_TRANSITIONS, MinuteCount, MinuteCounts, Span

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MINUTE: Final = 60_000_000  # microseconds
_SEARCHED_ROWS: Final = 1_000  # for one page or count, which take a millisecond


class MemoryStorage:
    """Keeps everything in memory.

    The jobs live as long as this object: engines that are opened with it one after another see the
    same jobs. A job that a rule of retention removes leaves 9 bytes, and 25 for each of its
    transitions.
    """

    def __init__(self) -> None:
        self._users = 0  # engines that have opened it, refused ones too: each calls `aclose`
        self._table = Table()
        # Columns of jobs.
        self._ids = Texts()
        self._statuses = Statuses()
        self._index = RowIndex(self._statuses.is_removed)  # by kind and by label
        self._newest = array("q")  # the sequence number of the job's newest transition
        # Columns of transitions.
        self._times = array("q")  # microseconds since 1970
        self._to_codes = bytearray()
        self._previous = array(
            "q"
        )  # the sequence number of the same job's transition before; 0: none
        self._rows = array("q")  # of the jobs
        self._acts: dict[int, Act] = {}  # by sequence number, where somebody has said it
        self._attempts: dict[int, Sequence[AttemptRecord]] = {}  # failed ones, by the job's row
        self._audit: deque[KeptAuditLine] = deque()
        self._throughput = MinuteCounts()
        self._counted = 0  # the number of the newest transition that is among these
        self._epoch = new_epoch(1)
        self._removed_up_to = 0
        self._forgotten = 0  # all transitions up to this one are of removed jobs
        # A heap: when jobs have ended, each with the row of its root.
        self._ends: list[tuple[datetime, int]] | None = None
        self._outcomes: Mapping[str, str | None] = {}
        self._running = ""
        self._lifecycle: str | None = None
        self._rules = NO_RULES
        self._pauses = NO_PAUSES

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        """Return the jobs of earlier engines; none, in a new storage.

        Raises:
            StorageInUseError: An engine of this process has it open.
        """
        self._users += 1
        if self._users > 1:
            raise StorageInUseError(
                "this MemoryStorage", "one of this process, given the same object"
            )
        self._reopen(dict(outcomes), renamed, running)
        self._ends = None
        numbers = (len(self._times), len(self._ids))
        return Opened(self._table, *numbers, [self._epoch], keeps_table=True, rules=self._rules)

    def _reopen(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> None:
        """Make the jobs fit another lifecycle, unless one is in a status that it doesn't know."""
        if not renamed and (outcomes, running) == (self._outcomes, self._running):
            return
        if self._table.statuses() - outcomes.keys() - renamed.keys():
            return
        self._outcomes, self._running = outcomes, running
        how = (renamed, outcomes, running)
        new = [(each, each.reopened(*how)) for each in self._table.records()]
        self._table.update({after.job_id: after for before, after in new if before != after})
        self._throughput.rename(renamed)
        for old, name in renamed.items():
            if old in self._statuses.code_of:
                self._to_codes = self._to_codes.replace(*self._statuses.rename(old, name))

    async def keep_lifecycle(self, description: str) -> str | None:
        """Keep it as long as this object."""
        before, self._lifecycle = self._lifecycle, description
        return before

    async def rules(self) -> StoredRules:
        """Return the rules of follow-ups."""
        return self._rules

    async def keep_rules(self, text: str, lines: Sequence[AuditLine] = ()) -> StoredRules:
        """Keep them as long as this object."""
        self._keep_lines(lines)
        self._rules = StoredRules(self._rules.number + 1, text)
        return self._rules

    async def pauses(self) -> str:
        """Return the pauses."""
        return self._pauses

    async def keep_pauses(self, text: str, before: str, lines: Sequence[AuditLine] = ()) -> bool:
        """Keep them as long as this object."""
        del before
        self._keep_lines(lines)
        self._pauses = text
        return True

    async def checkout(self, names: Names) -> CheckedOut:
        """Return nothing: a job that is not in the table does not exist."""
        del names
        return CheckedOut()

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        """Apply the changes; it can't fail."""
        self._keep_lines(lines)
        code_of, newest = self._statuses.code_of, self._newest
        codes, counts = self._statuses.codes, self._statuses.counts
        new_codes: list[int] = []
        previous: list[int] = []
        rows: list[int] = []
        times: list[datetime] = []
        sequence = len(self._times)
        for change in changes:
            if change.failed_attempt is not None:
                self._keep_attempt(change.record.position - 1, change.failed_attempt)
            if change.sequence is None:
                continue
            sequence += 1
            record = change.record
            row = record.position - 1
            code = code_of[record.status]
            new_codes.append(code)
            rows.append(row)
            times.append(record.updated_at)
            if change.act is not NO_ACT:
                self._acts[sequence] = change.act
            counts[code] += 1
            if change.from_status is None:
                self._ids.append(record.job_id)
                codes.append(code)
                newest.append(sequence)
                previous.append(0)
                plain = record.labels is None and record.origin is None
                if not plain or record.kind != DEFAULT_KIND:
                    for name in names_of(record):
                        self._index.add(name, row)
            else:
                counts[codes[row]] -= 1
                codes[row] = code
                previous.append(newest[row])
                newest[row] = sequence
        self._to_codes.extend(new_codes)
        self._previous.extend(previous)
        self._rows.extend(rows)
        self._times.extend(_microseconds(times))
        newest_of = newest_records(changes)
        self._table.update(newest_of)
        if self._ends is not None:
            moved = {change.record.job_id for change in changes if change.sequence is not None}
            self._note_ends(self._ends, map(newest_of.__getitem__, moved))

    def _keep_lines(self, lines: Sequence[AuditLine]) -> None:
        for line in lines:
            number = self._audit[-1].number + 1 if self._audit else 1
            self._audit.append(KeptAuditLine(number, *line))
        while len(self._audit) > KEPT_AUDIT_LINES:
            self._audit.popleft()

    async def note_acts(self, lines: Sequence[AuditLine]) -> None:
        """Keep lines of the audit."""
        self._keep_lines(lines)

    async def audit(
        self, before: int | None, limit: int, job_id: str | None = None
    ) -> Sequence[KeptAuditLine]:
        """Return lines of the audit, newest first."""
        lines = (
            line
            for line in reversed(self._audit)
            if (before is None or line.number < before) and job_id in {None, line.job_id}
        )
        return list(islice(lines, limit))

    def _keep_attempt(self, row: int, attempt: AttemptRecord) -> None:
        self._attempts[row] = (*self._attempts.get(row, ()), attempt)[-KEPT_ATTEMPTS:]

    async def resolve(self, changes: Sequence[Change]) -> bool:
        """Never called: a commit can't fail."""
        raise NotImplementedError

    async def count(self, jobs: JobFilter, at_most: int, after: int = 0) -> StoredCount:
        """Count jobs: by a column's or an index's own count, or those among some candidates."""
        if jobs.is_simple:
            return StoredCount(min(self._lead(jobs).jobs, at_most))
        admitted, searched_to = self._searched(jobs, after, newest_first=False)
        return StoredCount(sum(1 for _ in islice(admitted, at_most)), searched_to)

    async def page(
        self, jobs: JobFilter, after: int, limit: int, *, newest_first: bool = False
    ) -> StoredPage:
        """Return the jobs behind a position."""
        if jobs.is_simple:
            return StoredPage.of(
                self._records(self._candidates(jobs, after, newest_first=newest_first)), limit
            )
        admitted, searched_to = self._searched(jobs, after, newest_first=newest_first)
        return StoredPage.of(admitted, limit, searched_to)

    def _records(self, rows: Iterable[int]) -> Iterator[Record]:
        return cast("Iterator[Record]", map(self._table.find, map(self._ids.__getitem__, rows)))

    def _searched(
        self, jobs: JobFilter, after: int, *, newest_first: bool
    ) -> tuple[Iterator[Record], int | None]:
        """Return the jobs among the next candidates, and where these end if there are more."""
        rows = list(
            islice(self._candidates(jobs, after, newest_first=newest_first), _SEARCHED_ROWS)
        )
        admitted = (job for job in self._records(rows) if jobs.admits(job))
        return admitted, rows[-1] + 1 if len(rows) == _SEARCHED_ROWS else None

    def _candidates(self, jobs: JobFilter, after: int, *, newest_first: bool) -> Iterator[int]:
        """Return the rows behind a position that the leading part of a filter admits."""
        column, key, _ = self._lead(jobs)
        if newest_first:
            return column.rows_below(key, after - 1 if after else len(self._ids))
        return column.rows_from(key, after)

    def _lead(self, jobs: JobFilter) -> Lead:
        """Return the part of a filter that admits the fewest jobs."""
        statuses, index = self._statuses, self._index
        lead = Lead(statuses, jobs.status, statuses.count(jobs.status))
        for name in names_in(jobs):
            if (count := index.count(name)) < lead.jobs:
                lead = Lead(index, name, count)
        return lead

    async def count_throughput(self) -> bool:
        """Count transitions, also those of removed jobs, which leave their columns."""
        times = self._times
        if self._counted < len(times):
            newest = _EPOCH + times[-1] * _MICROSECOND
            first = (Span.around(newest).first - _EPOCH) // _MICROSECOND
            begin = bisect_left(times, first, lo=self._counted)
            end = min(begin + STEP_TRANSITIONS, len(times))
            self._throughput.add(self._counts_of(slice(begin, end)), newest)
            self._counted = end
        return self._counted < len(times)

    def _counts_of(self, which: slice) -> Iterator[MinuteCount]:
        minutes = (time // _MINUTE for time in self._times[which])
        births = (previous == 0 for previous in self._previous[which])
        counts = Counter(zip(minutes, self._to_codes[which], births, strict=True))
        for (minute, code, is_created), transitions in counts.items():
            begin = _EPOCH + minute * _MINUTE * _MICROSECOND
            yield MinuteCount(begin, self._statuses.names[code], is_created, transitions)

    async def throughput(self, since: datetime) -> Sequence[MinuteCount]:
        """Return the counts."""
        return self._throughput.since(since)

    async def history(
        self, job_id: str, newest: int | None = None, before: int | None = None
    ) -> Sequence[Entry] | None:
        """Follow the job's transitions back, at most to its creation."""
        record = self._table.find(job_id)
        if record is None:
            return None
        numbers = (each for each in self._numbers(record) if before is None or each < before)
        return [*map(self._entry, islice(numbers, newest))][::-1]

    async def attempts(self, job_id: str) -> Sequence[AttemptRecord] | None:
        """Return the failed attempts of a job."""
        record = self._table.find(job_id)
        return None if record is None else self._attempts.get(record.position - 1, ())

    async def transitions(
        self, after: int, limit: int, job_id: str | None = None
    ) -> Sequence[Entry]:
        """Return the transitions behind a sequence number, of all jobs or of one."""
        if job_id is None:
            return [self._entry(sequence) for sequence in islice(self._kept(after), limit)]
        record = self._table.find(job_id)
        if record is None:
            return []
        behind = [*takewhile(after.__lt__, self._numbers(record))]
        return [self._entry(sequence) for sequence in reversed(behind[-limit:])]

    def _numbers(self, record: Record) -> Iterator[int]:
        """Yield the numbers of a job's transitions, the newest first."""
        sequence = self._newest[record.position - 1]
        while sequence:
            yield sequence
            sequence = self._previous[sequence - 1]

    def _entry(self, sequence: int) -> Entry:
        index = sequence - 1
        previous = self._previous[index]
        from_status = self._statuses.names[self._to_codes[previous - 1]] if previous else None
        to_status = self._statuses.names[self._to_codes[index]]
        at = _EPOCH + self._times[index] * _MICROSECOND
        act = self._acts.get(sequence, NO_ACT)
        job_id = self._ids[self._rows[index]]
        return Entry(sequence, job_id, from_status, to_status, at, act.by, act.reason)

    def _kept(self, after: int) -> Iterator[int]:
        """Return the sequence numbers above one, without those of removed jobs."""
        is_removed, rows = self._statuses.is_removed, self._rows
        # A watcher from the beginning does not go through all transitions that were ever removed.
        while self._forgotten < len(rows) and is_removed(rows[self._forgotten]):
            self._forgotten += 1
        for sequence in range(max(after, self._forgotten) + 1, len(rows) + 1):
            if not is_removed(rows[sequence - 1]):
                yield sequence

    async def removed_up_to(self) -> int:
        """Return the highest number of a removed transition."""
        return self._removed_up_to

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        """Remove ended jobs from the table, and mark their rows."""
        removed = self._remove_ended(before, keep, limit)
        if line is not None and removed:
            self._keep_lines([removal_line(line, len(removed))])
        return removed

    def _remove_ended(self, before: datetime | None, keep: int | None, limit: int) -> Sequence[str]:
        if self._ends is None:
            self._ends = []
            self._note_ends(self._ends, self._table.records())
        ends, removed = self._ends, list[str]()
        while ends and len(removed) < limit:
            ended_at, row = ends[0]
            is_old = before is not None and ended_at < before
            if not is_old and (keep is None or self._count_ended() <= keep):
                break
            heappop(ends)
            family = [] if self._statuses.is_removed(row) else self._family(row)
            if not family:
                continue
            if (last := max(each.updated_at for each in family)) > ended_at:
                heappush(ends, (last, row))  # a clock set back lets the last end be no newest one
                continue
            removed += [self._remove(each.position - 1) for each in family]
        return removed

    def _count_ended(self) -> int:
        return sum(
            self._statuses.count(status)
            for status, outcome in self._outcomes.items()
            if outcome is not None
        )

    def _family(self, row: int) -> Sequence[Record]:
        """Return the job of a row with all its follow-ups; nothing while one has not ended."""
        [root] = self._records([row])
        rows = self._index.rows_from(root_name(root.job_id), 0)
        family = [root, *self._records(rows)]
        return family if all(map(self._has_ended, family)) else []

    def _has_ended(self, record: Record) -> bool:
        return self._outcomes.get(record.status) is not None

    def _note_ends(self, ends: list[tuple[datetime, int]], records: Iterable[Record]) -> None:
        """Note when jobs have ended. A follow-up's end is that of all with the same root."""
        for record in records:
            if self._has_ended(record):
                root = self._table.find(record.root_id) or record
                heappush(ends, (record.updated_at, root.position - 1))

    def _remove(self, row: int) -> str:
        """Remove the job of a row, and return its id."""
        [record] = self._records([row])
        job_id = record.job_id
        self._forget_acts(row)
        self._attempts.pop(row, None)
        self._table.remove(record)
        self._statuses.remove(row)
        for name in names_of(record):
            self._index.note_removal(name)
        self._removed_up_to = max(self._removed_up_to, self._newest[row])
        self._ids.clear(row)
        return job_id

    def _forget_acts(self, row: int) -> None:
        sequence = self._newest[row] if self._acts else 0
        while sequence:
            self._acts.pop(sequence, None)
            sequence = self._previous[sequence - 1]

    def backup(self, path: Path, progress: ProgressCallback) -> None:
        """Refuse.

        Raises:
            StorageError: Always.
        """
        del progress
        raise StorageError(f"jobs in memory can't be copied to {path}: keep them in a file")

    async def aclose(self) -> None:
        """Let another engine open it. The jobs stay as long as this object."""
        self._users = max(0, self._users - 1)


def _microseconds(times: list[datetime]) -> list[int]:
    """Return times as microseconds since 1970. Most rounds have only one."""
    numbers = {time: (time - _EPOCH) // _MICROSECOND for time in set(times)}
    return [numbers[time] for time in times]
