"""Listing: pages and counts of the jobs that a filter admits.

One part of the filter leads: the positions of its jobs come from its index, in order, and the rest
of the filter is asked of each job. Of several parts the one leads whose next 10,000 jobs reach
furthest, which is the one that admits the fewest. No statement goes further than these, so a page
or a count may end there, and the next one goes on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final, NamedTuple

from engine.domain.labels import DEFAULT_KIND
from engine.domain.time_text import time_text
from engine.storage.answers import StoredCount, StoredPage
from engine.storage.filter import JobFilter
from engine.storage.record import Damaged, Record
from engine.storage.sqlite.reading import JOB_AND_SEQUENCE, read_job

_SEARCHED_ROWS: Final = 10_000  # for one page or count: some milliseconds
_COUNTED_ROWS: Final = 100_000  # of an index alone
_NO_LIMIT: Final = -1
_LAST_POSITION: Final = 2**63 - 1


class _Order(NamedTuple):
    """The order of a page."""

    behind: str
    """How the position of a job behind another one compares with that one's."""
    direction: str
    last: str
    """Gives the last position of some."""


_OLDEST_FIRST: Final = _Order(">", "ASC", "max")
_NEWEST_FIRST: Final = _Order("<", "DESC", "min")


class _Part(NamedTuple):
    """A part of a filter."""

    condition: str
    """Holds for a row of jobs."""
    values: tuple[str, ...] = ()
    table: str = ""
    """Has the positions of just these jobs, in their order, by an index; empty if none has."""
    indexed: str = ""
    """The condition in that table."""


_ALL: Final = _Part("TRUE", table="jobs", indexed="TRUE")


class _Lead(NamedTuple):
    """A part, and its next jobs."""

    part: _Part
    jobs: int
    """How many there are, up to a limit."""
    searched_to: int | None
    """The last one's position, if the limit was reached."""


def page(
    connection: sqlite3.Connection,
    jobs: JobFilter,
    after: int,
    limit: int,
    *,
    newest_first: bool = False,
) -> StoredPage:
    """Return a page of jobs; see `engine.storage.Storage.page`."""
    order = _NEWEST_FIRST if newest_first else _OLDEST_FIRST
    parts, start = _parts(jobs), _start(after, order)
    if jobs.is_simple:
        lead, rows = _Lead(parts[0] if parts else _ALL, 0, None), _NO_LIMIT
    else:
        lead, rows = _leading(connection, parts, order, start), _SEARCHED_ROWS
    statement, values = _candidates(lead.part, parts, order, start, rows)
    with closing(connection.execute(f"SELECT {JOB_AND_SEQUENCE} {statement}", values)) as found:
        return StoredPage.of(_admitted(jobs, found), limit, lead.searched_to)


def count(connection: sqlite3.Connection, jobs: JobFilter, at_most: int, after: int) -> StoredCount:
    """Count jobs; see `engine.storage.Storage.count`."""
    order, parts = _OLDEST_FIRST, _parts(jobs)
    if jobs.is_simple:
        rows = min(at_most, _COUNTED_ROWS)
        lead = _measured(connection, parts[0] if parts else _ALL, order, after, rows)
        return StoredCount(lead.jobs, lead.searched_to)
    lead = _leading(connection, parts, order, after)
    statement, values = _candidates(lead.part, parts, order, after, _SEARCHED_ROWS)
    [found] = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 {statement} LIMIT ?)", (*values, at_most)
    ).fetchone()
    return StoredCount(found, lead.searched_to)


def _parts(jobs: JobFilter) -> list[_Part]:
    parts = [
        _Part(
            "EXISTS (SELECT 1 FROM labels WHERE name = ? AND value = ? "
            "AND labels.position = jobs.position)",
            tuple(label),
            "labels",
            "name = ? AND value = ?",
        )
        for label in jobs.labels
    ]
    if jobs.kind == DEFAULT_KIND:
        parts.append(_Part("kind IS NULL"))
    elif jobs.kind is not None:
        parts.append(_Part("kind = ?", (jobs.kind,), "jobs", "kind = ?"))
    if jobs.status is not None:
        parts.append(_Part("status = ?", (jobs.status,), "jobs", "status = ?"))
    if jobs.root_id is not None:
        parts.append(_Part("root_id = ?", (jobs.root_id,), "jobs", "root_id = ?"))
    return [*parts, *_parts_without_index(jobs)]


def _parts_without_index(jobs: JobFilter) -> Iterator[_Part]:
    """Yield the other parts: an index for each would make a create about a twentieth slower."""
    if not jobs.follow_ups:
        yield _Part("root_id IS NULL")
    if jobs.input_hash is not None:
        yield _Part("input_hash = ?", (jobs.input_hash,))
    if jobs.created_after is not None:
        yield _Part("created_at >= ?", (time_text(jobs.created_after),))
    if jobs.created_before is not None:
        yield _Part("created_at < ?", (time_text(jobs.created_before),))
    if jobs.still_since is not None:
        newest = "max(updated_at, coalesce(claimed_at, ''), coalesce(retry_at, ''))"
        yield _Part(f"{newest} <= ?", (time_text(jobs.still_since),))
    if jobs.due_by is not None:
        by = time_text(jobs.due_by)
        yield _Part("(deadline_at <= ? OR retry_at <= ?)", (by, by))


def _start(after: int, order: _Order) -> int:
    return _LAST_POSITION if order is _NEWEST_FIRST and not after else after


def _leading(
    connection: sqlite3.Connection, parts: list[_Part], order: _Order, start: int
) -> _Lead:
    """Return the part that admits the fewest jobs; without an index, all jobs."""
    able = [part for part in parts if part.table] or [_ALL]
    leads = [_measured(connection, part, order, start, _SEARCHED_ROWS) for part in able]

    def room(lead: _Lead) -> tuple[bool, int]:
        if lead.searched_to is None:
            return False, lead.jobs
        return True, -abs(lead.searched_to - start)

    return min(leads, key=room)


def _measured(
    connection: sqlite3.Connection, part: _Part, order: _Order, start: int, rows: int
) -> _Lead:
    positions, values = _positions(part, order, start, rows)
    found, last = connection.execute(
        f"SELECT count(*), {order.last}(position) FROM ({positions})", values
    ).fetchone()
    return _Lead(part, found, last if found == rows else None)


def _candidates(
    lead: _Part, parts: list[_Part], order: _Order, start: int, rows: int
) -> tuple[str, tuple[Any, ...]]:
    """Return the FROM of jobs in their order: those of one part that the others admit.

    A cross join goes through its left side first (https://www.sqlite.org/optoverview.html, 8.2).
    """
    positions, values = _positions(lead, order, start, rows)
    others = [part for part in parts if part is not lead]
    conditions = " AND ".join(["TRUE", *(part.condition for part in others)])
    statement = (
        f"FROM ({positions}) AS candidates "
        f"CROSS JOIN jobs ON jobs.position = candidates.position WHERE {conditions}"
    )
    return statement, (*values, *(value for part in others for value in part.values))


def _positions(part: _Part, order: _Order, start: int, rows: int) -> tuple[str, tuple[Any, ...]]:
    """Return the query of the next positions of a part's jobs."""
    query = (
        f"SELECT position FROM {part.table} WHERE {part.indexed} AND position {order.behind} ? "
        f"ORDER BY position {order.direction} LIMIT ?"
    )
    return query, (*part.values, start, rows)


def _admitted(jobs: JobFilter, rows: sqlite3.Cursor) -> Iterator[Record | Damaged]:
    """Return the jobs of rows, without those that a damaged index leads to."""
    for row in rows:
        job = read_job(row)
        if isinstance(job, Damaged) or jobs.admits(job):
            yield job
