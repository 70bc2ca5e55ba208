"""Pauses: the kinds whose jobs no engine claims, as a storage keeps them.

A storage keeps them as one JSON text. Whoever changes them gives the text that he has read, too, so
that he takes back no change of another engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Final

from pydantic import TypeAdapter, ValidationError

from engine.domain.exceptions import InvalidValueError, StorageDamagedError
from engine.domain.models import PausedKind

MAX_PAUSED_KINDS: Final = 256
NO_PAUSES: Final = "[]"
"""The text of none."""


class Pauses:
    """The paused kinds, in their order.

    Args:
        kinds: Those; of two for one kind the last one counts.

    Attributes:
        by_kind: Each by its kind.
    """

    def __init__(self, kinds: Iterable[PausedKind] = ()) -> None:
        self.by_kind = {each.kind: each for each in sorted(kinds, key=lambda each: each.kind)}

    @classmethod
    def read(cls, text: str) -> Pauses:
        """Return the pauses that a storage keeps.

        Raises:
            StorageDamagedError: They are not as engines write them.
        """
        try:
            return cls(_FORM.validate_json(text))
        except ValidationError as error:
            raise StorageDamagedError(f"the paused kinds are damaged: {error}") from None

    def __iter__(self) -> Iterator[PausedKind]:
        return iter(self.by_kind.values())

    def __contains__(self, kind: object) -> bool:
        return kind in self.by_kind

    @cached_property
    def text(self) -> str:
        """The stored form: a JSON array."""
        return _FORM.dump_json([*self], exclude_defaults=True).decode()

    def with_this(self, paused: PausedKind) -> Pauses:
        """Return the pauses with another one; these, if the kind is paused already.

        Raises:
            InvalidValueError: Too many kinds are.
        """
        if paused.kind in self:
            return self
        if len(self.by_kind) >= MAX_PAUSED_KINDS:
            raise InvalidValueError(
                "kind",
                f"would be one of {len(self.by_kind) + 1} that are paused, and {MAX_PAUSED_KINDS} "
                "may be: resume others first",
            )
        return Pauses([*self, paused])

    def without(self, kind: str) -> Pauses:
        """Return the pauses without that of a kind; these, if it is not paused."""
        return Pauses(each for each in self if each.kind != kind) if kind in self else self


_FORM: Final = TypeAdapter(list[PausedKind])
