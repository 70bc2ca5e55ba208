"""The audit in a database file, compared with its transitions, its pauses and their callers."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from engine.storage import KEPT_AUDIT_LINES

from .stored import DATABASE

Named: TypeAlias = tuple[tuple[str, str], ...]
"""A kind or a gate."""


def problems_of_moves(image: Path) -> Iterator[str]:
    """Compare the audit with the transitions that a caller has made: each is there with its line.

    The oldest lines may have been dropped.
    """
    with closing(sqlite3.connect(image / DATABASE)) as connection:
        if not _has_audit(connection):
            return
        made = connection.execute(
            "SELECT job_id, to_status FROM transitions JOIN jobs USING (position) "
            "WHERE by IS NOT NULL ORDER BY sequence"
        ).fetchall()
        kept = connection.execute(
            "SELECT job_id, arguments ->> 'status' FROM audit WHERE action = 'move' ORDER BY number"
        ).fetchall()
    if kept != made[-len(kept) or len(made) :] or len(kept) < min(len(made), KEPT_AUDIT_LINES):
        yield f"the audit has {len(kept)} lines, and there are {len(made)} moves"


class Line(NamedTuple):
    """A line of the audit."""

    action: str
    reason: str
    named: Named


@dataclass
class KnownPauses:
    """What callers know of the calls that pause and resume. Each has a reason of its own.

    Attributes:
        changed: The answer to each: whether it has changed anything; None for no answer.
        applied: The calls without an answer that were applied all the same.
    """

    changed: dict[str, bool | None] = field(default_factory=dict)
    applied: set[str] = field(default_factory=set)

    def problems(self, image: Path) -> Iterator[str]:
        """Compare them with a file that SQLite alone reads, and that has dropped no line yet.

        A call that has changed something is there with one line; one without an answer wholly or
        not at all; any other has left no line. The pauses are those that the lines tell of.
        """
        lines, pauses = _read(image / DATABASE)
        there = Counter(line.reason for line in lines)
        for reason, changed in self.changed.items():
            if there[reason] not in ({0, 1} if changed is None else {int(changed)}):
                yield f"pauses: {there[reason]} lines of {reason}, which was answered by {changed}"
        for reason in there.keys() - self.changed.keys():
            yield f"pauses: nobody has asked for {reason}"
        self.applied |= {each for each in there if self.changed.get(each) is None}
        if (told := _told_by(lines)) != pauses:
            yield f"pauses: {pauses} are there, and the lines tell of {told}"


def _told_by(lines: list[Line]) -> dict[Named, str]:
    """Return what is paused by these lines, and by the reason of which."""
    paused = dict[Named, str]()
    for line in lines:
        if line.action == "pause":
            paused[line.named] = line.reason
        else:
            paused.pop(line.named, None)  # what is missing is told by its reason
    return paused


def _read(path: Path) -> tuple[list[Line], dict[Named, str]]:
    """Return the lines of pauses in their order, and what is paused, by the reason of which."""
    with closing(sqlite3.connect(path)) as connection:
        if not _has_audit(connection):
            return [], {}
        lines = connection.execute(
            "SELECT action, reason, arguments FROM audit WHERE action IN ('pause', 'resume') "
            "ORDER BY number"
        ).fetchall()
        [[text]] = connection.execute("SELECT value FROM engine WHERE name = 'pauses'")
    kept: list[dict[str, Any]] = json.loads(text)
    told = [
        Line(action, reason, tuple(json.loads(named).items())) for action, reason, named in lines
    ]
    return told, {_named(each): each["reason"] for each in kept}


def _named(pause: dict[str, Any]) -> Named:
    return tuple((what, pause[what]) for what in ("kind", "gate") if what in pause)


def _has_audit(connection: sqlite3.Connection) -> bool:
    """Return whether there is one: a process may be killed while it makes the tables."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'audit'").fetchall()
    return bool(found)
