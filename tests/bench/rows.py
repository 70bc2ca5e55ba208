"""Rows of a table: a figure beside its floor, and how much their ratio spread over the turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import truediv
from statistics import quantiles

_MOST_SPREAD = 0.1  # of the median


@dataclass(frozen=True)
class Measured:
    """A figure: its value in each turn, and the one that counts."""

    turns: Sequence[float]
    counts: float

    @classmethod
    def once(cls, value: float) -> Measured:
        """Return a figure that only one turn measures."""
        return cls([value], value)

    def derived(self, function: Callable[..., float], *others: Measured) -> Measured:
        """Return a figure that is computed from this one and others, turn by turn.

        Raises:
            ValueError: The figures have different numbers of turns.
        """
        figures = (self, *others)
        turns = zip(*(figure.turns for figure in figures), strict=True)
        counts = function(*(figure.counts for figure in figures))
        return Measured([function(*values) for values in turns], counts)


@dataclass(frozen=True)
class Row:
    """A figure beside its floor; a limit is a floor that nobody measures."""

    work: str
    figure: Measured
    floor_name: str
    floor: Measured | float
    target: float
    unit: str = "1/s"
    at_most: bool = False
    """Whether the target is the highest ratio allowed, instead of the lowest."""

    @property
    def ratio(self) -> float:
        return self.figure.counts / self._floor.counts

    @property
    def met(self) -> bool:
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target

    @property
    def is_steady(self) -> bool:
        """Return whether the quartiles of the ratio are at most a tenth of its median apart."""
        low, middle, high = self._quartiles
        return high - low <= _MOST_SPREAD * middle

    @property
    def _floor(self) -> Measured:
        if isinstance(self.floor, Measured):
            return self.floor
        return Measured([self.floor] * len(self.figure.turns), self.floor)

    @property
    def _quartiles(self) -> list[float]:
        ratios = self.figure.derived(truediv, self._floor).turns
        return quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else [*ratios] * 3

    def cells(self) -> tuple[str, ...]:
        low, _, high = self._quartiles
        return (
            self.work,
            f"{number(self.figure.counts)} {self.unit}",
            f"{self.floor_name}: {number(self._floor.counts)} {self.unit}",
            f"{self.ratio:.2f}",
            f"{low:.2f} to {high:.2f}" if len(self.figure.turns) > 1 else "one turn",
            f"{'at most' if self.at_most else 'at least'} {self.target:g}",
            "met" if self.met else "NOT MET",
        )


@dataclass(frozen=True)
class Stated(Row):
    """A figure beside another one, without a target."""

    target: float = 0.0

    @property
    def met(self) -> bool:
        return True

    @property
    def is_steady(self) -> bool:
        """Return True: more turns are for a target."""
        return True

    def cells(self) -> tuple[str, ...]:
        return (*super().cells()[:5], "none", "")


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


_HEAD = ("work", "engine", "floor", "ratio", "spread", "target", "")


def row_lines(rows: Sequence[Row]) -> list[str]:
    """Return the lines of rows as a Markdown table."""
    return cell_lines([_HEAD, *(row.cells() for row in rows)])


def cell_lines(lines: Sequence[tuple[str, ...]]) -> list[str]:
    """Return lines of cells as those of a Markdown table; the first line has the heads."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    head, *body = (f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)
    return [head, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *body]
