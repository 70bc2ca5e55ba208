"""Epochs in a file: read them, and make them sound."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from engine.domain.epochs import Epoch, new_epoch
from engine.portal.logs import TaskLogger
from engine.storage.sqlite.notes import has_note, newest_number
from engine.storage.sqlite.rows import checksum
from engine.storage.sqlite.stored import DamagedRowError, read_epoch

logger: Final = TaskLogger("engine")

SELECT_EPOCHS: Final = "SELECT number, name, first_sequence, checksum FROM epochs"


def read_epochs(connection: sqlite3.Connection) -> list[Epoch]:
    """Return the epochs in the order in which they began; none before the first opening.

    A damaged one has no name, and so have those whose rows are missing.
    """
    epochs: list[Epoch] = []
    number = 0
    for row in connection.execute(f"{SELECT_EPOCHS} ORDER BY number"):
        nameless = Epoch("", epochs[-1].first_sequence if epochs else 1)
        if row[0] != number + 1:
            epochs.append(nameless)
        number = row[0]
        try:
            epochs.append(read_epoch(row))
        except DamagedRowError:
            epochs.append(nameless)
    return epochs


def sound_epochs(connection: sqlite3.Connection, found: Sequence[Epoch], path: Path) -> list[Epoch]:
    """Return the epochs that a file should have: each with a name, and one more in a copy."""
    if any(not epoch.name for epoch in found):
        logger.warning(
            "%s: a part of its history has lost its name, and gets another: a watcher with a "
            "cursor from there has to begin anew",
            path,
        )
    epochs = [epoch if epoch.name else new_epoch(epoch.first_sequence) for epoch in found]
    if not epochs:
        epochs.append(new_epoch(1))
    elif not has_note(connection, "is_copy", 0):
        epochs.append(new_epoch(newest_number(connection, "sequence", "transitions") + 1))
    return epochs


def write_epochs(connection: sqlite3.Connection, epochs: Iterable[Epoch]) -> None:
    """Write the epochs in the place of all that are there, in the caller's transaction."""
    connection.execute("DELETE FROM epochs")
    rows = [(number, *epoch) for number, epoch in enumerate(epochs, 1)]
    connection.executemany(
        "INSERT INTO epochs VALUES (?, ?, ?, ?)", [(*row, checksum(row)) for row in rows]
    )
