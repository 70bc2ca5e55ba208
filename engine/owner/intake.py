"""The intake: what this engine may begin, as operators have said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from engine.domain.pauses import Pauses


@dataclass(slots=True)
class Intake:
    """What this engine leaves alone. Attempts at work go on.

    Attributes:
        pauses: Those of kinds, which claims leave alone, and of gates, in all engines of the
            storage.
        gate_pauses: How often a pause of a gate has begun while one of the name was open here.
        is_draining: Whether this engine claims nothing at all.
        instructions: Those of a shared storage that were followed last; see `Shared.instructions`.
    """

    pauses: Pauses = field(default_factory=Pauses)
    gate_pauses: Counter[str] = field(default_factory=Counter)
    is_draining: bool = False
    instructions: object = None

    def take(self, pauses: Pauses, open_gates: AbstractSet[str]) -> None:
        """Go by these pauses from now on, and count those that begin, of the open gates."""
        begun = pauses.by_gate.keys() - self.pauses.by_gate.keys()
        self.gate_pauses.update(begun & open_gates)
        self.pauses = pauses
