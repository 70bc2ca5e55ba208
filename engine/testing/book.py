"""The book: what a storage was given to keep, and so what it has to answer.

It judges nothing: changes are written down as they come, in the form in which the owner gives them
to a storage. So a test may let a job do what no lifecycle allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Self

from engine.storage.record import (
    JOB_ID,
    POSITION,
    STATUS,
    UPDATED_AT,
    Change,
    Entry,
    Record,
    Work,
    moved,
    reworked,
)
from engine.testing.values import NOON, OddStatus


class Book:
    """All jobs and all lines of history that are committed and not removed.

    Attributes:
        commits: Every batch of changes, in order.
        jobs: The jobs by id, in the order of their creation.
        lines: Their histories.
        last_sequence, last_position: The newest numbers that were ever given.
    """

    def __init__(self, commits: Iterable[Sequence[Change]] = ()) -> None:
        self.commits: list[Sequence[Change]] = []
        self.jobs: dict[str, Record] = {}
        self.lines: dict[str, list[Entry]] = {}
        self.last_sequence = 0
        self.last_position = 0
        for changes in commits:
            self.enter(changes)

    def enter(self, changes: Sequence[Change]) -> None:
        """Write a committed batch down."""
        self.commits.append(changes)
        for sequence, before, record in changes:
            job_id = record[JOB_ID]
            self.jobs[job_id] = record
            self.last_position = max(self.last_position, record[POSITION])
            if sequence is not None:
                line = Entry(sequence, job_id, before, record[STATUS], record[UPDATED_AT])
                self.lines.setdefault(job_id, []).append(line)
                self.last_sequence = sequence

    def strike(self, records: Iterable[Record]) -> None:
        """Take removed jobs out; their numbers stay taken."""
        for record in records:
            del self.jobs[record[JOB_ID]]
            del self.lines[record[JOB_ID]]

    def ended(self, final_statuses: Iterable[str]) -> list[Record]:
        """Return the jobs that have ended, oldest end first."""
        finals = set(final_statuses)
        ended = [record for record in self.jobs.values() if record[STATUS] in finals]
        return sorted(ended, key=lambda record: record[UPDATED_AT])

    def up_to(self, sequence: int) -> Book:
        """Return the book as it was when this was the newest sequence number.

        To be asked before jobs are removed, where each batch has a transition. A number from
        within a batch is no such moment.
        """
        return Book(changes for changes in self.commits if _newest(changes) <= sequence)


def _newest(changes: Sequence[Change]) -> int:
    return max(sequence for sequence, _, _ in changes if sequence is not None)


class Batch:
    """Changes to be committed together, which follow on what a book has."""

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
        work: Work | None = None,
    ) -> Self:
        """Add the creation of a job."""
        self._position += 1
        status = OddStatus.WAITING.value
        self._add(
            None,
            (
                *(job_id, status, input_hash, identifier, at, at),
                *(None, None, 1, self._position, key, given_input, work),
            ),
        )
        return self

    def move(
        self,
        job_id: str,
        status: OddStatus,
        *,
        at: datetime = NOON,
        result: str | None = None,
        error: str | None = None,
        work: Work | None = None,
    ) -> Self:
        """Add a transition of a job; its time is that of the one before, at least."""
        before = self._jobs[job_id]
        self._add(before[STATUS], moved(before, status.value, at, result, error, work))
        return self

    def amend(self, job_id: str, **work: Any) -> Self:  # noqa: ANN401 - fields of `WorkState`
        """Add a change of a job's work alone, which is no transition."""
        record = reworked(self._jobs[job_id], **work)
        self.changes.append((None, record[STATUS], record))
        self._jobs[job_id] = record
        return self

    def _add(self, from_status: str | None, record: Record) -> None:
        self._sequence += 1
        self.changes.append((self._sequence, from_status, record))
        self._jobs[record[JOB_ID]] = record
