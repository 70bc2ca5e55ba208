"""The origin of a table: commit, date, versions, machine, and how busy the machine was."""

from __future__ import annotations

import os
import platform
import sqlite3
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from tests.bench.git import git, is_changed

_SYNCS = 50
_PAGE = bytes(4096)


def commit_of(root: Path, page: Path | None = None) -> str:
    """Return the commit that is measured, with "+changes" if files differ from it.

    Args:
        root: The repository.
        page: The file that the tables go to; it doesn't count as a change.

    Raises:
        GitError: It is no repository, or there is no git.
    """
    commit = git(root, "rev-parse", "--short", "HEAD")
    return f"{commit}+changes" if is_changed(root, apart_from=page) else commit


def versions() -> str:
    """Return the versions that figures depend on."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("anyio", "trio", "pydantic"))
    return f"CPython {platform.python_version()}, {packages}, SQLite {sqlite3.sqlite_version}"


@dataclass(frozen=True)
class Origin:
    """The origin of one table."""

    commit: str
    date: datetime
    load: float
    sync_seconds: float

    @classmethod
    def begin(cls, commit: str) -> Origin:
        """Look at the machine, before the first measurement."""
        return cls(commit, datetime.now(UTC), os.getloadavg()[0], _sync_seconds())

    def line(self, turns: str) -> str:
        """Return the line under the table, after the last measurement."""
        return (
            f"Measured on {self.date:%Y-%m-%d} at commit {self.commit}: {versions()};"
            f" {os.cpu_count()} cores, files in {tempfile.gettempdir()}, a sync of the disk in"
            f" {1e3 * self.sync_seconds:.2f} ms; load {self.load:.2f} before,"
            f" {os.getloadavg()[0]:.2f} after; {turns}."
        )


def _sync_seconds() -> float:
    """Return the median time to sync another page of a file, among the temporary files."""
    seconds: list[float] = []
    with tempfile.TemporaryFile(prefix="engine-bench-", buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(_PAGE)
            start = time.perf_counter()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - start)
    return median(seconds)
