"""Pauses: the kinds and gates that engines leave alone, as a storage keeps them.

A storage keeps them as one JSON text. Whoever changes them gives the text that he has read, too, so
that he takes back no change of another engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain
from typing import Final

from pydantic import TypeAdapter, ValidationError

from engine.domain.exceptions import InvalidValueError, StorageDamagedError
from engine.domain.models import Pause

MAX_PAUSES: Final = 256
NO_PAUSES: Final = "[]"
"""The text of none."""


class Pauses:
    """The pauses, in the order of their names: first those of kinds, then those of gates.

    Args:
        pauses: Those; of two for one kind or gate the last one counts.

    Attributes:
        by_kind: Those of kinds, each by its kind. Claims compare these alone.
        by_gate: Those of gates, each by the gate's name.
    """

    def __init__(self, pauses: Iterable[Pause] = ()) -> None:
        self.by_kind: dict[str, Pause] = {}
        self.by_gate: dict[str, Pause] = {}
        for each in sorted(pauses, key=lambda each: each.kind or each.gate or ""):
            if each.kind is not None:
                self.by_kind[each.kind] = each
            elif each.gate is not None:
                self.by_gate[each.gate] = each

    @classmethod
    def read(cls, text: str) -> Pauses:
        """Return the pauses that a storage keeps.

        Raises:
            StorageDamagedError: They are not as engines write them.
        """
        try:
            return cls(_FORM.validate_json(text))
        except ValidationError as error:
            raise StorageDamagedError(f"the pauses are damaged: {error}") from None

    def __iter__(self) -> Iterator[Pause]:
        return chain(self.by_kind.values(), self.by_gate.values())

    @cached_property
    def text(self) -> str:
        """The stored form: a JSON array."""
        return _FORM.dump_json([*self], exclude_defaults=True).decode()

    def of(self, kind: str | None = None, gate: str | None = None) -> Pause | None:
        """Return the pause of a kind, or else of a gate; None if it is not paused."""
        return self.by_gate.get(gate or "") if kind is None else self.by_kind.get(kind)

    def with_this(self, pause: Pause) -> Pauses:
        """Return the pauses with another one; these, if its kind or gate is paused already.

        Raises:
            InvalidValueError: There are too many.
        """
        if self.of(pause.kind, pause.gate) is not None:
            return self
        if (before := len([*self])) >= MAX_PAUSES:
            raise InvalidValueError(
                "gate" if pause.kind is None else "kind",
                f"would be one of {before + 1} that are paused, and {MAX_PAUSES} may be: "
                "resume others first",
            )
        return Pauses([*self, pause])

    def without(self, kind: str | None = None, gate: str | None = None) -> Pauses:
        """Return the pauses without that of a kind, or else of a gate; these, if there is none."""
        gone = self.of(kind, gate)
        return self if gone is None else Pauses(each for each in self if each is not gone)


_FORM: Final = TypeAdapter(list[Pause])
