"""Two trees to compare: one of an earlier commit and the present one, both as copies.

So a comparison leaves the repository as it is, and you may go on editing while it runs.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.durable import new_folder
from tests.bench.git import GitError, git, is_changed
from tests.bench.scenarios.figure import Figure

_SECONDS = 300  # a scenario that takes longer has hung
_SCENARIOS = "tests/bench/scenarios"


class ComparisonError(Exception):
    """The trees can't be compared."""


class UnknownRevisionError(ComparisonError):
    """Git finds no commit by this name."""


class ScenarioError(ComparisonError):
    """A scenario failed, or ran on another tree."""


@dataclass(frozen=True)
class Checkout:
    """A copy of a tree, with its own scenarios."""

    title: str
    """The commit, and whether there are changes since."""
    folder: Path

    def names(self) -> list[str]:
        """Return the names of its scenarios."""
        names: list[str] = json.loads(self._run())
        return names

    def figure(self, name: str, scale: float) -> Figure:
        """Measure one scenario once.

        Raises:
            ScenarioError: It failed, or measured an engine outside this tree.
        """
        figure = json.loads(self._run(name, str(scale)))
        package = Path(figure.pop("engine"))
        if not package.is_relative_to(self.folder):
            raise ScenarioError(f"{name} measured {package}, which is not in {self.title}")
        return Figure(**figure)

    def _run(self, *arguments: str) -> str:
        """Return the last line of its program's output."""
        work = " ".join(arguments) or "listing the scenarios"
        path = os.pathsep.join(filter(None, (str(self.folder), os.environ.get("PYTHONPATH"))))
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", _SCENARIOS.replace("/", "."), *arguments],
                capture_output=True,
                env={**os.environ, "PYTHONPATH": path},
                text=True,
                timeout=_SECONDS,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise ScenarioError(f"{work} failed in {self.title}:\n{error.stderr}") from error
        except subprocess.TimeoutExpired as error:
            raise ScenarioError(f"{work} ran for {_SECONDS} s in {self.title}") from error
        return done.stdout.splitlines()[-1]


@dataclass(frozen=True)
class Checkouts:
    """The two sides of a comparison."""

    base: Checkout
    new: Checkout


@contextmanager
def checked_out(root: Path, revision: str) -> Iterator[Checkouts]:
    """Copy a commit and the present tree of a repository, into a folder that is removed at the end.

    Raises:
        UnknownRevisionError: Git finds no such commit.
    """
    commit = _commit(root, revision)
    with new_folder() as folder:
        base, new = (folder.resolve() / side for side in ("base", "new"))
        _copy_commit(root, commit, base)
        _copy_present(root, new)
        if not (base / _SCENARIOS).exists():
            shutil.copytree(new / "tests", base / "tests", dirs_exist_ok=True)
        for tree in (base, new):
            compileall.compile_dir(tree / "engine", quiet=1)
        changes = " + changes" if is_changed(root) else ""
        yield Checkouts(
            Checkout(_title(root, commit), base), Checkout(_title(root, "HEAD") + changes, new)
        )


def _copy_commit(root: Path, commit: str, folder: Path) -> None:
    archive = folder.with_suffix(".zip")
    git(root, "archive", "--format=zip", f"--output={archive}", commit)
    shutil.unpack_archive(archive, folder)


def _copy_present(root: Path, folder: Path) -> None:
    for part in ("engine", "tests"):
        shutil.copytree(root / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))


def _commit(root: Path, revision: str) -> str:
    name = f"{revision}^{{commit}}"
    try:
        return git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", name)
    except GitError as error:
        why = str(error) or "name a commit, a branch or a tag of this repository"
        raise UnknownRevisionError(f"git finds no commit {revision!r}: {why}") from error


def _title(root: Path, commit: str) -> str:
    return git(root, "log", "-1", "--format=%h %s", commit)
