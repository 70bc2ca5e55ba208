"""Free places: how many jobs a worker can take now, of all its kinds and of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.domain.deaths import DeathRule
from engine.storage.record import NO_ACT, Act, Record


@dataclass(slots=True)
class KindPlaces:
    """The free places of one kind, and the rule of its handler.

    Attributes:
        free: How many more jobs of the kind may run.
        deaths: The rule for jobs of the kind whose attempts died.
    """

    free: int
    deaths: DeathRule


@dataclass(slots=True)
class FreePlaces:
    """The free places of a worker as they are now.

    A waiting claim has them, so the owner always decides it by those that are free at the time. For
    the event loop of the owner.

    Attributes:
        free: How many more jobs may run.
        kinds: The kinds of the worker, with their own limits, in the order of their turns: the one
            that has waited longest first.
        act: Who makes the transitions of the worker's jobs.
    """

    free: int
    kinds: dict[str, KindPlaces]
    act: Act = NO_ACT

    def take(self, kind: str) -> None:
        """Occupy a place with a job of a kind."""
        self.free -= 1
        self.kinds[kind].free -= 1

    def end_turns(self, records: Iterable[Record]) -> None:
        """Note that the kinds of these jobs have had their turns, in this order."""
        kinds = self.kinds
        if len(kinds) > 1:
            for record in records:
                kind = record.kind
                kinds[kind] = kinds.pop(kind)

    def leave(self, kind: str) -> None:
        """Free a place that a job of a kind had."""
        self.free += 1
        self.kinds[kind].free += 1
