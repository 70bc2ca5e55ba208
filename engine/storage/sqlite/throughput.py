"""The throughput in a file: count transitions by minute, in steps, and read the counts.

SQLite itself counts. A transition whose columns can't be read counts nothing, and a damaged row of
counts is taken for none. If it can't be read how far they reach, all are counted anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

from engine.domain.exceptions import StorageDamagedError
from engine.domain.time_text import time_text
from engine.portal.logs import TaskLogger
from engine.storage.findings import Finding, printable_name
from engine.storage.sqlite.notes import newest_number, read_number
from engine.storage.sqlite.reading import SELECT_TRANSITIONS
from engine.storage.sqlite.rows import THROUGHPUT_COLUMNS, Row, checksum
from engine.storage.sqlite.stored import DamagedRowError, read_entry, read_minute_count
from engine.storage.sqlite.writing import write_note
from engine.storage.throughput import (
    SEEN_TRANSITIONS,
    STEP_TRANSITIONS,
    MinuteCount,
    SeenThroughput,
    Span,
    minute_of,
)

logger: Final = TaskLogger("engine")

_COUNTED: Final = "counted"  # the note of the newest transition that is counted
_SELECT: Final = f"SELECT {', '.join(THROUGHPUT_COLUMNS)} FROM throughput"
_NEWEST: Final = f"{SELECT_TRANSITIONS} ORDER BY sequence DESC LIMIT 100"  # but for damaged ones
_LAST: Final = "SELECT max(sequence) FROM transitions"
_BEHIND: Final = "SELECT sequence, at FROM transitions WHERE sequence > ? ORDER BY sequence LIMIT 1"
_END: Final = """
    SELECT max(sequence) FROM (
        SELECT sequence FROM transitions WHERE sequence > ? ORDER BY sequence LIMIT ?
    )
"""
_GROUPS: Final = """
    SELECT substr(at, 1, 17) || '00.000000Z', to_status, from_status IS NULL, count(*)
    FROM transitions WHERE {} AND at >= ? AND at <= ?
    GROUP BY 1, 2, 3
"""
_OF_NUMBERS: Final = "sequence > ? AND sequence <= ?"


def has_uncounted(connection: sqlite3.Connection) -> bool:
    """Return whether there are transitions that are not counted yet."""
    return connection.execute(_BEHIND, (_counted(connection) or 0,)).fetchone() is not None


def count_some(writer: sqlite3.Connection) -> None:
    """Count the next transitions, in the caller's transaction.

    Raises:
        StorageDamagedError: None of the newest transitions can be read.
    """
    span = _kept(writer)
    if span is None:
        raise StorageDamagedError("the times of the newest transitions are damaged")
    begin = _begin(writer, _counted_or_anew(writer), span.first)
    [end] = writer.execute(_END, (begin, STEP_TRANSITIONS)).fetchone()
    if end is not None:
        _add(writer, _groups(writer, _OF_NUMBERS, (begin, end), span))
        _drop_others(writer, span)
        write_note(writer, _COUNTED, end)


def count_removed(writer: sqlite3.Connection, positions: Sequence[int]) -> None:
    """Count those transitions of jobs that are not counted yet: the caller removes them."""
    if (span := _kept(writer)) is not None:
        chosen = f"+sequence > ? AND position IN ({', '.join('?' * len(positions))})"
        values = (_counted_or_anew(writer), *positions)
        _add(writer, _groups(writer, chosen, values, span))
        _drop_others(writer, span)


def rename_counted(writer: sqlite3.Connection, names: Mapping[str, str]) -> None:
    """Give statuses other names."""
    counts = [each for each in _read(writer, _SELECT) if each.status in names]
    writer.executemany("DELETE FROM throughput WHERE status = ?", [(name,) for name in names])
    _add(writer, (each._replace(status=names[each.status]) for each in counts))


def read_throughput(connection: sqlite3.Connection, since: datetime) -> list[MinuteCount]:
    """Return the counts of the minutes from one on, in their order."""
    return list(_read(connection, f"{_SELECT} WHERE minute >= ? ORDER BY minute", time_text(since)))


def see_throughput(connection: sqlite3.Connection, since: datetime) -> SeenThroughput:
    """Return the counts from a minute on, together with what is not counted yet; write nothing."""
    counted, span = _counted(connection), _kept(connection)
    kept = [] if counted is None else read_throughput(connection, since)
    if span is None:
        return SeenThroughput(kept, are_all=True)
    span = span._replace(first=max(span.first, minute_of(since)))
    begin = _begin(connection, counted or 0, span.first)
    [end] = connection.execute(_END, (begin, SEEN_TRANSITIONS)).fetchone()
    if end is None:
        return SeenThroughput(kept, are_all=True)
    rest = _groups(connection, _OF_NUMBERS, (begin, end), span)
    are_all = connection.execute(_BEHIND, (end,)).fetchone() is None
    return SeenThroughput([*kept, *rest], are_all)


def throughput_problems(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Return all that is wrong with the counts."""
    for row in connection.execute(_SELECT):
        try:
            read_minute_count(row)
        except DamagedRowError as error:
            yield Finding(f"the throughput of {printable_name(row[0])}", str(error))
    counted = _counted(connection)  # None is a finding of its own
    with suppress(StorageDamagedError):
        if counted and counted > (newest := newest_number(connection, "sequence", "transitions")):
            yield Finding("note counted", f"it is {counted}, and the newest transition is {newest}")


def _counted(connection: sqlite3.Connection) -> int | None:
    """Return the number of the newest transition that is counted; None if that can't be read."""
    with suppress(StorageDamagedError):
        return read_number(connection, _COUNTED)
    return None


def _counted_or_anew(writer: sqlite3.Connection) -> int:
    """Return that number; or begin anew, without any counts."""
    if (counted := _counted(writer)) is not None:
        return counted
    logger.warning("the note %s was damaged: transitions are counted anew", _COUNTED)
    writer.execute("DELETE FROM throughput")
    write_note(writer, _COUNTED, 0)
    return 0


def _kept(connection: sqlite3.Connection) -> Span | None:
    """Return the minutes whose counts are kept; None if the newest transitions don't say."""
    for row in connection.execute(_NEWEST):
        with suppress(DamagedRowError):
            return Span.around(read_entry(row, "").at)
    return None


def _begin(connection: sqlite3.Connection, counted: int, first: datetime) -> int:
    """Return the number behind which a count begins: without transitions before a time.

    A bisection, for times mostly ascend: a day ago may be millions of transitions ago.
    """
    [last] = connection.execute(_LAST).fetchone()
    low = middle = counted
    high, time = max(low, last or 0), time_text(first)
    while low < high:
        behind = connection.execute(_BEHIND, (middle,)).fetchone()
        if behind is None or str(behind[1]) >= time:
            high = middle
        else:
            low = behind[0]
        middle = (low + high) // 2
    return low


def _groups(
    connection: sqlite3.Connection, chosen: str, values: Sequence[int], span: Span
) -> list[MinuteCount]:
    """Count the chosen transitions, without those whose columns are damaged."""
    times, counts = (time_text(span.first), time_text(span.last)), list[MinuteCount]()
    for row in connection.execute(_GROUPS.format(chosen), (*values, *times)):
        with suppress(DamagedRowError, UnicodeEncodeError):
            counts.append(read_minute_count((*row, checksum(row))))
    return counts


def _add(writer: sqlite3.Connection, counts: Iterable[MinuteCount]) -> None:
    for each in counts:
        key = (time_text(each.minute), each.status, int(each.is_created))
        where = "WHERE minute = ? AND status = ? AND is_created = ?"
        before = sum(kept.transitions for kept in _read(writer, f"{_SELECT} {where}", *key))
        values = (*key, before + each.transitions)
        writer.execute(
            "REPLACE INTO throughput VALUES (?, ?, ?, ?, ?)", (*values, checksum(values))
        )


def _drop_others(writer: sqlite3.Connection, span: Span) -> None:
    for comparison, time in (("<", span.first), (">", span.last)):
        writer.execute(f"DELETE FROM throughput WHERE minute {comparison} ?", (time_text(time),))


def _read(connection: sqlite3.Connection, query: str, *values: object) -> Iterator[MinuteCount]:
    rows: Iterable[Row] = connection.execute(query, values)
    for row in rows:
        with suppress(DamagedRowError):
            yield read_minute_count(row)
