"""Arrays: columns of values in PostgreSQL's binary format, for a sixth of the client's CPU.

Each has its type, also when it is empty, so a statement is prepared once. An array of NULLs alone
is sent without values: `unnest` fills up the shorter ones of its arrays with NULLs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct, pack
from typing import Any, ClassVar, Final, TypeVar

from psycopg import Connection
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format
from psycopg.types.numeric import Int8BinaryDumper

_LENGTH: Final = Struct("!i").pack
_NULL: Final = _LENGTH(-1)
_HEADER: Final = Struct("!iiIii").pack
_EMPTY_HEADER: Final = Struct("!iiI").pack
_NUMBER: Final = Struct("!iq").pack
_DOUBLE: Final = Struct("!id").pack


class Array(bytes):
    """An array as the server takes it.

    Attributes:
        item: The number of its items' type.
        oid: The number of its own type.
    """

    item: ClassVar[int]
    oid: ClassVar[int]


class Numbers(Array):
    """A ``bigint[]``."""

    item, oid = 20, 1016


class Texts(Array):
    """A ``text[]``."""

    item, oid = 25, 1009


class Doubles(Array):
    """A ``double precision[]``."""

    item, oid = 701, 1022


class Rows(Array):
    """An array of rows, whose type the server knows from the place; `composites` makes it."""

    item, oid = 0, 0


Kind = TypeVar("Kind", bound=Array)


def numbers(values: Sequence[int | None]) -> Numbers:
    """Return an array of whole numbers."""
    if None in values:
        return _joined(Numbers, values, lambda value: _NUMBER(8, value))
    parts: list[int | None] = [8] * (2 * len(values))
    parts[1::2] = values
    return _array(Numbers, len(values), pack(f"!{'iq' * len(values)}", *parts))


def texts(values: Sequence[str | None]) -> Texts:
    """Return an array of texts."""
    return _joined(Texts, values, _text)


def _text(value: str) -> bytes:
    data = value.encode()
    return _LENGTH(len(data)) + data


def doubles(values: Sequence[float | None]) -> Doubles:
    """Return an array of floating-point numbers."""
    return _joined(Doubles, values, lambda value: _DOUBLE(8, value))


def _joined(kind: type[Kind], values: Sequence[Any], form: Callable[[Any], bytes]) -> Kind:
    if values.count(None) == len(values):
        return _array(kind, 0, b"")
    items = b"".join([_NULL if value is None else form(value) for value in values])
    return _array(kind, len(values), items)


def _array(kind: type[Kind], length: int, items: bytes) -> Kind:
    return kind(array_of(kind.item, length, items))


def array_of(item: int, length: int, items: bytes) -> bytes:
    """Return the array of some items, which may be NULLs.

    Args:
        item: The number of their type.
        length: How many they are.
        items: Each with its length before it.
    """
    if not length:
        return _EMPTY_HEADER(0, 0, item)
    return _HEADER(1, 1, item, length, 1) + items


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> Buffer:
        """Return the array, which is in this format already."""
        return obj


def register(connection: Connection[Any]) -> None:
    """Let a connection take these arrays, and send each whole number as a ``bigint``."""
    for kind in (Numbers, Texts, Doubles, Rows):
        dumper = type(f"{kind.__name__}Dumper", (_ArrayDumper,), {"oid": kind.oid})
        connection.adapters.register_dumper(kind, dumper)
    connection.adapters.register_dumper(int, Int8BinaryDumper)
