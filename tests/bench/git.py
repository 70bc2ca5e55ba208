"""The commits of the tree that is measured."""

from __future__ import annotations

import subprocess
from pathlib import Path


class GitError(Exception):
    """Git can't say what was asked of it."""


def git(root: Path, *arguments: str) -> str:
    """Return what git prints about a repository.

    Raises:
        GitError: It failed, or is not installed.
    """
    try:
        done = subprocess.run(
            ["git", "-C", root, *arguments],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            check=True,
        )
    except OSError as error:
        raise GitError(f"git does not start: {error}") from error
    except subprocess.CalledProcessError as error:
        raise GitError(error.stderr.strip()) from error
    return done.stdout.strip()


def is_changed(root: Path, *, apart_from: Path | None = None) -> bool:
    """Return whether files of a repository differ from HEAD, apart from one that doesn't count.

    Raises:
        GitError: It is no repository, or there is no git.
    """
    paths = ["--", "."]
    if apart_from is not None and apart_from.resolve().is_relative_to(root.resolve()):
        paths.append(f":(exclude,literal){apart_from.resolve().relative_to(root.resolve())}")
    return git(root, "status", "--porcelain", *paths) != ""
