"""Rounds: each makes every measurement once, and the medians are compared.

A shared machine is slow for seconds at a time. Both sides of a ratio meet the same seconds when
they take turns; a median drops the slow turns, and the lucky ones as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from tests.bench.measure import Row


class Rounds:
    """The figures of several rounds, by name."""

    def __init__(self) -> None:
        self._figures: dict[str, list[float]] = {}

    def add(self, name: str, figure: float) -> None:
        self._figures.setdefault(name, []).append(figure)

    def __getitem__(self, name: str) -> float:
        """Return the median."""
        return median(self._figures[name])


@dataclass(frozen=True)
class Stated(Row):
    """A figure beside another one, without a target."""

    target: float = 0.0

    @property
    def met(self) -> bool:
        return True

    def cells(self) -> tuple[str, ...]:
        return (*super().cells()[:4], "none", "")
