"""Listing: pages and counts of the jobs that a filter admits.

One part of the filter leads: the positions of its jobs come from its index, in order, and the rest
of the filter is asked of each job. Of several parts the one leads whose next 10,000 jobs reach
furthest, which is the one that admits the fewest. No statement goes further than these, so a page
or a count may end there, and the next one goes on.

The next jobs of a part are those behind a place in its index, ``(status, position) > ('done', 7)``.
By ``status = 'done' ORDER BY position`` the server may walk the index of all positions instead,
past a million jobs that have another status.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from engine.storage.answers import StoredCount, StoredPage
from engine.storage.filter import JobFilter
from engine.storage.postgres.reading import Reader
from engine.storage.postgres.rows import record_of
from engine.storage.postgres.statements import Statements

_SEARCHED_ROWS: Final = 10_000  # for one page or count: some milliseconds
_COUNTED_ROWS: Final = 100_000  # of an index alone
_LAST_POSITION: Final = 2**63 - 1


class _Order(NamedTuple):
    """The order of a page."""

    behind: str
    """How the place of a job behind another one compares with that one's."""
    within: str
    """How the keys of all jobs of a part compare with those of the part."""
    direction: str
    last: str
    """Gives the last position of some."""


_OLDEST_FIRST: Final = _Order(">", "<=", "ASC", "max")
_NEWEST_FIRST: Final = _Order("<", ">=", "DESC", "min")


class _Part(NamedTuple):
    """A part of a filter."""

    condition: str
    """Holds for a row of jobs."""
    values: tuple[Any, ...] = ()
    table: str = ""
    """Has an index of just these jobs in the order of their positions; empty if none has."""
    keys: tuple[str, ...] = ()
    """The columns of that index before the position, which have the values."""


_ALL: Final = _Part("true", table="jobs")


class _Lead(NamedTuple):
    """A part, and its next jobs."""

    part: _Part
    jobs: int
    """How many there are, up to a limit."""
    searched_to: int | None
    """The last one's position, if the limit was reached."""


def page(
    cursor: Reader,
    statements: Statements,
    jobs: JobFilter,
    after: int,
    limit: int,
    *,
    newest_first: bool = False,
) -> StoredPage:
    """Return a page of jobs; see `engine.storage.Storage.page`."""
    order = _NEWEST_FIRST if newest_first else _OLDEST_FIRST
    parts, start = _parts(jobs, statements.schema), _start(after, order)
    if jobs.is_simple:
        lead, rows = _Lead(parts[0] if parts else _ALL, 0, None), limit + 1
    else:
        lead, rows = _leading(cursor, statements, parts, order, start), _SEARCHED_ROWS
    found, values = _candidates(statements, lead.part, parts, order, start, rows)
    query = statements.limited(
        f"SELECT job.*, job.position AS place {found} "
        f"ORDER BY {_by_index('candidate.', lead.part, order)} LIMIT %b",
        order.direction,
    )
    rows_found = cursor.execute(query.encode(), (*values, limit + 1))
    return StoredPage.of((record_of(row[1:]) for row in rows_found), limit, lead.searched_to)


def count(
    cursor: Reader, statements: Statements, jobs: JobFilter, at_most: int, after: int
) -> StoredCount:
    """Count jobs; see `engine.storage.Storage.count`."""
    order, parts = _OLDEST_FIRST, _parts(jobs, statements.schema)
    if jobs == JobFilter(jobs.status):
        lead = _measured(cursor, statements, parts[0] if parts else _ALL, order, after, at_most)
        return StoredCount(lead.jobs)
    if jobs.is_simple:
        rows = min(at_most, _COUNTED_ROWS)
        lead = _measured(cursor, statements, parts[0], order, after, rows)
        return StoredCount(lead.jobs, lead.searched_to)
    lead = _leading(cursor, statements, parts, order, after)
    found, values = _candidates(statements, lead.part, parts, order, after, _SEARCHED_ROWS)
    [counted] = cursor.execute(
        f"SELECT count(*) FROM (SELECT {found} LIMIT %b) AS admitted".encode(), (*values, at_most)
    ).fetchone() or (0,)
    return StoredCount(counted, lead.searched_to)


def _parts(jobs: JobFilter, schema: str) -> list[_Part]:
    parts = [
        _Part(
            f"EXISTS (SELECT FROM {schema}.labels AS label WHERE label.name = %b "
            "AND label.value = %b AND label.position = job.position)",
            tuple(label),
            "labels",
            ("name", "value"),
        )
        for label in jobs.labels
    ]
    if jobs.kind is not None:
        parts.append(_Part("job.kind = %b", (jobs.kind,), "jobs", ("kind",)))
    if jobs.status is not None:
        parts.append(_Part("job.status = %b", (jobs.status,), "jobs", ("status",)))
    if jobs.root_id is not None:
        parts.append(_Part("job.root_id = %b", (jobs.root_id,), "jobs", ("root_id",)))
    return [*parts, *_parts_without_index(jobs)]


def _parts_without_index(jobs: JobFilter) -> Iterator[_Part]:
    """Yield the other parts: an index for each would make a create slower."""
    if not jobs.follow_ups:
        yield _Part("job.root_id IS NULL")
    if jobs.input_hash is not None:
        yield _Part("job.input_hash = %b", (jobs.input_hash,))
    if jobs.created_after is not None:
        yield _Part("job.created_at >= %b", (jobs.created_after,))
    if jobs.created_before is not None:
        yield _Part("job.created_at < %b", (jobs.created_before,))
    if jobs.still_since is not None:
        newest = "greatest(job.updated_at, job.claimed_at, job.retry_at)"  # of those not NULL
        yield _Part(f"{newest} <= %b", (jobs.still_since,))
    if jobs.due_by is not None:
        due = "(job.deadline_at <= %b OR job.retry_at <= %b)"
        yield _Part(due, (jobs.due_by, jobs.due_by))


def _start(after: int, order: _Order) -> int:
    return _LAST_POSITION if order is _NEWEST_FIRST and not after else after


def _leading(
    cursor: Reader, statements: Statements, parts: list[_Part], order: _Order, start: int
) -> _Lead:
    """Return the part that admits the fewest jobs; without an index, all jobs."""
    able = [part for part in parts if part.table] or [_ALL]
    leads = [_measured(cursor, statements, part, order, start, _SEARCHED_ROWS) for part in able]

    def room(lead: _Lead) -> tuple[bool, int]:
        if lead.searched_to is None:
            return False, lead.jobs
        return True, -abs(lead.searched_to - start)

    return min(leads, key=room)


def _measured(
    cursor: Reader, statements: Statements, part: _Part, order: _Order, start: int, rows: int
) -> _Lead:
    positions, values = _positions(statements, part, order, start, rows)
    found, last = cursor.execute(
        f"SELECT count(*), {order.last}(position) FROM ({positions}) AS found".encode(), values
    ).fetchone() or (0, None)
    return _Lead(part, found, last if found == rows else None)


def _candidates(
    statements: Statements, lead: _Part, parts: list[_Part], order: _Order, start: int, rows: int
) -> tuple[str, tuple[Any, ...]]:
    """Return the FROM of jobs: those of one part that the others admit."""
    positions, values = _positions(statements, lead, order, start, rows)
    others = [part for part in parts if part is not lead]
    conditions = " AND ".join(["true", *(part.condition for part in others)])
    statement = (
        f"FROM ({positions}) AS candidate "
        f"JOIN {statements.schema}.jobs AS job ON job.position = candidate.position "
        f"WHERE {conditions}"
    )
    return statement, (*values, *(value for part in others for value in part.values))


def _positions(
    statements: Statements, part: _Part, order: _Order, start: int, rows: int
) -> tuple[str, tuple[Any, ...]]:
    """Return the query of the next positions of a part's jobs, with the keys of its index."""
    columns = (*part.keys, "position")
    condition = _compared(columns, order.behind)
    values: tuple[Any, ...] = (*part.values, start)
    if part.keys:
        condition += f" AND {_compared(part.keys, order.within)}"
        condition += "".join(f" AND {key} IS NOT NULL" for key in part.keys)  # as in its index
        values += part.values
    query = (
        f"SELECT {', '.join(columns)} FROM {statements.schema}.{part.table} WHERE {condition} "
        f"ORDER BY {_by_index('', part, order)} LIMIT %b"
    )
    return query, (*values, rows)


def _compared(columns: tuple[str, ...], how: str) -> str:
    """Return the comparison of columns with as many values."""
    return f"({', '.join(columns)}) {how} ({', '.join(['%b'] * len(columns))})"


def _by_index(of: str, part: _Part, order: _Order) -> str:
    """Return the order of a part's index."""
    return ", ".join(f"{of}{column} {order.direction}" for column in (*part.keys, "position"))
