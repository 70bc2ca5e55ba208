"""Check of families: each follow-up has its parent; see `engine.storage.family_checks`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from engine.domain.exceptions import shown
from engine.storage.family_checks import FAMILY_RULES
from engine.storage.findings import Finding, printable_name


def family_problems(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Return all that is wrong with the parents of follow-ups."""
    for rule in FAMILY_RULES:
        for row in connection.execute(rule.query.format(schema="main")):
            values = [each if isinstance(each, int) else shown(each) for each in row]
            yield Finding(f"job {printable_name(row[0])}", rule.problem.format(*values))
