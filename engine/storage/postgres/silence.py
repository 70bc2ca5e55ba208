"""Silence: which engines have not beaten for a whole lease, while this one has looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Living(NamedTuple):
    """An engine that nobody has declared dead.

    Attributes:
        beats: How often it has beaten.
        lease_seconds: Its lease.
    """

    beats: int
    lease_seconds: float


class _Beats(NamedTuple):
    number: int
    seen_at: float


class Silence:
    """Measures the silence of engines by this machine's monotonic clock alone.

    An engine may be silent for its own lease or for this one's, whichever is longer: it beats by
    the first, and this one looks by the second. A silence counts only while this engine has looked
    without a break longer than half of that. After its own sleep, or an outage of the database, the
    silence begins anew: the other had no better chance to beat than this one to look.

    Args:
        lease_seconds: This engine's lease.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._looked_at = float("-inf")
        self._beats: dict[int, _Beats] = {}

    def allowed_seconds(self, engine: Living) -> float:
        """Return how long an engine may be silent."""
        return max(engine.lease_seconds, self._lease_seconds)

    def look(self, began: float, ended: float, engines: Mapping[int, Living]) -> Sequence[int]:
        """Take in the beats of all engines that are alive; return those silent for too long.

        Args:
            began: When they were asked for, in monotonic seconds.
            ended: When the answer was there. The numbers are of a moment between the two, so a
                silence is measured from the end of one look to the beginning of another.
            engines: The engines, by their numbers.
        """
        break_seconds, self._looked_at = ended - self._looked_at, ended
        self._beats = {
            engine_id: self._known(engine_id, engine, break_seconds) or _Beats(engine.beats, ended)
            for engine_id, engine in engines.items()
        }
        return [
            engine_id
            for engine_id, engine in engines.items()
            if began - self._beats[engine_id].seen_at > self.allowed_seconds(engine)
        ]

    def _known(self, engine_id: int, engine: Living, break_seconds: float) -> _Beats | None:
        known = self._beats.get(engine_id)
        is_same = known is not None and known.number == engine.beats
        return known if is_same and break_seconds <= self.allowed_seconds(engine) / 2 else None
