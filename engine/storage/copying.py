"""Copying: all of a place, written into an empty one, whatever keeps the jobs of either.

The copy goes on where the source ends: ids, positions, numbers of transitions, epochs, failed
attempts, links and the audit are the same, so a cursor from the source leads to the same place in
the copy. Only a job at work changes. Its attempt has died in the copy, as in a file whose engine
was killed.

The counts of the throughput are left out: an engine counts the transitions of the copy anew, from a
day back on. Only those of jobs that were removed in this time are lost.

The rows of the copy are read back and compared with those of the source before the copy is there
for anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Final, NamedTuple, Protocol, TypeVar

from msgspec.msgpack import Encoder
from msgspec.structs import replace

from engine.domain.epochs import Epoch
from engine.domain.exceptions import StorageDamagedError
from engine.storage.audit import KeptAuditLine
from engine.storage.protocol import ProgressCallback
from engine.storage.record import AttemptRecord, Entry, Record, dead_token, died_with

Item = TypeVar("Item")

_STEP_ROWS: Final = 1_000  # between two calls for progress


class Head(NamedTuple):
    """What a place has beside its rows."""

    final_statuses: tuple[str, ...]
    """Those of ended jobs, sorted."""
    renamed: Mapping[str, str]
    """The new names of old statuses that all rows have."""
    lifecycle: str | None
    """The newest engine's, as `engine.domain.lifecycle.description` has it; None for unknown."""
    rules: str
    """Those of follow-ups, in their stored form."""
    pauses: str
    """The pauses, in their stored form."""
    last_sequence: int
    """The number of the newest transition that was ever removed."""
    last_position: int
    """The position of the newest job that was ever removed."""
    epochs: tuple[Epoch, ...]


class Line(NamedTuple):
    """A transition."""

    position: int
    """The job's."""
    entry: Entry


class FailedAttempt(NamedTuple):
    """A failed attempt."""

    position: int
    """The job's."""
    attempt: AttemptRecord


class LabelOfJob(NamedTuple):
    """A label of a job, as the index of labels has it."""

    position: int
    """The job's."""
    name: str
    value: str


class Contents(Protocol):
    """All that a place has, in one state. Each call begins anew.

    Raises:
        StorageDamagedError: A row is not as engines write it.
    """

    def head(self) -> Head:
        """Return what it has beside the rows."""
        ...

    def count_rows(self) -> int:
        """Count all rows."""
        ...

    def count_held(self) -> int:
        """Count the jobs that a living attempt has."""
        ...

    def jobs(self) -> Iterator[Record]:
        """Return the jobs by position, each with the revision 0."""
        ...

    def labels(self) -> Iterator[LabelOfJob]:
        """Return the labels by the position of their jobs, and by name."""
        ...

    def transitions(self) -> Iterator[Line]:
        """Return the transitions by their numbers."""
        ...

    def attempts(self) -> Iterator[FailedAttempt]:
        """Return the failed attempts by the position of their jobs, and by number."""
        ...

    def audit(self) -> Iterator[KeptAuditLine]:
        """Return the lines of the audit by their numbers."""
        ...


class Draft(Protocol):
    """A new place that is being written. Nobody else sees it yet."""

    def put_head(self, head: Head) -> None:
        """Write what it has beside the rows."""
        ...

    def put_jobs(self, jobs: Iterable[Record]) -> None:
        """Write the jobs, and their labels."""
        ...

    def put_transitions(self, lines: Iterable[Line]) -> None:
        """Write the transitions."""
        ...

    def put_attempts(self, attempts: Iterable[FailedAttempt]) -> None:
        """Write the failed attempts."""
        ...

    def put_audit(self, lines: Iterable[KeptAuditLine]) -> None:
        """Write the lines of the audit."""
        ...

    def contents(self) -> Contents:
        """Return what was written, for a comparison."""
        ...


class Counts(NamedTuple):
    """How many rows were copied."""

    jobs: int
    transitions: int


def copy_contents(source: Contents, draft: Draft, progress: ProgressCallback) -> Counts:
    """Write all of a place into a new one, read that back, and compare them.

    Args:
        source: The place.
        draft: The new one.
        progress: Receives how many rows are written or read back, and of how many.

    Raises:
        StorageDamagedError: A row of the source is damaged, or the copy differs from it.
    """
    head, held = source.head(), source.count_held()
    told = _Told(progress, 2 * source.count_rows())
    written, found = _Sums(told), _Sums(told)
    draft.put_head(head)
    draft.put_jobs(written.of("jobs", _without_attempts(source.jobs(), held)))
    draft.put_transitions(written.of("transitions", source.transitions()))
    draft.put_attempts(written.of("attempts", source.attempts()))
    draft.put_audit(written.of("audit", source.audit()))
    written.add("labels", source.labels())
    copy = draft.contents()
    found.add("jobs", copy.jobs())
    found.add("transitions", copy.transitions())
    found.add("attempts", copy.attempts())
    found.add("audit", copy.audit())
    found.add("labels", copy.labels())
    _compare({"head": head, **written.sums}, {"head": copy.head(), **found.sums})
    return Counts(written.sums["jobs"].rows, written.sums["transitions"].rows)


def _without_attempts(jobs: Iterable[Record], held: int) -> Iterator[Record]:
    """Return jobs whose attempts have died."""
    for job in jobs:
        token = job.execution.token
        if token is None or died_with(token) is not None:
            yield job
        else:
            yield job.with_execution(replace(job.execution, token=dead_token(held)))


def _compare(written: Mapping[str, object], found: Mapping[str, object]) -> None:
    """Compare what was read from the source with what is in the copy.

    Raises:
        StorageDamagedError: They differ.
    """
    wrong = [part for part in written if written[part] != found[part]]
    if wrong:
        raise StorageDamagedError(
            f"the copy is not as its source, and was removed: its {', '.join(wrong)} differ: "
            "check the source"
        )


class _Sum(NamedTuple):
    rows: int
    digest: bytes


class _Told:
    """Tells how many rows are done."""

    def __init__(self, progress: ProgressCallback, of: int) -> None:
        self._progress = progress
        self._done = 0
        self._of = of

    def add(self) -> None:
        self._done += 1
        if self._done % _STEP_ROWS == 0:
            self._progress(self._done, self._of)


class _Sums:
    """Counts the rows of each table as they go by, and sums them."""

    def __init__(self, told: _Told) -> None:
        self.sums: dict[str, _Sum] = {}
        self._told = told
        self._encode = Encoder().encode

    def of(self, table: str, rows: Iterable[Item]) -> Iterator[Item]:
        """Return the rows of a table. Its sum is known after the last one."""
        digest, count = sha256(), 0
        for row in rows:
            digest.update(self._encode(row))
            count += 1
            self._told.add()
            yield row
        self.sums[table] = _Sum(count, digest.digest())

    def add(self, table: str, rows: Iterable[object]) -> None:
        """Sum all rows of a table."""
        for _ in self.of(table, rows):
            pass
