"""Pruning: the operation that removes ended jobs."""

from __future__ import annotations

from typing import Any, Final

from engine.domain.retention import pruned_by
from engine.domain.validation import check_integer
from engine.operations.operation import Arguments, Operation, length_of
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
    age = None if given.older_than is None else length_of("older_than", given.older_than)
    retention = pruned_by(age, given.keep)
    most = check_integer("most", given.most, 1, _MOST_JOBS)
    removed = await prune(core.inbox, retention, checked_act(by, given.reason), most)
    return {"removed": removed}


PRUNE: Final = Operation("prune", "remove ended jobs", OfPrune, _prune, acts=True)
"""Answers how many are ``removed``: fewer than ``most`` if no more are to go."""
