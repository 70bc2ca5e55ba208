"""Listings: the pages and counts of a storage, compared with a book."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import astuple, replace

from engine.domain.validation import MAX_INTEGER, MAX_READ_CHARACTERS
from engine.storage.filter import ALL_JOBS, JobFilter, Label
from engine.storage.protocol import Storage
from engine.storage.record import Damaged, Record
from engine.testing.book import Book
from engine.testing.values import MICROSECOND, OddStatus

_PAGE_JOBS: Final = 7  # small and odd: pages end in all places
_FEW: Final = 2
_NO_TIME: Final = timedelta(0)


class Listings:
    """Reads pages and counts of a storage."""

    def __init__(self, storage: Storage, book: Book) -> None:
        self._storage = storage
        self._book = book

    async def check(self) -> None:
        """Compare the pages and counts by every sort of filter with the book."""
        for jobs in _filters(list(self._book.jobs.values())):
            expected = list(filter(jobs.admits, self._book.jobs.values()))
            await self._check_counts(jobs, len(expected))
            for newest_first in (False, True):
                await self._check_pages(jobs, expected, newest_first=newest_first)
                expected.reverse()

    async def _check_counts(self, jobs: JobFilter, expected: int) -> None:
        for at_most in {1, max(1, expected - 1), max(1, expected), expected + 1, MAX_INTEGER}:
            assert await self.count(jobs, at_most) == min(expected, at_most), jobs

    async def count(self, jobs: JobFilter, at_most: int) -> int:
        """Return the sum of all steps of a count."""
        found, after = 0, 0
        while found < at_most:
            counted = await self._storage.count(jobs, at_most - found, after)
            assert counted.jobs <= at_most - found
            found += counted.jobs
            if counted.next_after is None:
                break
            assert jobs != JobFilter(jobs.status), "a status is counted in one step"
            assert counted.next_after > after
            after = counted.next_after
        return found

    async def _check_pages(
        self, jobs: JobFilter, expected: list[Record], *, newest_first: bool
    ) -> None:
        limits = (max(_PAGE_JOBS, len(expected) // 5), len(expected) + 1)
        for limit in limits if jobs.is_simple else limits[:1]:
            pages = await self.pages(jobs, limit, newest_first=newest_first)
            assert [record for page in pages for record in page] == expected, jobs
        first = 1 if newest_first else self._book.last_position
        for after in {first, 1 if newest_first else MAX_INTEGER}:
            page = await self._storage.page(jobs, after, 1, newest_first=newest_first)
            assert not page.jobs
            assert page.next_after is None

    async def pages(
        self, jobs: JobFilter, limit: int, *, newest_first: bool = False
    ) -> list[list[Record]]:
        """Return all jobs that a filter admits, page by page, up to the last one.

        Each page is as long as it may be, or the last, or one of a filter with several parts.
        """
        pages: list[list[Record]] = []
        after: int | None = 0
        while after is not None:
            page = await self._storage.page(jobs, after, limit, newest_first=newest_first)
            records = [check_record(each) for each in page.jobs]
            assert len(records) <= limit
            assert fit(records)
            pages.append(records)
            if page.next_after is not None:
                assert not after or (page.next_after < after) is newest_first
                assert page.next_after != after
            after = page.next_after
            if jobs.is_simple and after is not None:
                following = await self._storage.page(jobs, after, 1, newest_first=newest_first)
                [follower] = map(check_record, following.jobs)
                assert len(records) == limit or not fit([*records, follower])
        return pages


def _filters(records: Sequence[Record]) -> Iterator[JobFilter]:
    """Return filters of every sort, for these jobs: such as admit some, and such as admit none."""
    yield ALL_JOBS
    statuses = [status.value for status in OddStatus]
    yield from map(JobFilter, [*statuses, "unheard of"])
    kinds = sorted({record.kind for record in records})[:_FEW]
    labels = _labels(records)
    for kind in {"default", "unheard-of", *kinds}:
        yield JobFilter(kind=kind)
        yield JobFilter(OddStatus.RUNNING, kind)
    for one, other in zip(labels, [*labels[1:], *labels[:1]], strict=True):
        yield JobFilter(labels=(one,))
        yield JobFilter(labels=(one, other))
        yield JobFilter(OddStatus.DONE, labels=(one,))
        yield from (JobFilter(kind=kind, labels=(one,)) for kind in kinds)
    yield from _hashes(records, labels)
    yield from _ranges(records, labels)
    yield from _families(records, kinds, labels)


def _hashes(records: Sequence[Record], labels: Sequence[Label]) -> Iterator[JobFilter]:
    """Return filters by the hashes of inputs, and by one that no job has."""
    hashes = sorted({record.input_hash for record in records})[:_FEW]
    for each in (*hashes, *(f"{each.swapcase()} " for each in hashes)):
        yield JobFilter(input_hash=each)
        yield JobFilter(OddStatus.RUNNING, input_hash=each)
        yield JobFilter(kind="default", labels=(labels[0],), input_hash=each)


def _labels(records: Sequence[Record]) -> list[Label]:
    """Return some labels that jobs have, and some that differ only a little from them."""
    kept = [record.labels for record in records if record.labels is not None]
    pairs = [Label(*each) for text in kept[:_FEW] for each in json.loads(text).items()]
    nearly = [Label(name.swapcase(), f"{value} ") for name, value in pairs[:_FEW]]
    return list(dict.fromkeys([*pairs, *nearly, Label("unheard of", "%")]))


def _ranges(records: Sequence[Record], labels: Sequence[Label]) -> Iterator[JobFilter]:
    """Return filters by the time of creation: a bound is a time at which a job was created."""
    times = sorted({record.created_at for record in records})
    for time in times[1 :: max(1, len(times) // _FEW)]:
        yield JobFilter(created_after=time)
        yield JobFilter(created_before=time, kind="default")
        yield JobFilter(created_after=times[0], created_before=time, labels=(labels[0],))
    if times:
        yield JobFilter(OddStatus.WAITING, created_after=times[0], created_before=times[-1])
    yield from _awaited(records)


def _awaited(records: Sequence[Record]) -> Iterator[JobFilter]:
    """Return filters by the times at which jobs came to their statuses, began, and become due."""
    executions = [record.execution for record in records]
    newest = [*(each.updated_at for each in records), *(each.claimed_at for each in executions)]
    due = [*(each.deadline_at for each in executions), *(each.retry_at for each in executions)]
    for time in _few([*newest, *due]):
        yield JobFilter(still_since=time)
        yield JobFilter(OddStatus.RUNNING, still_since=time - MICROSECOND)
    for time in _few(due):
        yield JobFilter(due_by=time)
        yield JobFilter(OddStatus.RUNNING, due_by=time - MICROSECOND)


def _few(times: Iterable[datetime | None]) -> list[datetime]:
    ordered = sorted({time for time in times if time is not None})
    return ordered[:: max(1, len(ordered) // _FEW)]


def _families(
    records: Sequence[Record], kinds: Sequence[str], labels: Sequence[Label]
) -> Iterator[JobFilter]:
    """Return filters by the roots of follow-ups, and such as leave follow-ups out."""
    roots = sorted({record.root_id for record in records if record.parent_id is not None})[:_FEW]
    for root in (*roots, *(f"{root.swapcase()} " for root in roots)):
        yield JobFilter(root_id=root)
        yield JobFilter(OddStatus.RUNNING, root_id=root)
        yield JobFilter(root_id=root, labels=(labels[0],))
        yield from (JobFilter(kind=kind, root_id=root) for kind in kinds)
        yield JobFilter(root_id=root, follow_ups=False)
    yield JobFilter(follow_ups=False)
    if roots:
        yield from (JobFilter(status, follow_ups=False) for status in OddStatus)
        yield from (JobFilter(kind=kind, follow_ups=False) for kind in {"default", *kinds})
        yield JobFilter(OddStatus.RUNNING, labels=(labels[0],), follow_ups=False)
        yield JobFilter(created_after=records[0].created_at, follow_ups=False)


def fit(records: Sequence[Record]) -> bool:
    """Tell whether one read may give these jobs."""
    return len(records) <= 1 or sum(each.characters for each in records) <= MAX_READ_CHARACTERS


def check_record(record: Record | Damaged) -> Record:
    """Return a record after checking its form; see `engine.storage.record`.

    It comes without its revision: a storage may write a row as often as it likes.
    """
    assert isinstance(record, Record)
    values = (*astuple(record), *astuple(record.execution))
    check_times(value for value in values if isinstance(value, datetime))
    return replace(record, revision=0)


def check_times(times: Iterable[datetime]) -> None:
    """Check that times are aware and in UTC."""
    assert all(time.utcoffset() == _NO_TIME for time in times)
