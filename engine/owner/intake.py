"""The intake: what this engine may begin, as operators have said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from engine.domain.pauses import Pauses
from engine.storage.audit import AuditLine


@dataclass(slots=True)
class Intake:
    """What this engine leaves alone. Attempts at work go on.

    Attributes:
        pauses: Those of kinds, which claims leave alone, and of gates, in all engines of the
            storage.
        gate_pauses: How often a pause of a gate has begun while one of the name was open here.
        is_draining: Whether this engine claims nothing at all.
        is_in_doubt: Whether the storage may have kept other rules or pauses; see
            `engine.owner.doubts`.
        drain_in_doubt: The line of the audit that is kept if the engine is to begin or to end to
            drain; None if that is not in doubt.
        instructions: Those of a shared storage that were followed last; see `Shared.instructions`.
    """

    pauses: Pauses = field(default_factory=Pauses)
    gate_pauses: Counter[str] = field(default_factory=Counter)
    is_draining: bool = False
    is_in_doubt: bool = False
    drain_in_doubt: AuditLine | None = None
    instructions: object = None

    def take(self, pauses: Pauses, open_gates: AbstractSet[str]) -> None:
        """Go by these pauses from now on, and count those that begin, of the open gates."""
        begun = pauses.by_gate.keys() - self.pauses.by_gate.keys()
        self.gate_pauses.update(begun & open_gates)
        self.pauses = pauses
