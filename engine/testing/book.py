"""The book: the expected contents of a storage.

It records changes in the form in which the owner hands them to a storage, and judges nothing. So a
test may make moves that no lifecycle allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Self

from msgspec.structs import replace

from engine.domain.labels import DEFAULT_KIND, labels_text
from engine.storage.audit import KEPT_AUDIT_LINES, AuditLine, KeptAuditLine
from engine.storage.record import (
    KEPT_ATTEMPTS,
    NO_ACT,
    NO_EXECUTION,
    Act,
    AttemptRecord,
    Change,
    Entry,
    Execution,
    Origin,
    Record,
    dead_token,
    died_with,
    entries_of,
)
from engine.testing.values import NOON, STATUS_OUTCOMES, OddStatus


class Family(NamedTuple):
    """A job that is no follow-up, with its follow-ups, and theirs."""

    jobs: Sequence[Record]
    """The root first."""

    @property
    def end(self) -> datetime:
        """The last of their ends."""
        return max(each.updated_at for each in self.jobs)

    def by_root(self) -> tuple[datetime, int]:
        """Return its place by the end of the root."""
        root = self.jobs[0]
        return root.updated_at, root.position

    def by_end(self) -> tuple[datetime, int]:
        """Return its place by the last end."""
        return self.end, self.jobs[0].position


class Book:
    """All jobs and history entries that are committed and not removed.

    Attributes:
        commits: Every batch of changes, in order.
        jobs: The jobs by id, in the order of their creation.
        lines: Their histories, by job id.
        attempts: Their failed attempts that are kept, by job id.
        audit: The lines of the audit that are kept.
        last_sequence, last_position: The highest numbers ever given.
        removed_up_to: The highest number of a removed transition.
    """

    def __init__(self, commits: Iterable[Sequence[Change]] = ()) -> None:
        self.commits: list[Sequence[Change]] = []
        self.jobs: dict[str, Record] = {}
        self.lines: dict[str, list[Entry]] = {}
        self.attempts: dict[str, list[AttemptRecord]] = {}
        self.audit: list[KeptAuditLine] = []
        self.last_sequence = 0
        self.last_position = 0
        self.removed_up_to = 0
        for changes in commits:
            self.enter(changes)

    def enter(self, changes: Sequence[Change]) -> None:
        """Record a committed batch."""
        self.commits.append(changes)
        for record in (change.record for change in changes):
            self.jobs[record.job_id] = record
            self.last_position = max(self.last_position, record.position)
        for change in changes:
            if change.failed_attempt is not None:
                kept = self.attempts.setdefault(change.record.job_id, [])
                kept.append(change.failed_attempt)
                del kept[:-KEPT_ATTEMPTS]
        for line in entries_of(changes):
            self.lines.setdefault(line.job_id, []).append(line)
            self.last_sequence = line.sequence

    def note(self, lines: Iterable[AuditLine]) -> None:
        """Record lines of the audit."""
        for line in lines:
            number = self.audit[-1].number + 1 if self.audit else 1
            self.audit.append(KeptAuditLine(number, *line))
        del self.audit[:-KEPT_AUDIT_LINES]

    def strike(self, records: Iterable[Record]) -> None:
        """Delete removed jobs; their numbers stay taken."""
        for record in records:
            del self.jobs[record.job_id]
            self.attempts.pop(record.job_id, None)
            newest = self.lines.pop(record.job_id)[-1].sequence
            self.removed_up_to = max(self.removed_up_to, newest)

    def reopen(
        self, names: Mapping[str, str], outcomes: Mapping[str, str | None], running: str
    ) -> None:
        """Make all jobs and lines fit another lifecycle; see `Record.reopened`."""
        for job_id, record in self.jobs.items():
            self.jobs[job_id] = record.reopened(names, outcomes, running)
            self.lines[job_id] = [
                line._replace(
                    from_status=names.get(line.from_status or "", line.from_status),
                    to_status=names.get(line.to_status, line.to_status),
                )
                for line in self.lines[job_id]
            ]

    def leave(self) -> None:
        """Let the attempts of the only engine of a shared storage die, because it is closed."""
        held = [record for record in self.jobs.values() if _is_held(record)]
        for record in held:
            execution = replace(record.execution, token=dead_token(len(held)))
            self.jobs[record.job_id] = replace(record, execution=execution)

    def count_ended(self) -> int:
        """Return how many jobs have ended."""
        return sum(record.outcome is not None for record in self.jobs.values())

    def ended_families(self) -> list[Family]:
        """Return the jobs that are no follow-ups with all of theirs, where all have ended."""
        families: dict[str, list[Record]] = {}
        for record in self.jobs.values():
            families.setdefault(record.root_id, []).append(record)
        ended = (jobs for jobs in families.values() if all(each.outcome for each in jobs))
        return [Family(jobs) for jobs in ended]

    def up_to(self, sequence: int) -> Book:
        """Return the book as it was when this was the newest sequence number.

        It must be the last number of a batch; no job may have been removed, and each batch must
        have a transition.
        """
        return Book(changes for changes in self.commits if _newest(changes) <= sequence)


def _is_held(record: Record) -> bool:
    token = record.execution.token
    return token is not None and died_with(token) is None


def _newest(changes: Sequence[Change]) -> int:
    return max(line.sequence for line in entries_of(changes))


class Batch:
    """Changes that are committed together, on top of a book."""

    def __init__(self, book: Book) -> None:
        self.changes: list[Change] = []
        self._jobs = dict(book.jobs)
        self._sequence = book.last_sequence
        self._position = book.last_position

    def create(
        self,
        job_id: str,
        *,
        at: datetime = NOON,
        key: str | None = None,
        input_hash: str = "hash",
        identifier: str | None = None,
        given_input: str | None = None,
        execution: Execution = NO_EXECUTION,
        kind: str = DEFAULT_KIND,
        labels: Mapping[str, str] | None = None,
        runs: bool = False,
        act: Act = NO_ACT,
        origin: Origin | None = None,
    ) -> Self:
        """Add the creation of a job: running, or waiting."""
        self._position += 1
        status = (OddStatus.RUNNING if runs else OddStatus.WAITING).value
        record = Record(
            *(job_id, status, input_hash, identifier, at, at, self._position),
            idempotency_key=key,
            input=given_input,
            execution=execution,
            kind=kind,
            labels=labels_text(labels),
            started_at=at if runs else None,
            sequence=self._sequence + 1,
            origin=origin,
        )
        self._add(None, record, act)
        return self

    def follow(self, job_id: str, parent_id: str, **how: Any) -> Self:  # noqa: ANN401 - of `create`
        """Add the creation of a follow-up of a job, at its present version."""
        parent = self._jobs[parent_id]
        origin = Origin(parent_id, parent.version, parent.root_id)
        return self.create(job_id, runs=True, origin=origin, **how)

    def move(
        self,
        job_id: str,
        status: OddStatus,
        *,
        at: datetime = NOON,
        result: str | None = None,
        error: str | None = None,
        execution: Execution = NO_EXECUTION,
        act: Act = NO_ACT,
        failed: AttemptRecord | None = None,
    ) -> Self:
        """Add a transition of a job; its time is never before that of the previous one."""
        before = self._jobs[job_id]
        after = before.moved(
            status.value,
            at,
            self._sequence + 1,
            starts=status is OddStatus.RUNNING,
            outcome=STATUS_OUTCOMES.get(status.value),
            result=result,
            error=error,
            execution=execution,
        )
        self._add(before.status, after, act, failed)
        return self

    def amend(
        self,
        job_id: str,
        *,
        failed: AttemptRecord | None = None,
        **fields: Any,  # noqa: ANN401 - of `Execution`
    ) -> Self:
        """Add a change of a job's execution without a transition."""
        before = self._jobs[job_id]
        record = before.with_execution(replace(before.execution, **fields))
        self.changes.append(Change(None, record.status, record, NO_ACT, failed))
        self._jobs[job_id] = record
        return self

    def pay(self, job_id: str, payment_id: str) -> Self:
        """Add the payment of a job that has none."""
        before = self._jobs[job_id]
        record = before.paid_by(payment_id)
        self.changes.append(Change(None, record.status, record, is_payment=True))
        self._jobs[job_id] = record
        return self

    def _add(
        self,
        from_status: str | None,
        record: Record,
        act: Act,
        failed: AttemptRecord | None = None,
    ) -> None:
        self._sequence = record.sequence
        self.changes.append(Change(record.sequence, from_status, record, act, failed))
        self._jobs[record.job_id] = record
