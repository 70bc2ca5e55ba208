"""The audit in a file: read its lines, and check them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from engine.storage.audit import KEPT_AUDIT_LINES, DamagedAuditLine, KeptAuditLine
from engine.storage.findings import Finding, printable_name
from engine.storage.record import MAX_NUMBER
from engine.storage.sqlite.rows import AUDIT_COLUMNS, Row
from engine.storage.sqlite.stored import DamagedRowError, read_audit_line

SELECT_AUDIT: Final = f"SELECT {', '.join(AUDIT_COLUMNS)} FROM audit"


def read_lines(
    connection: sqlite3.Connection, before: int | None, limit: int, job_id: str | None
) -> list[KeptAuditLine | DamagedAuditLine]:
    """Return the lines with a number below ``before``, newest first."""
    chosen = "" if job_id is None else "AND job_id = ?"
    names = () if job_id is None else (job_id,)
    rows = connection.execute(
        f"{SELECT_AUDIT} WHERE number < ? {chosen} ORDER BY number DESC LIMIT ?",
        (MAX_NUMBER if before is None else before, *names, limit),
    )
    return [*map(_line, rows)]


def _line(row: Row) -> KeptAuditLine | DamagedAuditLine:
    try:
        return read_audit_line(row)
    except DamagedRowError as error:
        return DamagedAuditLine(row[0], str(error))


def audit_problems(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Return all that is wrong with the lines of the audit."""
    last = kept = 0
    for row in connection.execute(f"{SELECT_AUDIT} ORDER BY number"):
        where = f"line {printable_name(str(row[0]))} of the audit"
        try:
            read_audit_line(row)
        except DamagedRowError as error:
            yield Finding(where, str(error))
        if last and row[0] != last + 1:
            yield Finding(where, "the line before it is missing")
        last = row[0]
        kept += 1
    if kept > KEPT_AUDIT_LINES:
        yield Finding("the audit", f"it has {kept} lines, and not {KEPT_AUDIT_LINES} at most")
