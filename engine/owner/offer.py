"""The offer: the jobs that the claims of one round may have.

Free places go round robin over the kinds that have ready jobs, so a million jobs of one kind delay
those of another by one turn. Within a kind the priority counts, and then the age.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from heapq import merge
from itertools import islice

from engine.owner.free_places import FreePlaces
from engine.owner.ranked_jobs import RankedByKind, rank
from engine.storage.record import Record


class Offer:
    """Gives each job to one claim. Don't note jobs in the queue meanwhile.

    Args:
        innocents: The committed jobs that are ready, without the suspects.
        suspects: Those that are suspects.
        without: Jobs that are ready no more.
        fresh: The jobs that become ready in this round, in their order.
        most_suspects: How many suspects may be claimed: 1, or 0 while one is at work.
        paused: The kinds of which it has no jobs.
    """

    def __init__(
        self,
        innocents: RankedByKind,
        suspects: RankedByKind,
        without: Container[str],
        fresh: Iterable[Record],
        most_suspects: int,
        paused: Container[str] = (),
    ) -> None:
        self._innocents = innocents
        self._suspects = suspects
        self._without = without
        self._most_suspects = most_suspects
        self._paused = paused
        self._fresh: dict[str, list[Record]] = {}
        for record in fresh:
            self._fresh.setdefault(record.kind, []).append(record)
        self._lines: dict[str, Iterator[Record]] = {}  # what no claim has taken so far, by kind

    def take(self, places: FreePlaces) -> list[Record]:
        """Return the jobs for a claim's free places."""
        if places.free < 1 or not (self._fresh or self._innocents or self._suspects):
            return []
        taken: list[Record] = []
        lines = self._first_turn(places, taken)
        while len(lines) > 1 and len(taken) < places.free:
            lines = _turn(lines, taken, places.free)
        for line in lines:
            taken += islice(line, places.free - len(taken))
        places.end_turns(taken)
        return taken

    def _first_turn(self, places: FreePlaces, taken: list[Record]) -> list[Iterator[Record]]:
        """Take one job of each kind that has some; return the others that it may have."""
        served: list[str] = []
        for kind, its in places.kinds.items():
            if its.free <= 0 or kind in self._paused:
                continue
            if (line := self._lines.get(kind)) is None:
                line = self._lines[kind] = self._in_order(kind)
            if (record := next(line, None)) is not None:
                taken.append(record)
                if len(taken) == places.free:
                    return []
                served.append(kind)
        return [islice(self._lines[kind], places.kinds[kind].free - 1) for kind in served]

    def _in_order(self, kind: str) -> Iterator[Record]:
        """Return the ready jobs of a kind. Often one part has them all: merging costs as much."""
        innocents = self._innocents.get(kind)
        line: Iterator[Record] = iter(())
        if innocents is not None:
            line = innocents.in_order(self._without)
        if not self._fresh and not self._suspects:
            return line
        fresh, suspects = self._fresh.get(kind), self._suspects.get(kind)
        if fresh is not None:
            line = iter(fresh) if innocents is None else merge(line, fresh, key=rank)
        if suspects is not None:
            its = islice(suspects.in_order(self._without), self._most_suspects)
            line = merge(line, its, key=rank)
        return line if fresh is None and suspects is None else self._cleared(line)

    def _cleared(self, line: Iterator[Record]) -> Iterator[Record]:
        """Leave out all suspects but the one that may run."""
        for record in line:
            if record.execution.died_attempt is None:
                yield record
            elif self._most_suspects:
                self._most_suspects = 0
                yield record


def _turn(
    lines: Iterable[Iterator[Record]], taken: list[Record], most: int
) -> list[Iterator[Record]]:
    """Take one job of each line, up to so many in all; return the lines that had one."""
    going_on = []
    for line in lines:
        if (record := next(line, None)) is not None:
            taken.append(record)
            if len(taken) == most:
                return []
            going_on.append(line)
    return going_on
