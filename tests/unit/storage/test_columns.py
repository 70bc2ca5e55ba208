"""The index of the memory storage: removed rows leave it."""

from __future__ import annotations

import pytest

from engine.storage.columns import RowIndex

_NAME = ("customer", "c1")
_ROWS = 1_000


@pytest.mark.parametrize("oldest_first", [True, False])
def test_removed_rows_leave_the_index(oldest_first: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A page goes past an eighth of the rows at most: those that were removed a moment ago."""
    removed, asked = set[int](), 0

    def is_removed(row: int) -> bool:
        nonlocal asked
        asked += 1
        return row in removed

    index = RowIndex(is_removed)
    rows = range(0, 2 * _ROWS, 2)
    for row in rows:
        index.add(_NAME, row)
    for row in rows if oldest_first else reversed(rows):
        removed.add(row)
        index.note_removal(_NAME)
        left = [each for each in rows if each not in removed]
        assert index.count(_NAME) == len(left)
        asked = 0
        assert [*index.rows_from(_NAME, 0)] == left
        assert asked <= len(left) * 8 / 7
        assert [*index.rows_below(_NAME, 2 * _ROWS)] == left[::-1]
    assert [*index.rows_from(_NAME, 0)] == []
