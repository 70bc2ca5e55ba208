"""Calls of one caller in a file: with commits on the storage's thread, and on the event loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from engine.storage.sqlite.storage import SQLiteStorage
from tests.bench.rows import Measured, Row, Stated

INLINE: Final = (False, True)
"""Whether commits are inline: both are measured."""


def options_of(*, inline: bool) -> dict[str, Any]:
    """Return the keyword arguments of a `SQLiteStorage`."""
    return {"inline_commits": True} if inline else {}


def storage_in(path: Path, *, inline: bool) -> SQLiteStorage:
    return SQLiteStorage(path, **options_of(inline=inline))


def rate_row(
    work: str, figure: Measured, floor_name: str, floor: Measured, target: float, *, inline: bool
) -> Row:
    """Return the row of one variant; the target is for inline commits."""
    if inline:
        return Row(f"{work}, inline commits", figure, floor_name, floor, target)
    return Stated(work, figure, floor_name, floor)
