"""``python -m tests.bench --against REV``: find the scenarios that are slower than at a commit.

Each round measures every scenario on both trees, one right after the other, and every second round
begins with the other tree. So both sides of a ratio meet the same load of the machine. The median
of the rounds counts; the quartiles show its precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

from tests.bench.checkouts import Checkout, Checkouts, ComparisonError, checked_out
from tests.bench.machine import versions
from tests.bench.measure import progress
from tests.bench.rows import cell_lines, number
from tests.bench.scenarios.figure import Figure

_LEAST_RATIO = 0.95
_HEAD = ("scenario", "base", "new", "base / new", "CPU: base", "new", "base / new", "")


class UnknownScenarioError(ComparisonError):
    """The present tree has no scenario by this name."""


@dataclass(frozen=True)
class Paired:
    """The costs of both trees, round by round; at least one round."""

    base: Sequence[float]
    new: Sequence[float]
    unit: str

    @property
    def quartiles(self) -> list[float]:
        """Return the quartiles of base / new: above 1 the new tree is better."""
        ratios = [base / new for base, new in zip(self.base, self.new, strict=True)]
        return quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3

    @property
    def is_worse(self) -> bool:
        """Return whether the ratio is too low by more than its spread."""
        return self.quartiles[2] < _LEAST_RATIO

    def cells(self) -> tuple[str, str, str]:
        low, middle, high = self.quartiles
        base, new = (f"{number(median(side))} {self.unit}" for side in (self.base, self.new))
        return (base, new, f"{middle:.2f} ({low:.2f} to {high:.2f})")


@dataclass(frozen=True)
class Comparison:
    """The figures of one scenario, round by round."""

    name: str
    base: list[Figure] = field(default_factory=list)
    new: list[Figure] = field(default_factory=list)

    @property
    def wall(self) -> Paired:
        base, new = ([figure.wall for figure in side] for side in (self.base, self.new))
        return Paired(base, new, self.new[0].unit)

    @property
    def cpu(self) -> Paired | None:
        """Return None if the scenario measures no time."""
        base, new = (
            [figure.cpu for figure in side if figure.cpu is not None]
            for side in (self.base, self.new)
        )
        return Paired(base, new, self.new[0].unit) if base and new else None

    @property
    def verdict(self) -> str:
        """Return "worse" or "worse: CPU", or nothing if neither time is worse."""
        if self.wall.is_worse:
            return "worse"
        return "worse: CPU" if self.cpu is not None and self.cpu.is_worse else ""

    def cells(self) -> tuple[str, ...]:
        cpu = ("", "", "") if self.cpu is None else self.cpu.cells()
        return (self.name, *self.wall.cells(), *cpu, self.verdict)


def compare(
    root: Path, revision: str, only: Sequence[str] | None, rounds: int, scale: float
) -> bool:
    """Compare a tree with one of its commits; print the table, and return whether none is worse.

    Raises:
        UnknownRevisionError: Git finds no such commit.
        UnknownScenarioError: There is no scenario by one of these names.
        ScenarioError: A scenario failed.
    """
    with checked_out(root, revision) as trees:
        names = _names(trees.new, only)
        print(f"{versions()}; {rounds} rounds")
        print(f"base: {trees.base.title}\nnew: {trees.new.title}")
        comparisons = [Comparison(name) for name in _shared(trees.base, names)]
        for turn in range(rounds):
            for comparison in comparisons:
                progress(f"{comparison.name}, round {turn + 1} of {rounds}")
                _measure(comparison, trees, scale, new_first=turn % 2 == 1)
    progress("")
    table = cell_lines([_HEAD, *(one.cells() for one in comparisons)])
    print(f"\n### Against {revision}\n", *table, sep="\n")
    return not any(one.verdict for one in comparisons)


def _names(tree: Checkout, only: Sequence[str] | None) -> Sequence[str]:
    known = tree.names()
    for name in only or ():
        if name not in known:
            raise UnknownScenarioError(
                f"there is no scenario {name!r}: choose from {', '.join(known)}"
            )
    return known if only is None else only


def _shared(base: Checkout, names: Sequence[str]) -> list[str]:
    """Return the scenarios that the base has, too; print the others."""
    known = base.names()
    for name in names:
        if name not in known:
            print(f"{name} is left out: {base.title} does not have it")
    return [name for name in names if name in known]


def _measure(comparison: Comparison, trees: Checkouts, scale: float, *, new_first: bool) -> None:
    sides = [(comparison.base, trees.base), (comparison.new, trees.new)]
    for figures, tree in reversed(sides) if new_first else sides:
        figures.append(tree.figure(comparison.name, scale))
