"""Epochs: tell apart the histories of a storage and its copies, whose numbers are the same.

A new storage begins an epoch with a random name, and so does the first engine that opens a copy: a
backup that is restored twice has two histories. A cursor is an epoch's name and a transition's
number, so a cursor from one history is not taken for a place in another.

Of a damaged epoch neither the name nor the beginning is known. So it has no name, and begins where
the one before it did: no cursor of either is known any more.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from secrets import token_hex
from typing import Final, NamedTuple

from engine.domain.exceptions import InvalidValueError, shown

_NAME_BYTES: Final = 4
NAME_FORM: Final = rf"[0-9a-f]{{{2 * _NAME_BYTES}}}"
"""A regular expression that every name fits."""
_CURSOR: Final = re.compile(rf"(?:({NAME_FORM})-)?([1-9][0-9]{{0,18}})", re.ASCII)


class Epoch(NamedTuple):
    """A part of a storage's history, up to the next epoch."""

    name: str
    """Empty for a damaged one."""
    first_sequence: int
    """The number of its first transition, which may be still to come."""


def new_epoch(first_sequence: int) -> Epoch:
    """Return an epoch with a new name."""
    return Epoch(token_hex(_NAME_BYTES), first_sequence)


class Cursor(NamedTuple):
    """The place behind a transition."""

    sequence: int
    epoch: str = ""
    """Empty for a number alone, which any history may have."""

    def __str__(self) -> str:
        return f"{self.epoch}-{self.sequence}" if self.epoch else str(self.sequence)


def parsed_cursor(text: str) -> Cursor:
    """Return the cursor in a text.

    Raises:
        InvalidValueError: No transition has this cursor.
    """
    found = _CURSOR.fullmatch(text[:40])
    if found is None:
        raise InvalidValueError(
            "after", f"must be a sequence number or a transition's cursor, not {shown(text)}"
        )
    return Cursor(int(found[2]), found[1] or "")


class Epochs:
    """The epochs of an open storage. Empty until it is open."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._firsts: list[int] = []

    def set(self, epochs: Sequence[Epoch]) -> None:
        """Take the epochs in the order in which they began."""
        self._names = [epoch.name for epoch in epochs]
        self._firsts = list(accumulate((epoch.first_sequence for epoch in epochs), max))

    def name_at(self, sequence: int) -> str:
        """Return the name of the epoch that a transition belongs to; empty if it is not known."""
        number = bisect_right(self._firsts, sequence)
        return self._names[number - 1] if number else ""

    def has(self, cursor: Cursor) -> bool:
        """Return whether a cursor can be of this history."""
        return cursor.epoch in {"", self.name_at(cursor.sequence)}
