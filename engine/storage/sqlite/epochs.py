"""Epochs in a file: read them, begin the first one, and another one in a copy."""

from __future__ import annotations

import sqlite3
from typing import Final

from engine.domain.epochs import Epoch, new_epoch
from engine.domain.exceptions import StorageDamagedError
from engine.storage.sqlite.notes import newest_number
from engine.storage.sqlite.rows import checksum
from engine.storage.sqlite.stored import DamagedRowError, read_epoch

SELECT_EPOCHS: Final = "SELECT number, name, first_sequence, checksum FROM epochs"


def read_epochs(connection: sqlite3.Connection) -> list[Epoch]:
    """Return the epochs in the order in which they began; none before the first opening.

    Raises:
        StorageDamagedError: One is damaged.
    """
    rows = connection.execute(f"{SELECT_EPOCHS} ORDER BY number").fetchall()
    epochs = []
    for row in rows:
        try:
            epochs.append(read_epoch(row))
        except DamagedRowError as error:
            raise StorageDamagedError(f"the epoch {row[0]} is damaged: {error}") from error
    return epochs


def begin_epoch(connection: sqlite3.Connection) -> None:
    """Begin an epoch behind the newest transition; the first one from the beginning.

    The caller's transaction commits it.
    """
    epochs = read_epochs(connection)
    newest = newest_number(connection, "sequence", "transitions") if epochs else 0
    values = (len(epochs) + 1, *new_epoch(newest + 1))
    connection.execute("INSERT INTO epochs VALUES (?, ?, ?, ?)", (*values, checksum(values)))
