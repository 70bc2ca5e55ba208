"""The intake: what this engine may begin, as operators have said."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.domain.pauses import Pauses


@dataclass(slots=True)
class Intake:
    """What this engine leaves alone. Attempts at work go on.

    Attributes:
        pauses: Those of kinds, which claims leave alone, and of gates, in all engines of the
            storage.
        is_draining: Whether this engine claims nothing at all.
        instructions: Those of a shared storage that were followed last; see `Shared.instructions`.
    """

    pauses: Pauses = field(default_factory=Pauses)
    is_draining: bool = False
    instructions: object = None
