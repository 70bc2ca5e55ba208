"""Findings: the problems that a check has found in a place with jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from engine.domain.exceptions import shown
from engine.domain.validation import MAX_IDENTIFIER_CHARACTERS
from engine.domain.visible_text import is_visible

MAX_FINDINGS: Final = 1_000
"""A report has the first of so many problems and counts the rest."""


class Finding(NamedTuple):
    """One problem."""

    where: str
    """Such as ``job 7c9e6679-7425-40de-944b-e07fc1f90ae7``, ``transition 17`` or ``the file``."""
    problem: str


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check."""

    jobs: int
    """How many jobs were checked."""
    transitions: int
    problems: int
    findings: tuple[Finding, ...]
    """The first 1,000 problems."""


class Findings:
    """Keeps the first problems and counts all of them."""

    def __init__(self) -> None:
        self._count = 0
        self._first: list[Finding] = []

    def add(self, where: str, problem: str) -> None:
        """Add a problem; see `Finding`."""
        self._count += 1
        if self._count <= MAX_FINDINGS:
            self._first.append(Finding(where, problem))

    def report(self, jobs: int, transitions: int) -> Report:
        """Return the report of a check of so many jobs and transitions."""
        return Report(jobs, transitions, self._count, tuple(self._first))


def printable_name(name: object) -> str:
    """Return a stored name, quoted unless it is a short text that is seen as it is."""
    if isinstance(name, str) and len(name) <= MAX_IDENTIFIER_CHARACTERS and is_visible(name):
        return name
    return shown(name)
