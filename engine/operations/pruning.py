"""Pruning: the operation that removes ended jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.retention import pruned_by
from engine.domain.validation import check_integer, check_seconds
from engine.operations.operation import Arguments, Operation
from engine.owner.acts import checked_act
from engine.owner.cleaner import prune
from engine.owner.core import Core

_MOST_JOBS: Final = 10_000


class OfPrune(Arguments, kw_only=True, frozen=True):
    """Which jobs go: those that ended more than some seconds ago, or all but the newest ended ones.

    It ends once ``most`` jobs are gone, 10,000 at most; the last family may make them more.
    """

    older_than: float | None = None
    keep: int | None = None
    most: int = _MOST_JOBS
    reason: str | None = None


async def _prune(core: Core[Any], given: OfPrune, by: str | None) -> dict[str, Any]:
    retention = pruned_by(_age(given.older_than), given.keep)
    most = check_integer("most", given.most, 1, _MOST_JOBS)
    removed = await prune(core.inbox, retention, checked_act(by, given.reason), most)
    return {"removed": removed}


def _age(seconds: float | None) -> timedelta | None:
    """Return an age.

    Raises:
        InvalidValueError: The seconds are no length of time.
    """
    if seconds is None:
        return None
    try:
        return timedelta(seconds=check_seconds("older_than", seconds))
    except OverflowError:
        problem = f"must be seconds that a calendar has, not {shown(seconds)}"
        raise InvalidValueError("older_than", problem) from None


PRUNE: Final = Operation("prune", "remove ended jobs", OfPrune, _prune, acts=True)
"""Answers how many are ``removed``: fewer than ``most`` if no more are to go."""
