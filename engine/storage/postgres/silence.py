"""Silence: which engines have not beaten for a whole lease, while this one has looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class _Beats(NamedTuple):
    number: int
    seen_at: float


class Silence:
    """Measures the silence of engines by this machine's monotonic clock alone.

    A silence counts only while this engine has looked without a break longer than half a lease.
    After its own sleep, or an outage of the database, every silence begins anew: the others had no
    better chance to beat than this one to look.

    Args:
        lease_seconds: How long an engine may be silent.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._looked_at = float("-inf")
        self._beats: dict[int, _Beats] = {}

    def look(self, began: float, ended: float, beats: Mapping[int, int]) -> Sequence[int]:
        """Take in the beats of all engines that are alive; return those silent for a lease.

        Args:
            began: When they were asked for, in monotonic seconds.
            ended: When the answer was there. The numbers are of a moment between the two, so a
                silence is measured from the end of one look to the beginning of another.
            beats: The number of beats of each engine.
        """
        if ended - self._looked_at > self._lease_seconds / 2:
            self._beats.clear()
        self._looked_at = ended
        self._beats = {
            engine_id: self._known(engine_id, number) or _Beats(number, ended)
            for engine_id, number in beats.items()
        }
        return [
            engine_id
            for engine_id, beat in self._beats.items()
            if began - beat.seen_at > self._lease_seconds
        ]

    def _known(self, engine_id: int, number: int) -> _Beats | None:
        known = self._beats.get(engine_id)
        return known if known is not None and known.number == number else None
