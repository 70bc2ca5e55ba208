"""Notes: the few values that a file keeps by name, beside its jobs and transitions."""

from __future__ import annotations

import sqlite3
from typing import Any

from engine.domain.exceptions import StorageDamagedError, shown
from engine.storage.record import MAX_NUMBER
from engine.storage.sqlite.stored import DamagedRowError, check_row


def newest_number(connection: sqlite3.Connection, number: str, table: str) -> int:
    """Return the newest number that was ever given; a note has that of removed rows.

    Raises:
        StorageDamagedError: The note is missing or damaged, or no number can follow.
    """
    statement = f"SELECT coalesce(max({number}), 0) FROM {table}"
    newest: int = connection.execute(statement).fetchone()[0]
    if newest > MAX_NUMBER:
        raise StorageDamagedError(f"the newest {number} in {table} is {newest}: none can follow")
    return max(newest, read_number(connection, f"last_{number}"))


def read_number(connection: sqlite3.Connection, name: str) -> int:
    """Return the number in a note.

    Raises:
        StorageDamagedError: The note is missing or damaged, or has no number.
    """
    value = read_note(connection, name)
    if not isinstance(value, int) or not 0 <= value <= MAX_NUMBER:
        raise StorageDamagedError(f"the note {name} is damaged: it can't be {shown(value)}")
    return value


def read_text(connection: sqlite3.Connection, name: str) -> str | None:
    """Return the text in a note; None if it is missing or damaged."""
    try:
        value = read_note(connection, name)
    except StorageDamagedError:
        return None
    return value if isinstance(value, str) else None


def read_rules(connection: sqlite3.Connection) -> str:
    """Return the rules of follow-ups, in their stored form.

    Raises:
        StorageDamagedError: The note is missing or damaged.
    """
    return str(read_note(connection, "rules"))


def read_pauses(connection: sqlite3.Connection) -> str:
    """Return the pauses, in their stored form.

    Raises:
        StorageDamagedError: The note is missing or damaged.
    """
    return str(read_note(connection, "pauses"))


def has_note(connection: sqlite3.Connection, name: str, value: str | int) -> bool:
    """Return whether a note has this value; a damaged one has none."""
    try:
        return bool(read_note(connection, name) == value)
    except StorageDamagedError:
        return False


def read_note(connection: sqlite3.Connection, name: str) -> Any:  # noqa: ANN401 - text or number
    """Return the value of a note.

    Raises:
        StorageDamagedError: The note is missing or damaged.
    """
    row = connection.execute(
        "SELECT name, value, checksum FROM engine WHERE name = ?", (name,)
    ).fetchone()
    try:
        check_row(row or (name, None, None))
    except DamagedRowError as error:
        raise StorageDamagedError(f"the note {name} is damaged: {error}") from error
    return row[1]
