"""Run the command line as a program, mostly on a file that an engine uses."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg

PROGRAM = [sys.executable, "-W", "error", "-m", "engine"]
# As users run it: its output is buffered.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
SECONDS_AGAINST_HANGS = 60
Outcome = tuple[int, list[str], list[str]]
Run = Callable[..., Outcome]


def run(*arguments: object) -> Outcome:
    """Run the program; return its exit code and the lines of both outputs."""
    ended = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env=ENVIRONMENT,
        timeout=SECONDS_AGAINST_HANGS,
        check=False,
    )
    return ended.returncode, ended.stdout.splitlines(), ended.stderr.splitlines()


def damage(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount == 1


def execute(url: str, *statements: str) -> None:
    """Execute statements in a database."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
