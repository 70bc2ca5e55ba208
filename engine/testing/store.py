"""The store: a storage, driven as by the owner and compared with a book."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import anyio
import pytest
from msgspec.structs import replace

from engine.domain.exceptions import DuplicateJobIdError
from engine.storage.answers import CheckedOut, Committed, Names
from engine.storage.audit import AuditLine, DamagedAuditLine, KeptAuditLine
from engine.storage.protocol import Opened, Storage
from engine.storage.record import Change, Entry, Record, newest_records
from engine.testing.book import Batch, Book, Family
from engine.testing.listings import Listings, check_record, check_times, fit
from engine.testing.values import RUNNING, STATUS_OUTCOMES

_LAST: Final = 2**63 - 1
_PAGE_JOBS: Final = 7  # small and odd: pages end in all places
_NEARLY: Final = 500  # near misses are made of this many texts at most


@asynccontextmanager
async def opened(
    storage: Storage,
    book: Book,
    outcomes: Mapping[str, str | None] = STATUS_OUTCOMES,
    renamed: Mapping[str, str] | None = None,
    running: str = RUNNING,
) -> AsyncIterator[Session]:
    """Open a storage, compare it with the book, and close it at the end."""
    is_shared = False
    try:
        opening = await storage.open(outcomes, renamed or {}, running)
        book.reopen(renamed or {}, outcomes, running)
        is_shared = opening.shared is not None
        session = Session(storage, book, outcomes, opening)
        session.check_opening()
        await session.check()
        yield session
    finally:
        with anyio.CancelScope(shield=True):
            await storage.aclose()
        if is_shared:
            book.leave()


class Session:
    """A storage between `open` and `aclose`."""

    def __init__(
        self, storage: Storage, book: Book, outcomes: Mapping[str, str | None], opening: Opened
    ) -> None:
        self.storage = storage
        self.book = book
        self.listings = Listings(storage, book)
        self.keeps_table = opening.keeps_table
        self.rules = opening.rules
        self._outcomes = outcomes
        self._opening = opening
        self._is_shared = opening.shared is not None
        self._table = opening.table

    def batch(self) -> Batch:
        """Return an empty batch; commit it next."""
        return Batch(self.book)

    async def commit(self, batch: Batch, lines: Sequence[AuditLine] = ()) -> None:
        """Commit and publish a batch with lines of the audit, as the owner does."""
        committed = await self.storage.commit(await self._changes_of(batch), lines)
        assert (committed is not None) is self._is_shared
        assert committed is None or committed == Committed(), "no other engine is there"
        self.book.enter(batch.changes)
        self.book.note(lines)
        if not (self.keeps_table or self._is_shared):
            changed = newest_records(batch.changes)
            self._table.update(changed)
            for record in changed.values():
                if self._outcomes.get(record.status) is not None:
                    self._table.remove(record)

    async def _changes_of(self, batch: Batch) -> list[Change]:
        """Return the changes of a batch; for a shared storage, with the revisions of their jobs."""
        if not self._is_shared:
            return batch.changes
        new = {change.record.job_id for change in batch.changes if change.from_status is None}
        old = [job_id for job_id in newest_records(batch.changes) if job_id not in new]
        revisions = {
            job_id: record.revision
            for part in await self.checkouts(Names(old))
            for job_id, record in part.ids.jobs.items()
        }
        return [
            replace(change, record=replace(change.record, revision=revisions.get(job_id, 0)))
            for change in batch.changes
            for job_id in [change.record.job_id]
        ]

    async def note_acts(self, lines: Sequence[AuditLine]) -> None:
        """Note acts on no job."""
        await self.storage.note_acts(lines)
        self.book.note(lines)

    async def refuse(self, batch: Batch, job_id: str, lines: Sequence[AuditLine] = ()) -> None:
        """Check that a batch that creates the job of an ended one again is refused as a whole."""
        changes = await self._changes_of(batch)
        if not self._is_shared:
            with pytest.raises(DuplicateJobIdError) as caught:
                await self.storage.commit(changes, lines)
            assert caught.value.job_id == job_id
            return
        committed = await self.storage.commit(changes, lines)
        assert committed is not None
        assert committed.in_the_way is not None
        assert list(committed.in_the_way.ids.jobs) == [job_id]

    async def remove(self, *, before: datetime | None = None, keep: int | None = None) -> int:
        """Remove jobs in steps of up to three, as the owner does; return their number."""
        removed = 0
        while step := await self.remove_some(before=before, keep=keep, limit=3):
            removed += step
        left = self._removable(before, keep, Family.by_root)
        assert not left, "the storage left jobs that the rule removes"
        return removed

    async def remove_some(
        self, *, before: datetime | None = None, keep: int | None = None, limit: int
    ) -> int:
        """Remove some jobs, check that their families ended first, and return their number."""
        possible = [
            self._removable(before, keep, order) for order in (Family.by_root, Family.by_end)
        ]
        removed = await self.storage.remove_ended(before, keep, limit)
        assert bool(removed) is bool(possible[0])
        firsts = [_first_families(families, len(removed), limit) for families in possible]
        oldest = [each for each in firsts if sorted(removed) == sorted(job.job_id for job in each)]
        assert oldest, f"{removed} are not the families that ended first"
        self.book.strike(oldest[0])
        await self.check()
        return len(removed)

    def _removable(
        self,
        before: datetime | None,
        keep: int | None,
        order: Callable[[Family], tuple[datetime, int]],
    ) -> list[Family]:
        """Return the families that a rule removes, in an order of their ends."""
        removable: list[Family] = []
        too_many = 0 if keep is None else self.book.count_ended() - keep
        for family in sorted(self.book.ended_families(), key=order):
            if too_many > 0 or (before is not None and family.end < before):
                removable.append(family)
            too_many -= len(family.jobs)
        return removable

    def check_opening(self) -> None:
        """Compare the answer of `open` with the book."""
        numbers = (self._opening.last_sequence, self._opening.last_position)
        assert numbers == (self.book.last_sequence, self.book.last_position)
        held = {record.job_id: record for record in self._table.records()}
        if self._is_shared:
            assert not held
        else:
            assert held == (self.book.jobs if self.keeps_table else self._live())

    def _live(self) -> dict[str, Record]:
        return {
            job_id: record
            for job_id, record in self.book.jobs.items()
            if self._outcomes.get(record.status) is None
        }

    async def check(self, *, every: int = 1) -> None:
        """Compare the answers of the storage with the book.

        Args:
            every: Check the history of one in this many jobs.
        """
        await self.listings.check()
        await self._check_jobs()
        for job_id in list(self.book.jobs)[::every]:
            history = await self.storage.history(job_id)
            assert history is not None, f"{job_id!r} has no history"
            assert list(history) == self.book.lines[job_id]
            check_times(line.at for line in history)
            await self._check_newest_lines(job_id, self.book.lines[job_id])
            await self._check_transitions(job_id, self.book.lines[job_id])
            await self._check_attempts(job_id)
        lines = [line for lines in self.book.lines.values() for line in lines]
        await self._check_transitions(None, sorted(lines))
        assert list(await self.storage.transitions(0, 1, "unheard of")) == []
        assert await self.storage.removed_up_to() == self.book.removed_up_to
        await self.check_audit()

    async def check_audit(self) -> None:
        """Compare the audit with the book: in pages, whole, and of each job that it names."""
        expected, found = self.book.audit[::-1], list[KeptAuditLine | DamagedAuditLine]()
        limit = max(_PAGE_JOBS, len(expected) // 5)
        while page := await self.storage.audit(found[-1].number if found else None, limit):
            assert len(page) <= limit
            found += page
        assert found == expected
        check_times(line.at for line in found if isinstance(line, KeptAuditLine))
        for job_id in {line.job_id for line in expected[:_NEARLY]} - {None}:
            of_job = [line for line in expected if line.job_id == job_id]
            assert list(await self.storage.audit(None, len(expected), job_id)) == of_job
            assert list(await self.storage.audit(of_job[0].number, 2, job_id)) == of_job[1:3]
        assert list(await self.storage.audit(1, 1)) == []
        assert list(await self.storage.audit(None, 1, "unheard of")) == []

    async def _check_newest_lines(self, job_id: str, expected: list[Entry]) -> None:
        for newest in {1, len(expected), len(expected) + 1}:
            lines = await self.storage.history(job_id, newest)
            assert list(lines or ()) == expected[-newest:]
        for place, line in enumerate(expected[:_PAGE_JOBS]):
            lines = await self.storage.history(job_id, 2, line.sequence)
            assert lines is not None, f"{job_id!r} has no history before line {line.sequence}"
            assert list(lines) == expected[max(0, place - 2) : place]

    async def _check_transitions(self, job_id: str | None, expected: list[Entry]) -> None:
        limit = max(_PAGE_JOBS, len(expected) // 5)
        found: list[Entry] = []
        while page := await self.storage.transitions(
            found[-1].sequence if found else 0, limit, job_id
        ):
            assert len(page) <= limit
            found += page
        assert found == expected
        check_times(line.at for line in found)
        for place, line in enumerate(expected[:_PAGE_JOBS]):
            following = await self.storage.transitions(line.sequence, 2, job_id)
            assert list(following) == expected[place + 1 : place + 3]
        for after in (self.book.last_sequence, _LAST):
            assert list(await self.storage.transitions(after, 1, job_id)) == []

    async def _check_attempts(self, job_id: str) -> None:
        attempts = await self.storage.attempts(job_id)
        assert attempts is not None, f"{job_id!r} has no attempts, not even none"
        assert list(attempts) == self.book.attempts.get(job_id, [])
        check_times(time for each in attempts for time in (each.began_at, each.ended_at))

    async def _check_jobs(self) -> None:
        """Find every job as the owner does: in the table, and then in the storage."""
        expected = self.book.jobs
        keys = {key: each for each in expected.values() if (key := each.idempotency_key)}
        payments = {
            name: each for each in expected.values() if (name := each.blockchain_identifier)
        }
        assert await self.find(expected, keys, payments) == (expected, keys, payments)
        strangers = [near_misses(each) for each in (expected, keys, payments)]
        assert await self.find(*strangers) == ({}, {}, {})
        for job_id in ("unheard of", *sorted(strangers[0])[:3]):
            assert await self.storage.history(job_id) is None
            assert await self.storage.history(job_id, 1, _LAST) is None
            assert await self.storage.attempts(job_id) is None

    async def find(
        self, job_ids: Iterable[str], keys: Iterable[str] = (), payments: Iterable[str] = ()
    ) -> tuple[dict[str, Record], dict[str, Record], dict[str, Record]]:
        """Return the jobs with these ids, with these keys and with these payments, by name."""
        table = self._table
        names = Names(tuple(job_ids), tuple(keys), tuple(payments))
        finders = (table.find, table.find_by_key, table.find_by_payment)
        by_name = [
            {name: job for name in part if (job := find(name))}
            for part, find in zip(names, finders, strict=True)
        ]
        pairs = zip(names, by_name, strict=True)
        left = Names(*(tuple(name for name in part if name not in held) for part, held in pairs))
        for part in await self.checkouts(left):
            for into, found in zip(by_name, part.parts, strict=True):
                into.update({name: check_record(job) for name, job in found.jobs.items()})
        ids, by_key, by_payment = by_name
        return ids, by_key, by_payment

    async def checkouts(self, names: Names) -> list[CheckedOut]:
        """Check out jobs that the owner doesn't hold, in as many parts as that takes."""
        parts: list[CheckedOut] = []
        while any(names):
            part = await self.storage.checkout(names)
            assert not any(found.damaged for found in part.parts)
            records = [check_record(each) for found in part.parts for each in found.jobs.values()]
            assert fit(records)
            pairs = [*zip(names, part.parts, strict=True)]
            # None is left out that stands before one that was found.
            left_out = [name in found.left_out for asked, found in pairs for name in asked]
            found = [name in found.jobs for asked, found in pairs for name in asked]
            assert not any(left_out[: len(found) - found[::-1].index(True)] if any(found) else ())
            names = Names(
                *(tuple(name for name in asked if name in found.left_out) for asked, found in pairs)
            )
            assert records or not any(names), "it leaves all out"
            parts.append(part)
        return parts


def _first_families(families: Iterable[Family], jobs: int, limit: int) -> list[Record]:
    """Return the jobs of the first families: so many, and no family more than a limit needs."""
    found: list[Record] = []
    for family in families:
        if len(found) >= min(jobs, limit):
            break
        found += family.jobs
    return found


def near_misses(texts: Iterable[str]) -> set[str]:
    """Return texts that differ only a little from these."""
    known = set(texts)
    nearly = {"unheard of", "%", "_%", "*"}
    for text in sorted(known)[:_NEARLY]:
        nearly |= {text.swapcase(), text.strip(), f"{text} "}
    return nearly - known - {""}
