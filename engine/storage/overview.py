"""Overviews: what a program that is no engine tells of a place as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

COUNTED_JOBS: Final = 100_000
"""Of each live status, so many jobs are counted by kind: the oldest."""


class Statuses(Struct, frozen=True):
    """The statuses of a lifecycle, as `engine.domain.lifecycle.description` has them."""

    statuses: tuple[str, ...]
    running: str
    success: tuple[str, ...]
    failure: tuple[str, ...]
    outcomes: dict[str, str] = {}

    @property
    def live(self) -> tuple[str, ...]:
        """Those of jobs that have not ended."""
        ends = {*self.success, *self.failure}
        return tuple(status for status in self.statuses if status not in ends)

    def end(self, status: str) -> str | None:
        """Return ``succeeded`` or ``failed`` for the status of an end; None for any other."""
        if status in self.success:
            return "succeeded"
        return "failed" if status in self.failure else None

    @property
    def status_outcomes(self) -> dict[str, str | None]:
        """The outcome of each final status, as `Lifecycle.status_outcomes` has it."""
        ends = {status: self.outcomes.get(status, self.end(status)) for status in self.statuses}
        return {status: outcome for status, outcome in ends.items() if outcome is not None}

    @classmethod
    def of(cls, description: str | None) -> Statuses | None:
        """Return those of a description; None for none, and for one that can't be read."""
        try:
            return None if description is None else _decoder.decode(description)
        except DecodeError:  # also for other JSON
            return None


_decoder: Final = Decoder(Statuses)


class KindCounts(NamedTuple):
    """The live jobs of a kind."""

    kind: str
    ready: int
    """In the running status without an attempt, and the time of their next one has come."""
    running: int
    """An attempt has them."""
    waiting: int
    """All others: they wait for a payment, an answer, or the time of their next attempt."""
    oldest_ready: datetime | None
    """Since when the one is ready that has been it longest; see `JobFilter.still_since`."""

    @property
    def jobs(self) -> int:
        """All of them."""
        return self.ready + self.running + self.waiting


class CountedKinds(NamedTuple):
    """Some live jobs, counted by kind."""

    kinds: Sequence[KindCounts]
    next_after: int | None
    """The position of the last one, if there may be more behind it."""


def merged(parts: Iterable[KindCounts]) -> list[KindCounts]:
    """Return the sums of counts: one for each kind, in the order of the kinds."""
    sums = dict[str, KindCounts]()
    for part in parts:
        before = sums.get(part.kind)
        sums[part.kind] = part if before is None else _sum(before, part)
    return [sums[kind] for kind in sorted(sums)]


def _sum(one: KindCounts, other: KindCounts) -> KindCounts:
    times = [each.oldest_ready for each in (one, other) if each.oldest_ready is not None]
    numbers = (one.ready + other.ready, one.running + other.running, one.waiting + other.waiting)
    return KindCounts(one.kind, *numbers, min(times, default=None))


class EngineRow(NamedTuple):
    """An engine of a shared database."""

    engine_id: int
    """Its number."""
    name: str
    is_dead: bool
    """Whether the others take it for dead: what it had becomes free."""
    is_draining: bool
    """Whether it claims nothing, because an operator drains it."""
    lease_seconds: float
    """After a silence of so long the others take it for dead."""
    kinds: Sequence[str]
    """Those that have a handler there."""
    jobs: int
    """Those that it holds."""
    gates: Sequence[str]
    """The names of the gates that it runs, in their order."""

    @property
    def state(self) -> str:
        """For people: ``alive``, ``draining`` or ``dead``."""
        if self.is_dead:
            return "dead"
        return "draining" if self.is_draining else "alive"
