"""Families: how many jobs a rule of retention would remove, with all their follow-ups.

A root, which is no follow-up, leaves with its follow-ups once all of these have ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class EndedFamily(NamedTuple):
    """A root with its follow-ups, all of which have ended."""

    jobs: int
    is_old: bool
    """Whether the last of their ends is before the time that a rule says."""


def count_removable(families: Iterable[EndedFamily], too_many: int) -> int:
    """Count the jobs that `engine.storage.Storage.remove_ended` would remove, called till the end.

    Args:
        families: Those of the place, by the end of the root, oldest first.
        too_many: The oldest go until so many jobs are gone, and the old ones anyway.
    """
    removed = 0
    for family in families:
        if family.is_old or removed < too_many:
            removed += family.jobs
    return removed
