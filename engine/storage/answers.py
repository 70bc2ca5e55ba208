"""Answers of a storage: the jobs that were asked for, as far as one read goes; commits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, Self

from engine.domain.follow_up_rules import StoredRules
from engine.domain.validation import MAX_READ_CHARACTERS
from engine.storage.record import Damaged, Record


class ReadLimit:
    """Counts the long texts of the jobs of one read: 16,777,216 characters at most."""

    def __init__(self) -> None:
        self._characters = 0
        self._is_empty = True

    def admits(self, job: Record | Damaged) -> bool:
        """Count a job in, if it still fits; the first one always does."""
        characters = self._characters + job.characters
        if characters > MAX_READ_CHARACTERS and not self._is_empty:
            return False
        self._characters = characters
        self._is_empty = False
        return True


@dataclass(frozen=True, slots=True)
class StoredPage:
    """Some committed jobs in the order of their positions, or in the reverse order."""

    jobs: Sequence[Record | Damaged] = ()
    next_after: int | None = None
    """The position behind which the next page begins; None if no job follows. The page may be
    shorter than it could be, even empty, and have one."""

    @classmethod
    def of(
        cls, jobs: Iterable[Record | Damaged], limit: int, searched_to: int | None = None
    ) -> Self:
        """Return the first jobs as a page: up to ``limit``, and no more than `ReadLimit` admits.

        Takes no more than one job that is not on the page.

        Args:
            jobs: Those that were found.
            limit: The most to return.
            searched_to: The position where the search for them ended; None if it was complete.
        """
        page: list[Record | Damaged] = []
        following, characters = iter(jobs), 0
        for job in islice(following, limit):
            characters += job.characters  # not by `ReadLimit`, which takes twice as long
            if characters > MAX_READ_CHARACTERS and page:
                return cls(page, page[-1].position)
            page.append(job)
        if len(page) == limit and next(following, None) is not None:
            return cls(page, page[-1].position)
        return cls(page, searched_to)


class StoredCount(NamedTuple):
    """A number of committed jobs: all of them, or those up to a position."""

    jobs: int
    next_after: int | None = None
    """The position behind which to count on; None if all are counted."""


class Names(NamedTuple):
    """The names by which jobs are looked for."""

    job_ids: Sequence[str] = ()
    keys: Sequence[str] = ()
    """Idempotency keys."""
    payments: Sequence[str] = ()
    """Given payments; the default one has the job's id in it."""


@dataclass(frozen=True, slots=True)
class Found:
    """The committed jobs that were found by one sort of name, each by its name."""

    jobs: dict[str, Record] = field(default_factory=dict)
    damaged: dict[str, Damaged] = field(default_factory=dict)
    """Jobs that exist and can't be read."""
    left_out: set[str] = field(default_factory=set)
    """Names that were not looked for, because the jobs found before them took all the room."""

    def add(self, other: Found) -> None:
        """Add another one's jobs and left-out names."""
        self.jobs.update(other.jobs)
        self.damaged.update(other.damaged)
        self.left_out.update(other.left_out)


@dataclass(frozen=True, slots=True)
class CheckedOut:
    """The committed jobs of a checkout: those that exist."""

    ids: Found = field(default_factory=Found)
    keys: Found = field(default_factory=Found)
    payments: Found = field(default_factory=Found)

    @property
    def parts(self) -> tuple[Found, Found, Found]:
        """Those by ids, by keys and by payments, in the order of `Names`."""
        return (self.ids, self.keys, self.payments)

    def all(self) -> list[Record | Damaged]:
        """Return each of the jobs once, by position; and those that can't be read."""
        found: dict[int, Record | Damaged] = {}
        for part in self.parts:
            found.update((each.position, each) for each in part.jobs.values())
            found.update((each.position, each) for each in part.damaged.values())
        return [found[position] for position in sorted(found)]

    def take_left_out(self) -> Names:
        """Return the names that were not looked for, and forget them here."""
        left_out = Names(*(tuple(part.left_out) for part in self.parts))
        for part in self.parts:
            part.left_out.clear()
        return left_out

    def add(self, other: CheckedOut) -> None:
        """Add another checkout's jobs and left-out names."""
        for part, its in zip(self.parts, other.parts, strict=True):
            part.add(its)

    def replace(self, newer: CheckedOut, gone: Collection[str] = ()) -> None:
        """Replace jobs by newer records of them, and leave out those that are gone."""
        self.add(newer)
        by_id = {record.job_id: record for part in newer.parts for record in part.jobs.values()}
        for part in self.parts:
            for name, record in tuple(part.jobs.items()):
                if record.job_id in gone:
                    del part.jobs[name]
                elif record.job_id in by_id:
                    part.jobs[name] = by_id[record.job_id]


class Committed(NamedTuple):
    """The answer of a shared storage to a commit."""

    sequence_shift: int = 0
    """The changes have got sequence numbers that are so much higher than those given."""
    position_shift: int = 0
    """New jobs have got positions that are so much higher."""
    in_the_way: CheckedOut | None = None
    """None if the changes are committed. Otherwise nothing was applied: these are the jobs, as they
    are now, that others have written meanwhile, or that have an id, a key or a payment that the
    changes give to another one."""
    gone: Collection[str] = ()
    """The ids of jobs that were to change, and that others have removed meanwhile."""
    rules: StoredRules | None = None
    """The rules of follow-ups as they are now, if others have changed them meanwhile: then nothing
    was applied, and `in_the_way` may have no job."""
