"""Storages with one bug each, and the suite for all of them.

pytest does not collect this file; `test_suite_catches` runs it in a process of its own.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace as replaced
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from engine import DuplicateJobIdError, SQLiteStorage, StorageError, StorageInUseError
from engine.domain.epochs import new_epoch
from engine.domain.follow_up_rules import NO_RULES, StoredRules
from engine.domain.pauses import NO_PAUSES
from engine.storage import (
    KEPT_ATTEMPTS,
    AttemptRecord,
    CheckedOut,
    CountedKinds,
    EngineRow,
    Found,
    JobFilter,
    Label,
    MinuteCount,
    Names,
    Opened,
    ProgressCallback,
    StoredCount,
    StoredPage,
)
from engine.storage.answers import Committed
from engine.storage.audit import AuditLine, KeptAuditLine, removal_line
from engine.storage.record import (
    NO_EXECUTION,
    Change,
    Entry,
    Execution,
    Record,
    newest_records,
)
from engine.storage.throughput import MinuteCounts
from engine.testing import NewStorage, StorageSuite
from engine.testing.instructing import InstructingTests
from engine.testing.overseeing import OverseeingTests
from engine.testing.ruling import RulingTests
from engine.testing.shared_fixtures import EndLease
from engine.testing.values import MICROSECOND
from tests.proof.shared_storage import Place, PlainShared
from tests.proof.storages import PlainStorage


def _changed(change: Change, **fields: Any) -> Change:  # noqa: ANN401 - of a record
    """Return a change whose record has these values instead."""
    return replace(change, record=replace(change.record, **fields))


# Bugs of commits.


class AppliesHalfABatch(PlainStorage):
    """Notices a taken id only when it reaches it, and keeps the changes before it."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        for change in changes:
            await super().commit([change], lines)


class OverwritesEndedJobs(PlainStorage):
    """Does not notice a taken id."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        self.changes += changes
        self.jobs |= newest_records(changes)
        self.keep_lines(lines)


class NamesTheWrongJob(PlainStorage):
    """Names another id as taken."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        try:
            await super().commit(changes, lines)
        except DuplicateJobIdError as error:
            raise DuplicateJobIdError(changes[-1].record.job_id) from error


class KeepsTheLastChangeOfABatch(PlainStorage):
    """Keeps only the newest change of each job in a batch."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit(list({each.record.job_id: each for each in changes}.values()), lines)


class TakesEmptyForNone(PlainStorage):
    """Keeps no empty texts."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit(
            [
                _changed(each, result=each.record.result or None, error=each.record.error or None)
                for each in changes
            ],
            lines,
        )


class CutsLongResults(PlainStorage):
    """Keeps 65,535 characters of a result."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit(
            [
                _changed(each, result=each.record.result and each.record.result[:65_535])
                for each in changes
            ],
            lines,
        )


class CutsMicroseconds(PlainStorage):
    """Keeps times to the millisecond."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit([_changed(each, updated_at=_cut(each)) for each in changes], lines)


def _cut(change: Change) -> datetime:
    at = change.record.updated_at
    return at.replace(microsecond=at.microsecond // 1_000 * 1_000)


class ForgetsLaterPayments(PlainStorage):
    """Keeps the payment with which a job was created."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        later = {each.record.job_id for each in changes if each.is_payment}
        await super().commit(
            [
                _changed(each, blockchain_identifier=None) if each.record.job_id in later else each
                for each in changes
            ],
            lines,
        )


class FindsNoLaterPayments(SQLiteStorage):
    """Does not write the payment of a job that exists, but its checksum."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit([replace(each, is_payment=False) for each in changes], lines)


# Bugs of executions, and of changes that are no transitions.


class LosesInputs(PlainStorage):
    """Keeps the input until a job changes."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit(
            [_changed(each, input=None) if each.from_status else each for each in changes], lines
        )


class LosesExecutions(PlainStorage):
    """Loses the execution of an ended job."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit(
            [
                _changed(each, execution=NO_EXECUTION) if each.record.outcome else each
                for each in changes
            ],
            lines,
        )


class NeverTakesAnExecutionAway(PlainStorage):
    """Keeps the old execution of a job that has none any more."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        executions = {job_id: job.execution for job_id, job in self.jobs.items()}
        await super().commit([_left(each, executions) for each in changes], lines)


def _left(change: Change, executions: Mapping[str, Execution]) -> Change:
    record = change.record
    if record.execution != NO_EXECUTION or record.job_id not in executions:
        return change
    return _changed(change, execution=executions[record.job_id])


class DropsAmendments(PlainStorage):
    """Commits only transitions."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit([each for each in changes if each.sequence is not None], lines)


class NumbersAmendments(PlainStorage):
    """Gives the previous transition's number to a change that is no transition."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        number = max((line.sequence for line in self._entries()), default=0)
        numbered: list[Change] = []
        for change in changes:
            number = change.sequence or number
            numbered.append(replace(change, sequence=number))
        await super().commit(numbered, lines)


class KeepsTheFirstAmendment(PlainStorage):
    """Takes the first of several changes with a job's newest version."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit(
            [*changes, *(each for each in reversed(changes) if not each.sequence)], lines
        )


class ForgetsAmendments(PlainStorage):
    """Keeps changes that are no transitions only until it is closed."""

    async def aclose(self) -> None:
        await super().aclose()
        moved = newest_records([each for each in self.changes if each.sequence is not None])
        self.jobs = {job_id: moved[job_id] for job_id in self.jobs}


# Bugs of follow-ups.


class LosesOrigins(PlainStorage):
    """Keeps the origin of a job until that moves."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit(
            [
                _changed(each, origin=None) if each.sequence and each.from_status else each
                for each in changes
            ],
            lines,
        )


class LosesTheFirstOfARow(PlainStorage):
    """Keeps only follow-ups apart from others."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit(
            [each if each.record.parent_id else _changed(each, origin=None) for each in changes],
            lines,
        )


class ForgetsOrigins(PlainStorage):
    """Keeps origins only until it is closed."""

    async def aclose(self) -> None:
        await super().aclose()
        self.jobs = {job_id: replace(job, origin=None) for job_id, job in self.jobs.items()}


class RemovesFollowUpsAlone(PlainStorage):
    """Removes each ended job by itself."""

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        jobs = self.jobs
        self.jobs = {job_id: replace(job, origin=None) for job_id, job in jobs.items()}
        removed = await super().remove_ended(before, keep, limit, line)
        self.jobs = {job_id: jobs[job_id] for job_id in self.jobs}
        return removed


class RemovesByTheEndOfTheRoot(PlainStorage):
    """Takes a family for as old as the job that all others follow."""

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        jobs = self.jobs
        self.jobs = {
            job_id: replace(job, updated_at=jobs[job.root_id].updated_at)
            for job_id, job in jobs.items()
        }
        removed = await super().remove_ended(before, keep, limit, line)
        self.jobs = {job_id: jobs[job_id] for job_id in self.jobs}
        return removed


class CountsFamilies(PlainStorage):
    """Takes the number of ended jobs for that of families, which are fewer."""

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        follow_ups = sum(job.parent_id is not None for job in self.jobs.values())
        return await super().remove_ended(
            before, None if keep is None else keep + follow_ups, limit, line
        )


class ForgetsTheRules(PlainStorage):
    """Keeps the rules of follow-ups only until it is closed."""

    async def aclose(self) -> None:
        await super().aclose()
        self.stored_rules = NO_RULES


class KeepsTheFirstRules(PlainStorage):
    """Keeps the rules that came first."""

    async def keep_rules(self, text: str, lines: Sequence[AuditLine] = ()) -> StoredRules:
        return await super().keep_rules(text if self.stored_rules == NO_RULES else "[]", lines)


class ForgetsThePauses(PlainStorage):
    """Keeps the pauses only until it is closed."""

    async def aclose(self) -> None:
        await super().aclose()
        self.stored_pauses = NO_PAUSES


class KeepsPausesOfNewKinds(PlainStorage):
    """Keeps more paused kinds, and never fewer."""

    async def keep_pauses(self, text: str, before: str, lines: Sequence[AuditLine] = ()) -> bool:
        return await super().keep_pauses(max(text, before, key=len), before, lines)


class ForgetsTheLifecycle(PlainStorage):
    """Keeps the description of a lifecycle only until it is closed."""

    async def aclose(self) -> None:
        await super().aclose()
        self.lifecycle = None


# Bugs of failed attempts.


class LosesAttempts(PlainStorage):
    """Keeps the failed attempts of changes that are no transitions."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit(
            [replace(each, failed_attempt=None) if each.sequence else each for each in changes],
            lines,
        )


class KeepsAllAttempts(PlainStorage):
    """Keeps every failed attempt."""

    async def attempts(self, job_id: str) -> Sequence[AttemptRecord] | None:
        if job_id not in self.jobs:
            return None
        changes = [each for each in self.changes if each.record.job_id == job_id]
        return [each.failed_attempt for each in changes if each.failed_attempt]


class KeepsTheFirstAttempts(KeepsAllAttempts):
    """Keeps the oldest failed attempts."""

    async def attempts(self, job_id: str) -> Sequence[AttemptRecord] | None:
        found = await super().attempts(job_id)
        return None if found is None else found[:KEPT_ATTEMPTS]


class ShowsTheNewestAttemptFirst(PlainStorage):
    """Returns the failed attempts in the wrong order."""

    async def attempts(self, job_id: str) -> Sequence[AttemptRecord] | None:
        found = await super().attempts(job_id)
        return None if found is None else found[::-1]


class InventsAttempts(PlainStorage):
    """Returns no attempts for a job that does not exist."""

    async def attempts(self, job_id: str) -> Sequence[AttemptRecord] | None:
        return await super().attempts(job_id) or []


class CutsErrors(PlainStorage):
    """Keeps 255 characters of the error of an attempt."""

    async def attempts(self, job_id: str) -> Sequence[AttemptRecord] | None:
        found = await super().attempts(job_id)
        return None if found is None else [each._replace(error=each.error[:255]) for each in found]


class KeepsAttemptsOfRefusedBatches(PlainStorage):
    """Keeps the failed attempts of a batch before it is refused."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        try:
            await super().commit(changes, lines)
        except DuplicateJobIdError:
            self.changes += [each for each in changes if each.failed_attempt]
            raise


class LosesLinesOfTheAudit(PlainStorage):
    """Keeps no line that comes with changes."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        del lines
        await super().commit(changes)


class KeepsLinesOfRefusedBatches(PlainStorage):
    """Keeps the lines of the audit before it refuses their batch."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        self.keep_lines(lines)
        await super().commit(changes)


class KeepsAllLinesOfTheAudit(PlainStorage):
    """Drops none of the oldest lines."""

    def keep_lines(self, lines: Sequence[AuditLine]) -> None:
        numbers = itertools.count(len(self.audit_lines) + 1)
        self.audit_lines += [KeptAuditLine(next(numbers), *line) for line in lines]


class LosesLinesOfRules(PlainStorage):
    """Keeps no line that comes with rules."""

    async def keep_rules(self, text: str, lines: Sequence[AuditLine] = ()) -> StoredRules:
        del lines
        return await super().keep_rules(text)


class LosesLinesOfPauses(PlainStorage):
    """Keeps no line that comes with pauses."""

    async def keep_pauses(self, text: str, before: str, lines: Sequence[AuditLine] = ()) -> bool:
        del lines
        return await super().keep_pauses(text, before)


class LosesLinesOfRemovals(PlainStorage):
    """Keeps no line that comes with a removal."""

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        del line
        return await super().remove_ended(before, keep, limit)


class NotesRemovalsOfNothing(PlainStorage):
    """Keeps the line of a removal though no job was removed."""

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        removed = await super().remove_ended(before, keep, limit)
        if line is not None:
            self.keep_lines([removal_line(line, len(removed))])
        return removed


class KeepsAttemptsOfRemovedJobs(PlainStorage):
    """Gives the failed attempts of a removed job to the next one with its id."""

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        failed = [replace(each, sequence=None) for each in self.changes if each.failed_attempt]
        removed = await super().remove_ended(before, keep, limit, line)
        self.changes = [*(each for each in failed if each not in self.changes), *self.changes]
        return removed


# Bugs of the throughput.


class CountsAgain(PlainStorage):
    """Counts from the beginning when it is opened again."""

    async def aclose(self) -> None:
        await super().aclose()
        self.counted = 0


class CountsAllAtOnce(PlainStorage):
    """Takes one step for all, however many there are."""

    async def count_throughput(self) -> bool:
        while await super().count_throughput():
            pass
        return False


class TakesBirthsForMoves(PlainStorage):
    """Does not tell which transitions have created their jobs."""

    async def throughput(self, since: datetime) -> Sequence[MinuteCount]:
        return [each._replace(is_created=False) for each in await super().throughput(since)]


class KeepsCountsForEver(PlainStorage):
    """Drops none of the old counts."""

    async def count_throughput(self) -> bool:
        before = await self.throughput(datetime.min.replace(tzinfo=UTC))
        has_more = await super().count_throughput()
        for each in before:
            if each not in await self.throughput(each.minute):
                self.counts.add([each], each.minute)
        return has_more


class ForgetsCountsOfRemovedJobs(PlainStorage):
    """Removes transitions that it has not counted."""

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        counts, self.counts = self.counts, MinuteCounts()
        removed = await super().remove_ended(before, keep, limit, line)
        self.counts = counts
        return removed


class CountsWhatIsLongAgo(PlainStorage):
    """Begins a first count at the first transition."""

    async def count_throughput(self) -> bool:
        entries = self._uncounted()
        self._count(entries, entries[0].at if entries else datetime.now(UTC))
        self.counted = max([self.counted, *(each.sequence for each in entries)])
        return False


class CountsUnderOldNames(PlainStorage):
    """Keeps the counts of a renamed status under its old name."""

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        counts, self.counts = self.counts, MinuteCounts()
        opened = await super().open(outcomes, renamed, running)
        self.counts = counts
        return opened


# Bugs of transitions.


class WatchesOneTooFew(PlainStorage):
    """Begins a page of transitions one too late."""

    async def transitions(
        self, after: int, limit: int, job_id: str | None = None
    ) -> Sequence[Entry]:
        return await super().transitions(after + 1, limit, job_id)


class WatchesEveryJob(PlainStorage):
    """Returns the transitions of all jobs for those of one."""

    async def transitions(
        self, after: int, limit: int, job_id: str | None = None
    ) -> Sequence[Entry]:
        found = await super().transitions(after, limit)
        return found if job_id in self.jobs else await super().transitions(after, limit, job_id)


class WatchesRemovedJobs(PlainStorage):
    """Returns the transitions of removed jobs."""

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        self.__dict__.setdefault("removed", [])
        lines = self._entries()
        removed = await super().remove_ended(before, keep, limit, line)
        self.__dict__["removed"] += [line for line in lines if line.job_id not in self.jobs]
        return removed

    async def transitions(
        self, after: int, limit: int, job_id: str | None = None
    ) -> Sequence[Entry]:
        lines = sorted([*self._entries(), *self.__dict__.get("removed", [])])
        behind = [line for line in lines if line.sequence > after]
        return [line for line in behind if job_id in {None, line.job_id}][:limit]


# Bugs of reads.


class LosesKeys(PlainStorage):
    """Does not find the keys of ended jobs."""

    async def checkout(self, names: Names) -> CheckedOut:
        return replaced(await super().checkout(names), keys=Found())


class LosesPayments(PlainStorage):
    """Does not find the payments of ended jobs."""

    async def checkout(self, names: Names) -> CheckedOut:
        return replaced(await super().checkout(names), payments=Found())


class FoldsCase(PlainStorage):
    """Compares ids as some databases compare texts."""

    async def checkout(self, names: Names) -> CheckedOut:
        by_folded = {job_id.casefold(): job for job_id, job in self.jobs.items()}
        found = {each: job for each in names.job_ids if (job := by_folded.get(each.casefold()))}
        return replaced(await super().checkout(names), ids=Found(found))


class TrimsKeys(PlainStorage):
    """Ignores spaces at the ends of keys."""

    async def checkout(self, names: Names) -> CheckedOut:
        trimmed = dict.fromkeys(key.rstrip(" ") for key in names.keys)
        keys = [*trimmed, *(set(names.keys) - trimmed.keys())]
        found = await super().checkout(names._replace(keys=keys))
        by_key = {key: job for key in names.keys if (job := found.keys.jobs.get(key.rstrip(" ")))}
        return replaced(found, keys=Found(found.keys.jobs | by_key))


class PagesBackwards(PlainStorage):
    """Pages in the wrong order."""

    async def page(
        self, jobs: JobFilter, after: int, limit: int, *, newest_first: bool = False
    ) -> StoredPage:
        page = await super().page(jobs, after, limit, newest_first=newest_first)
        return StoredPage(page.jobs[::-1], page.next_after)


class RepeatsAJob(PlainStorage):
    """Begins a page with the last job of the page before."""

    async def page(
        self, jobs: JobFilter, after: int, limit: int, *, newest_first: bool = False
    ) -> StoredPage:
        return await super().page(jobs, max(after - 1, 0), limit, newest_first=newest_first)


class PagesWithoutABound(PlainStorage):
    """Gives as many jobs as are asked for, however large."""

    async def page(
        self, jobs: JobFilter, after: int, limit: int, *, newest_first: bool = False
    ) -> StoredPage:
        listed = self.listed(jobs, after, newest_first=newest_first)
        has_more = len(listed) > limit
        return StoredPage(listed[:limit], listed[limit - 1].position if has_more else None)


class EndsWithALargePage(PlainStorage):
    """Says that nothing follows on a page that ends early."""

    async def page(
        self, jobs: JobFilter, after: int, limit: int, *, newest_first: bool = False
    ) -> StoredPage:
        page = await super().page(jobs, after, limit, newest_first=newest_first)
        return page if len(page.jobs) == limit else StoredPage(page.jobs)


class PromisesMore(PlainStorage):
    """Takes a full page for one that others follow."""

    async def page(
        self, jobs: JobFilter, after: int, limit: int, *, newest_first: bool = False
    ) -> StoredPage:
        page = await super().page(jobs, after, limit, newest_first=newest_first)
        is_full = len(page.jobs) == limit
        return StoredPage(page.jobs, page.jobs[-1].position) if is_full else page


class ChecksOutWithoutABound(PlainStorage):
    """Checks out all at once, however large."""

    async def checkout(self, names: Names) -> CheckedOut:
        found = CheckedOut()
        for field, asked in names._asdict().items():
            for name in asked:
                found.add(await super().checkout(Names(**{field: [name]})))
        return found


class ForgetsWhatItLeavesOut(PlainStorage):
    """Does not say which jobs it had no room for."""

    async def checkout(self, names: Names) -> CheckedOut:
        found = await super().checkout(names)
        found.take_left_out()
        return found


class ChecksOutTheLastFirst(PlainStorage):
    """Looks for jobs in another order than they are named."""

    async def checkout(self, names: Names) -> CheckedOut:
        return await super().checkout(names._replace(job_ids=names.job_ids[::-1]))


class CountsWhatWas(PlainStorage):
    """Counts every job that ever had a status."""

    async def count(self, jobs: JobFilter, at_most: int, after: int = 0) -> StoredCount:
        counted = await super().count(jobs, at_most, after)
        if jobs.status is None:
            return counted
        had = {each.record.job_id for each in self.changes if each.record.status == jobs.status}
        return StoredCount(min(len(had), at_most))


# Bugs of filters.


class ChangesTheFilter(PlainStorage):
    """Takes a filter for another one."""

    def other(self, jobs: JobFilter) -> JobFilter:
        raise NotImplementedError

    async def count(self, jobs: JobFilter, at_most: int, after: int = 0) -> StoredCount:
        return await super().count(self.other(jobs), at_most, after)

    def listed(self, jobs: JobFilter, after: int, *, newest_first: bool) -> list[Record]:
        return super().listed(self.other(jobs), after, newest_first=newest_first)


class AsksForOneLabel(ChangesTheFilter):
    """Ignores all labels but the first."""

    def other(self, jobs: JobFilter) -> JobFilter:
        return jobs._replace(labels=jobs.labels[:1])


class FoldsLabels(ChangesTheFilter):
    """Compares labels as some databases compare texts."""

    def other(self, jobs: JobFilter) -> JobFilter:
        labels = [Label(name.lower(), value.rstrip(" ")) for name, value in jobs.labels]
        return jobs._replace(labels=tuple(labels))


class TakesDefaultForAny(ChangesTheFilter):
    """Does not ask for the kind that it keeps as nothing."""

    def other(self, jobs: JobFilter) -> JobFilter:
        return jobs._replace(kind=None) if jobs.kind == "default" else jobs


class AsksForKindOrLabel(ChangesTheFilter):
    """Ignores the kind where there is a label."""

    def other(self, jobs: JobFilter) -> JobFilter:
        return jobs._replace(kind=None) if jobs.labels else jobs


class IncludesTheEnd(ChangesTheFilter):
    """Finds jobs that were created just at the end of a range."""

    def other(self, jobs: JobFilter) -> JobFilter:
        end = jobs.created_before
        return jobs if end is None else jobs._replace(created_before=end + MICROSECOND)


class IgnoresRoots(ChangesTheFilter):
    """Takes the follow-ups of one job for those of any."""

    def other(self, jobs: JobFilter) -> JobFilter:
        return jobs if jobs.root_id is None else jobs._replace(root_id=None)


class CountsFollowUps(ChangesTheFilter):
    """Leaves follow-ups out only where nothing else is asked for."""

    def other(self, jobs: JobFilter) -> JobFilter:
        return jobs._replace(follow_ups=jobs.follow_ups or jobs != JobFilter(follow_ups=False))


class CountsPastTheLimit(PlainStorage):
    """Counts all jobs, however few are enough."""

    async def count(self, jobs: JobFilter, at_most: int, after: int = 0) -> StoredCount:
        return await super().count(jobs, max(at_most, len(self.jobs)), after)


class LosesTheLastPage(PlainStorage):
    """Ends one job before the oldest, if the newest come first."""

    async def page(
        self, jobs: JobFilter, after: int, limit: int, *, newest_first: bool = False
    ) -> StoredPage:
        page = await super().page(jobs, after, limit, newest_first=newest_first)
        is_lost = newest_first and after and page.next_after is None
        return StoredPage(page.jobs[:-1]) if is_lost else page


class KeepsLabelsOfRemovedJobs(PlainStorage):
    """Counts removed jobs by their labels, too."""

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        jobs = dict(self.jobs)
        removed = await super().remove_ended(before, keep, limit, line)
        self.__dict__.setdefault("removed", []).extend(jobs[job_id] for job_id in removed)
        return removed

    async def count(self, jobs: JobFilter, at_most: int, after: int = 0) -> StoredCount:
        counted = await super().count(jobs, at_most, after)
        removed: list[Record] = self.__dict__.get("removed", [])
        more = sum(jobs.admits(job) for job in removed) if jobs.labels else 0
        return counted._replace(jobs=min(counted.jobs + more, at_most))


class ForgetsHistory(PlainStorage):
    """Keeps only the newest two transitions of a history."""

    async def history(self, job_id: str, *how: int | None) -> Sequence[Entry] | None:
        lines = await super().history(job_id, *how)
        return None if lines is None else lines[-2:]


class ShowsTheOldestLines(PlainStorage):
    """Returns the oldest transitions where the newest are asked for."""

    async def history(
        self, job_id: str, newest: int | None = None, before: int | None = None
    ) -> Sequence[Entry] | None:
        lines = await super().history(job_id, None, before)
        return None if lines is None else lines[:newest]


class ShowsALineTwice(PlainStorage):
    """Begins an older page of a history with the last line of the page before."""

    async def history(
        self, job_id: str, newest: int | None = None, before: int | None = None
    ) -> Sequence[Entry] | None:
        return await super().history(job_id, newest, None if before is None else before + 1)


class InventsHistory(PlainStorage):
    """Returns an empty history for a job that does not exist."""

    async def history(self, job_id: str, *how: int | None) -> Sequence[Entry] | None:
        return await super().history(job_id, *how) or []


# Bugs of opening and closing.


class LosesTheLastBatch(PlainStorage):
    """Returns from a commit before the batch is durable."""

    def __init__(self) -> None:
        super().__init__()
        self._commits: list[Sequence[Change]] = []

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit(changes, lines)
        self._commits.append(changes)

    async def aclose(self) -> None:
        await super().aclose()
        self.changes = list(chain.from_iterable(self._commits[:-1]))
        self.jobs = newest_records(self.changes)


class SequenceRestarts(PlainStorage):
    """Continues from the highest number present, and so reuses those of removed jobs."""

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        self._newest_removed = (0, 0)
        return await super().open(outcomes, renamed, running)


class OpensWithAllJobs(PlainStorage):
    """Gives the owner the ended jobs, too: memory grows with every job."""

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        opened = await super().open(outcomes, renamed, running)
        opened.table.update(self.jobs)
        return opened


class RemembersTheFirstFinals(PlainStorage):
    """Keeps using the final statuses of its first opening."""

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        return await super().open(self._outcomes or outcomes, renamed, running)


class TakesUnknownStatusesForLiveOnes(PlainStorage):
    """Takes the jobs in statuses of another lifecycle for live ones."""

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        found = dict.fromkeys(job.status for job in self.jobs.values())
        return await super().open({**found, **outcomes}, renamed, running)


class BeginsAnEpochEachTime(PlainStorage):
    """Takes each opening for that of another storage."""

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        self._epoch = new_epoch(1)
        return await super().open(outcomes, renamed, running)


class KeepsOldNames(PlainStorage):
    """Does not rename statuses."""

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        del renamed
        return await super().open(outcomes, {}, running)


class ForgetsStarts(PlainStorage):
    """Does not let jobs have started whose status has become the running one."""

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        del running
        return await super().open(outcomes, renamed, "")


class RenamesNoDeadlines(PlainStorage):
    """Leaves the old names in the deadlines of jobs."""

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        executions = {job_id: job.execution for job_id, job in self.jobs.items()}
        opened = await super().open(outcomes, renamed, running)
        for job_id, execution in executions.items():
            self.jobs[job_id] = self.jobs[job_id].with_execution(execution)
        return opened


class LeavesEndedJobsAtWork(PlainStorage):
    """Leaves their attempts to jobs whose statuses have become final."""

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        tokens = {job_id: job.execution.token for job_id, job in self.jobs.items()}
        opened = await super().open(outcomes, renamed, running)
        for job_id, token in tokens.items():
            job = self.jobs[job_id]
            self.jobs[job_id] = job.with_execution(replace(job.execution, token=token))
        return opened


class LetsTwoIn(PlainStorage):
    """Does not notice that it is in use."""

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        self._users = 0
        return await super().open(outcomes, renamed, running)


class RefusesWithoutAReason(PlainStorage):
    """Refuses a second engine as if the storage were broken."""

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        try:
            return await super().open(outcomes, renamed, running)
        except StorageInUseError as error:
            raise StorageError(str(error)) from None


class IsFreedByTheRefused(PlainStorage):
    """Is free for a third engine once the second, which was refused, closes it."""

    async def aclose(self) -> None:
        self._users = 0


class StaysTaken(PlainStorage):
    """Is never free again after it refused a second opening."""

    async def aclose(self) -> None:
        if self._users == 1:
            await super().aclose()


# Bugs of removing.


class RemovesLiveJobs(PlainStorage):
    """Looks only at the age."""

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        self._outcomes = {job.status: "failed" for job in self.jobs.values()}
        return await super().remove_ended(before, keep, limit, line)


class RemovesTheOldestCreations(PlainStorage):
    """Removes in the order of creation, not of the ends."""

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        del line
        ended = [job for job in self.jobs.values() if self._outcomes.get(job.status)]
        removable = [
            job.job_id
            for place, job in enumerate(ended)
            if (before and job.updated_at < before)
            or (keep is not None and place < len(ended) - keep)
        ]
        self._remove(removable[:limit])
        return removable[:limit]


class NamesOtherRemovedJobs(PlainStorage):
    """Returns the ids of jobs that it has kept."""

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        removed = await super().remove_ended(before, keep, limit, line)
        return [*self.jobs, *removed][: len(removed)]


class ForgetsWhatItRemoved(PlainStorage):
    """Says that no transition was ever removed."""

    async def removed_up_to(self) -> int:
        return 0


class RemovesWithoutALimit(PlainStorage):
    """Removes everything in one step."""

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        del limit
        return await super().remove_ended(before, keep, len(self.jobs), line)


class KnowsOneRule(PlainStorage):
    """Ignores the age if there is a count."""

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        return await super().remove_ended(before if keep is None else None, keep, limit, line)


class KeepsRemovedLines(PlainStorage):
    """Keeps the histories of removed jobs."""

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        changes = self.changes
        removed = await super().remove_ended(before, keep, limit, line)
        self.changes = changes
        return removed


class BringsBackRemovedJobs(PlainStorage):
    """Forgets its removals when it is closed."""

    async def aclose(self) -> None:
        await super().aclose()
        self.changes, self.jobs = self.__dict__.get("before", (self.changes, self.jobs))

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        self.__dict__.setdefault("before", (list(self.changes), dict(self.jobs)))
        return await super().remove_ended(before, keep, limit, line)


# Bugs of backups, in a storage with files.


class CopiesTheFileAlone(SQLiteStorage):
    """Copies the file without the changes in its log."""

    def backup(self, path: Path, progress: ProgressCallback) -> None:
        super().backup(path, progress)
        shutil.copyfile(self.path, path)


class OverwritesFiles(SQLiteStorage):
    """Overwrites an existing file by the copy."""

    def backup(self, path: Path, progress: ProgressCallback) -> None:
        if path.is_file():
            path.unlink()
        super().backup(path, progress)


class CannotBeStopped(SQLiteStorage):
    """Reports no progress."""

    def backup(self, path: Path, progress: ProgressCallback) -> None:
        del progress
        super().backup(path, lambda _done, _of: None)


CAUGHT_BY: dict[type[PlainStorage | SQLiteStorage], str] = {
    AppliesHalfABatch: "test_an_id_of_an_ended_job_is_taken",
    OverwritesEndedJobs: "test_an_ended_job_keeps_its_key_and_its_id",
    NamesTheWrongJob: "test_an_id_of_an_ended_job_is_taken",
    KeepsTheLastChangeOfABatch: "test_a_job_may_change_many_times_in_a_batch",
    TakesEmptyForNone: "test_outcomes_are_kept_as_they_are",
    CutsLongResults: "test_long_results_are_kept_as_they_are",
    CutsMicroseconds: "test_times_are_kept_to_the_microsecond",
    ForgetsLaterPayments: "test_a_payment_may_come_later",
    FindsNoLaterPayments: "test_a_payment_that_came_later_finds_its_job",
    LosesInputs: "test_inputs_are_kept_through_every_change",
    LosesExecutions: "test_executions_are_kept_as_they_are",
    NeverTakesAnExecutionAway: "test_an_execution_may_come_and_go",
    DropsAmendments: "test_a_change_of_an_execution_is_no_transition",
    NumbersAmendments: "test_a_change_of_an_execution_is_no_transition",
    KeepsTheFirstAmendment: "test_the_newest_of_many_changes_counts",
    ForgetsAmendments: "test_work_goes_on_where_it_was",
    LosesAttempts: "test_attempts_fail_with_every_sort_of_change",
    KeepsAllAttempts: "test_only_the_newest_are_kept",
    KeepsTheFirstAttempts: "test_only_the_newest_are_kept",
    ShowsTheNewestAttemptFirst: "test_attempts_fail_with_every_sort_of_change",
    InventsAttempts: "test_a_new_storage_is_empty",
    CutsErrors: "test_failed_attempts_are_kept_as_they_are",
    KeepsAttemptsOfRefusedBatches: "test_a_batch_that_is_refused_leaves_no_failed_attempt",
    LosesLinesOfTheAudit: "test_lines_of_the_audit_are_kept_as_they_are",
    KeepsLinesOfRefusedBatches: "test_a_batch_that_is_refused_leaves_no_line",
    LosesLinesOfRules: "test_rules_are_kept_with_their_lines",
    LosesLinesOfPauses: "test_pauses_are_kept_with_their_lines",
    LosesLinesOfRemovals: "test_a_removal_leaves_a_line_with_its_number",
    NotesRemovalsOfNothing: "test_a_removal_leaves_a_line_with_its_number",
    KeepsAllLinesOfTheAudit: "test_only_the_newest_lines_are_kept",
    KeepsAttemptsOfRemovedJobs: "test_failed_attempts_go_with_their_jobs",
    CountsAgain: "test_a_count_goes_on_where_the_last_one_has_ended",
    CountsAllAtOnce: "test_many_transitions_are_counted_in_steps",
    TakesBirthsForMoves: "test_transitions_are_counted_by_minute_status_and_birth",
    KeepsCountsForEver: "test_a_count_after_a_long_time_begins_a_day_back",
    ForgetsCountsOfRemovedJobs: "test_what_is_removed_stays_counted",
    CountsWhatIsLongAgo: "test_a_first_count_begins_a_day_back",
    CountsUnderOldNames: "test_renamed_statuses_have_their_counts",
    WatchesOneTooFew: "test_every_batch_can_be_read_when_it_is_committed",
    WatchesEveryJob: "test_every_batch_can_be_read_when_it_is_committed",
    WatchesRemovedJobs: "test_transitions_of_removed_jobs_are_gone",
    LosesKeys: "test_a_key_gives_the_same_job_after_a_restart",
    FoldsCase: "test_texts_are_kept_as_they_are",
    TrimsKeys: "test_odd_values_are_read_back",
    PagesBackwards: "test_pages_go_by_position",
    RepeatsAJob: "test_a_cursor_goes_on_after_a_restart",
    PagesWithoutABound: "test_a_page_ends_before_it_holds_too_much",
    EndsWithALargePage: "test_a_page_ends_before_it_holds_too_much",
    PromisesMore: "test_pages_go_by_position",
    ChecksOutWithoutABound: "test_jobs_are_checked_out_in_parts",
    ForgetsWhatItLeavesOut: "test_jobs_are_checked_out_in_parts",
    ChecksOutTheLastFirst: "test_jobs_are_checked_out_in_parts",
    CountsWhatWas: "test_every_batch_can_be_read_when_it_is_committed",
    AsksForOneLabel: "test_kinds_and_labels_are_kept_as_they_are",
    FoldsLabels: "test_jobs_are_found_by_kinds_and_labels",
    TakesDefaultForAny: "test_jobs_are_found_by_kinds_and_labels",
    AsksForKindOrLabel: "test_jobs_are_found_by_kinds_and_labels",
    IncludesTheEnd: "test_jobs_are_found_by_the_time_of_their_creation",
    CountsPastTheLimit: "test_every_batch_can_be_read_when_it_is_committed",
    LosesTheLastPage: "test_pages_go_by_position",
    KeepsLabelsOfRemovedJobs: "test_what_is_removed_is_not_found_by_its_labels",
    ForgetsHistory: "test_the_life_of_a_job",
    ShowsTheOldestLines: "test_a_job_may_change_many_times_in_a_batch",
    ShowsALineTwice: "test_a_job_may_change_many_times_in_a_batch",
    InventsHistory: "test_a_new_storage_is_empty",
    LosesTheLastBatch: "test_everything_is_there_after_a_restart",
    SequenceRestarts: "test_numbers_of_removed_jobs_are_not_given_again",
    OpensWithAllJobs: "test_everything_goes_on_where_it_was",
    RemembersTheFirstFinals: "test_each_opening_sets_the_final_statuses",
    TakesUnknownStatusesForLiveOnes: (
        "test_an_opening_leaves_jobs_in_statuses_that_it_does_not_know"
    ),
    BeginsAnEpochEachTime: "test_openings_go_on_with_the_epoch",
    ForgetsStarts: "test_jobs_have_started_if_their_status_is_the_running_one_at_the_next_opening",
    KeepsOldNames: "test_an_opening_renames_statuses_for_good",
    RenamesNoDeadlines: "test_an_opening_renames_statuses_for_good",
    LeavesEndedJobsAtWork: "test_live_jobs_may_have_ended_at_the_next_opening",
    LosesOrigins: "test_origins_are_kept_through_every_change",
    LosesTheFirstOfARow: "test_origins_are_kept_through_every_change",
    ForgetsOrigins: "test_what_follows_is_there_after_a_restart",
    IgnoresRoots: "test_follow_ups_are_found_and_left_out",
    CountsFollowUps: "test_follow_ups_are_found_and_left_out",
    RemovesFollowUpsAlone: "test_a_family_waits_for_its_last_end",
    RemovesByTheEndOfTheRoot: "test_the_last_end_is_the_age_of_a_family",
    CountsFamilies: "test_follow_ups_count",
    ForgetsTheRules: "test_what_follows_is_there_after_a_restart",
    KeepsTheFirstRules: "test_rules_are_kept",
    ForgetsThePauses: "test_a_restart_resumes_nothing",
    KeepsPausesOfNewKinds: "test_pauses_are_kept",
    ForgetsTheLifecycle: "test_the_lifecycle_is_kept_until_the_next_opening",
    LetsTwoIn: "test_a_second_engine_is_refused",
    RefusesWithoutAReason: "test_a_second_opening_is_refused_and_harms_nothing",
    IsFreedByTheRefused: "test_a_second_opening_is_refused_and_harms_nothing",
    StaysTaken: "test_a_second_opening_is_refused_and_harms_nothing",
    RemovesLiveJobs: "test_retention_removes_ended_jobs",
    RemovesTheOldestCreations: "test_by_count",
    NamesOtherRemovedJobs: "test_by_count",
    ForgetsWhatItRemoved: "test_transitions_of_removed_jobs_are_gone",
    RemovesWithoutALimit: "test_in_steps_of_a_limit",
    KnowsOneRule: "test_by_either_rule",
    KeepsRemovedLines: "test_an_id_and_a_key_are_free_again",
    BringsBackRemovedJobs: "test_what_is_removed_does_not_come_back",
    CopiesTheFileAlone: "test_a_copy_has_everything",
    OverwritesFiles: "test_what_is_there_already_is_left_alone",
    CannotBeStopped: "test_a_progress_callback_may_stop_the_backup",
}


class TestBroken(StorageSuite):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture(params=CAUGHT_BY, ids=lambda kind: kind.__name__)
    def new_storage(self, request: pytest.FixtureRequest) -> NewStorage:
        kind: type[PlainStorage | SQLiteStorage] = request.param
        if issubclass(kind, SQLiteStorage):
            return kind
        storage = kind()
        return lambda _path: storage


# Bugs of shared storages.


class AppliesTransitionsByOlderRules(PlainShared):
    """Does not compare the rules."""

    def has_older_rules(self) -> bool:
        return False


class ComparesRulesWithEveryChange(PlainShared):
    """Refuses changes that are no transitions, too."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> Committed:
        if self.has_older_rules():
            return Committed(in_the_way=CheckedOut(), rules=await self.rules())
        return await super().commit(changes, lines)


class HidesTheNewestRules(PlainShared):
    """Refuses a batch, and does not say by which rules to decide again."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> Committed:
        return (await super().commit(changes, lines))._replace(rules=None)


class KeepsHalfABatchOfOlderRules(PlainShared):
    """Notices the newer rules when the changes that are no creations are written."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> Committed:
        if not self.has_older_rules():
            return await super().commit(changes, lines)
        rules = await self.rules()
        await super().commit([each for each in changes if each.from_status is not None], lines)
        return Committed(in_the_way=CheckedOut(), rules=rules)


class OverwritesNewerRules(PlainShared):
    """Keeps the rules of whoever comes last."""

    async def keep_rules(self, text: str, lines: Sequence[AuditLine] = ()) -> StoredRules | None:
        await self.rules()
        return await super().keep_rules(text, lines)


class TakesNoteOfNoRules(PlainShared):
    """Goes by the rules of its opening, though the owner has asked for the newest."""

    async def rules(self) -> StoredRules:
        return self.place.content.stored_rules


class FollowsRemovedJobs(PlainShared):
    """Does not compare the jobs that a batch leaves as they are."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> Committed:
        return await super().commit([each for each in changes if not each.is_compared], lines)


class OverwritesUnseenPauses(PlainShared):
    """Keeps the pauses of whoever comes last."""

    async def keep_pauses(self, text: str, before: str, lines: Sequence[AuditLine] = ()) -> bool:
        del before
        return await super().keep_pauses(text, await self.pauses(), lines)


class TellsNoInstructions(PlainShared):
    """Lets no engine know that another one has paused a kind, or drains it."""

    @property
    def instructions(self) -> object:
        return None


class TellsNoneOfWhatIsUndone(PlainShared):
    """Compares what operators have said with what they say, and not how often they said it."""

    @property
    def instructions(self) -> object:
        return self.place.content.stored_pauses, self.number in self.place.drained


class TakesDrainedForAlive(PlainShared):
    """Counts a kind as handled that only a drained engine has."""

    async def drain(
        self, engine_id: int | None, lines: Sequence[AuditLine] = (), *, draining: bool
    ) -> bool:
        self._is_drained = draining
        is_there = await super().drain(engine_id, lines, draining=draining)
        self.place.drained.clear()
        return is_there

    async def is_draining(self) -> bool:
        return getattr(self, "_is_drained", False)

    @property
    def instructions(self) -> object:
        return getattr(self, "_is_drained", False)


class DrainsAllEngines(PlainShared):
    """Drains each engine with the one that is meant."""

    async def drain(
        self, engine_id: int | None, lines: Sequence[AuditLine] = (), *, draining: bool
    ) -> bool:
        for each in range(len(self.place.engines)):
            await super().drain(each, draining=draining)
        return await super().drain(engine_id, lines, draining=draining)


class NotesEachDrain(PlainShared):
    """Keeps the line of a drain also if there is no such engine."""

    async def drain(
        self, engine_id: int | None, lines: Sequence[AuditLine] = (), *, draining: bool
    ) -> bool:
        await self.note_acts(lines)
        return await super().drain(engine_id, draining=draining)


class LetsTheDeadTell(PlainShared):
    """Keeps the pauses of an engine that the others take for dead."""

    async def keep_pauses(self, text: str, before: str, lines: Sequence[AuditLine] = ()) -> bool:
        return bool(await self.place.content.keep_pauses(text, before, lines))


class CountsOneStep(PlainShared):
    """Counts the first jobs of each kind, and takes them for all."""

    async def kinds(
        self, status: str, after: int, now: datetime, *, is_running: bool
    ) -> CountedKinds:
        counted = await super().kinds(status, after, now, is_running=is_running)
        return counted._replace(next_after=None)


class TakesWaitingForReady(PlainShared):
    """Counts all jobs of the running status as ready that no attempt has."""

    async def kinds(
        self, status: str, after: int, now: datetime, *, is_running: bool
    ) -> CountedKinds:
        return await super().kinds(status, after, now + timedelta(days=1), is_running=is_running)


class TellsOfNoDrain(PlainShared):
    """Tells no engine that is drained from another one."""

    async def engines(self) -> Sequence[EngineRow]:
        return [each._replace(is_draining=False) for each in await super().engines()]


class TellsOfNoGates(PlainShared):
    """Tells no gate of an engine."""

    async def engines(self) -> Sequence[EngineRow]:
        return [each._replace(gates=()) for each in await super().engines()]


SHARED_CAUGHT_BY: dict[type[PlainShared], str] = {
    AppliesTransitionsByOlderRules: "test_a_transition_by_older_rules_is_not_applied",
    ComparesRulesWithEveryChange: "test_what_is_no_transition_goes_by_no_rules",
    HidesTheNewestRules: "test_a_transition_by_older_rules_is_not_applied",
    KeepsHalfABatchOfOlderRules: "test_a_transition_by_older_rules_is_not_applied",
    OverwritesNewerRules: "test_older_rules_replace_no_newer_ones",
    TakesNoteOfNoRules: "test_whoever_has_asked_for_the_newest_rules_goes_by_them",
    FollowsRemovedJobs: "test_a_removal_leaves_no_follow_up_behind",
    OverwritesUnseenPauses: "test_nobody_takes_back_pauses_unseen",
    TellsNoInstructions: "test_an_engine_learns_of_its_drain",
    TellsNoneOfWhatIsUndone: "test_each_learns_of_what_is_undone_at_once",
    TakesDrainedForAlive: "test_a_drained_engine_handles_no_kind",
    DrainsAllEngines: "test_one_engine_drains_itself",
    NotesEachDrain: "test_a_drain_is_there_with_its_line",
    LetsTheDeadTell: "test_a_dead_engine_tells_the_others_nothing",
    CountsOneStep: "test_many_jobs_are_counted_in_steps",
    TakesWaitingForReady: "test_jobs_of_a_status_are_counted_by_kind",
    TellsOfNoDrain: "test_the_engines_are_told",
    TellsOfNoGates: "test_the_engines_are_told",
}


class TestBrokenShared(RulingTests, InstructingTests, OverseeingTests):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture(params=SHARED_CAUGHT_BY, ids=lambda kind: kind.__name__)
    def new_storage(self, request: pytest.FixtureRequest) -> NewStorage:
        kind: type[PlainShared] = request.param
        place = Place()
        return lambda _path: kind(place, len(place.engines))

    @pytest.fixture
    def end_lease(self) -> EndLease:
        async def end(storage: Any) -> None:  # noqa: ANN401 - a plain one
            storage.place.declare_dead(storage.number)

        return end
