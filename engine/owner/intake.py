"""The intake: which jobs this engine may claim, as operators have said."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.domain.pauses import Pauses


@dataclass(slots=True)
class Intake:
    """What the claims of this engine leave alone. Attempts at work go on.

    Attributes:
        pauses: The kinds that are paused, in all engines of the storage.
        is_draining: Whether this engine claims nothing at all.
        instructions: Those of a shared storage that were followed last; see `Shared.instructions`.
    """

    pauses: Pauses = field(default_factory=Pauses)
    is_draining: bool = False
    instructions: object = None
