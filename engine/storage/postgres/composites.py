"""Composites: arrays of rows, in PostgreSQL's binary format.

An array of rows is one argument of a function. With an array for each column a batch had sixty
arguments, which took both sides longer than the rows themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import repeat
from struct import Struct
from typing import Any, Final

from engine.storage.postgres.arrays import Rows, array_of
from engine.storage.postgres.columns import type_of

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_COUNT: Final = Struct("!i").pack
# The number of the type, the length, and the value.
_HEAD: Final = Struct("!Ii").pack
_NUMBER: Final = Struct("!Iiq").pack
_FLAG: Final = Struct("!Ii?").pack
_FLAGS: Final = {value: _FLAG(16, 1, value) for value in (False, True)}


def _number(value: int) -> bytes:
    return _NUMBER(20, 8, value)


def _text(value: str) -> bytes:
    data = value.encode()
    return _HEAD(25, len(data)) + data


@lru_cache(1_000)  # the jobs of a batch share some
def _time(value: datetime) -> bytes:
    return _NUMBER(1184, 8, (value - _EPOCH) // _MICROSECOND)


_FORMS: Final[dict[str, tuple[int, Callable[[Any], bytes]]]] = {
    "bigint": (20, _number),
    "text": (25, _text),
    "timestamptz": (1184, _time),
    "boolean": (16, _FLAGS.__getitem__),
}
"""By type: its number, and the form of a value."""


class Composite:
    """The rows of a composite type.

    Args:
        columns: Its columns.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        forms = [_FORMS[type_of(column)] for column in columns]
        self._count = _COUNT(len(columns))
        self._nulls = [_HEAD(number, -1) for number, _ in forms]
        self._forms = [form for _, form in forms]

    def rows(self, number: int, values: Sequence[Sequence[Any]]) -> Rows:
        """Return an array of rows.

        Args:
            number: The type's, in the database.
            values: Those of each row, in the order of the columns.
        """
        rows = self._rows(values) if values else ()
        parts = [part for row in rows for part in (_COUNT(len(row)), row)]
        return Rows(array_of(number, len(values), b"".join(parts)))

    def _rows(self, values: Sequence[Sequence[Any]]) -> Iterator[bytes]:
        """Return each row. What is the same in all of them, as most of it is, is formed once."""
        parts: list[Iterable[bytes]] = []
        same = self._count
        for null, form, column in zip(
            self._nulls, self._forms, zip(*values, strict=True), strict=True
        ):
            if column.count(column[0]) == len(column):
                same += null if column[0] is None else form(column[0])
            else:
                forms = [null if value is None else form(value) for value in column]
                parts += (repeat(same), forms)
                same = b""
        return map(b"".join, zip(*parts, repeat(same, len(values)), strict=False))
