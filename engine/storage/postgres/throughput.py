"""The throughput in a shared database: reads, and other names of statuses."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from engine.storage.postgres.arrays import texts
from engine.storage.postgres.counting import COUNTS, LOCK_COUNTED
from engine.storage.postgres.reading import Reader, one
from engine.storage.postgres.statements import Statements
from engine.storage.throughput import SEEN_TRANSITIONS, MinuteCount, SeenThroughput, minute_of

_COLUMNS: Final = ", ".join(MinuteCount._fields)


def read_throughput(cursor: Reader, statements: Statements, since: datetime) -> list[MinuteCount]:
    """Return the counts of the minutes from one on, in their order."""
    query = f"SELECT {_COLUMNS} FROM {statements.schema}.throughput WHERE minute >= %b ORDER BY 1"
    return [MinuteCount(*row) for row in cursor.execute(query.encode(), (since,))]


def see_throughput(cursor: Reader, statements: Statements, since: datetime) -> SeenThroughput:
    """Return the counts from a minute on, together with what is not counted yet; write nothing."""
    s, kept = statements.schema, read_throughput(cursor, statements, since)
    begin_and_end = (
        f"SELECT begin, (SELECT max(sequence) FROM (SELECT sequence FROM {s}.transitions "
        "WHERE sequence > begin ORDER BY sequence LIMIT %b) AS step), "
        f"(SELECT max(sequence) FROM {s}.transitions) "
        f"FROM {s}.throughput_begin_1((SELECT value::bigint FROM {s}.notes "
        "WHERE name = 'counted'), %b) AS begin"
    )
    first = minute_of(since)
    begin, end, newest = one(cursor, begin_and_end.encode(), (SEEN_TRANSITIONS, first))
    rest = cursor.execute(
        f"SELECT {COUNTS} "
        f"FROM {s}.transitions, {s}.throughput_kept_1() AS kept WHERE sequence > %b "
        "AND sequence <= %b AND at >= greatest(%b, kept.first) AND at <= kept.last "
        "GROUP BY 1, 2, 3".encode(),
        (begin, end, first),
    )
    return SeenThroughput([*kept, *(MinuteCount(*row) for row in rest)], end in {None, newest})


def rename_counted(cursor: Reader, statements: Statements, names: Mapping[str, str]) -> None:
    """Give statuses other names, in the caller's transaction."""
    s = statements.schema
    cursor.execute(LOCK_COUNTED.format(f"{s}.").encode())
    old = cursor.execute(
        f"DELETE FROM {s}.throughput WHERE status = ANY (%b) RETURNING {_COLUMNS}".encode(),
        (texts([*names]),),
    )
    renamed = [MinuteCount(*row) for row in old]
    cursor.executemany(
        f"INSERT INTO {s}.throughput AS kept ({_COLUMNS}) VALUES (%b, %b, %b, %b) "
        "ON CONFLICT (minute, status, is_created) "
        "DO UPDATE SET transitions = kept.transitions + excluded.transitions".encode(),
        [each._replace(status=names[each.status]) for each in renamed],
    )
