"""Rounds: each makes every measurement once, and the medians are compared.

A shared machine is slow for seconds at a time. Both sides of a ratio meet the same seconds when
they take turns; a median drops the slow turns, and the lucky ones as well.
"""

from __future__ import annotations

from statistics import median

from tests.bench.rows import Measured


class Rounds:
    """The figures of several rounds, by name; the median counts."""

    def __init__(self) -> None:
        self._figures: dict[str, list[float]] = {}

    def add(self, name: str, figure: float) -> None:
        self._figures.setdefault(name, []).append(figure)

    def __contains__(self, name: str) -> bool:
        return name in self._figures

    def __getitem__(self, name: str) -> Measured:
        figures = self._figures[name]
        return Measured(figures, median(figures))
