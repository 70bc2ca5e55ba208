"""The cleaner: deletes ended jobs a few at a time, as the retention rule or a caller says."""

from __future__ import annotations

from typing import Final

from engine.domain.exceptions import EngineUnavailableError, OutcomeUnknownError, StorageError
from engine.domain.retention import Retention
from engine.owner.commands.remove import RemoveEnded
from engine.owner.inbox import Inbox
from engine.portal.logs import TaskLogger
from engine.portal.time import Time
from engine.storage.record import Act

logger = TaskLogger("engine")

_STEP_JOBS: Final = 200  # so that a step takes no longer than a small batch


async def clean_up(inbox: Inbox, retention: Retention, time: Time) -> None:
    """Delete ended jobs as the retention rule says, until the engine ends.

    Raises:
        Exception: A bug; it crashes the owner.
    """
    while True:
        try:
            await _remove_all(inbox, retention)
        except (StorageError, OutcomeUnknownError):
            logger.exception("ended jobs could not be removed yet")
        except EngineUnavailableError:
            return
        await time.sleep(retention.interval_seconds)


async def _remove_all(inbox: Inbox, retention: Retention) -> None:
    """Remove all ended jobs that the rule doesn't keep now, and log their number."""
    removed, step = 0, -1
    try:
        while step != 0:
            message = RemoveEnded(retention, _STEP_JOBS)
            await inbox.put(message, internal=True).wait()
            step = message.outcome()
            removed += step
    finally:
        if removed:
            logger.info("removed %s ended jobs with their histories", removed)


async def prune(inbox: Inbox, retention: Retention, act: Act, most: int | None = None) -> int:
    """Delete ended jobs that a caller's rule doesn't keep now; return their number.

    A cancellation ends it behind the step that is under way. Each step and its line of the audit
    are there together.

    Args:
        inbox: That of the engine.
        retention: The rule.
        act: Who prunes, and why.
        most: It ends once so many are deleted; the last family may make them more. None: all.

    Raises:
        OutcomeUnknownError: The engine has ended between two steps, and some jobs are removed; or
            the outcome of a step is unknown.
        EngineError: The jobs can't be removed, or not any more.
    """
    removed = 0
    while most is None or removed < most:
        step_jobs = _STEP_JOBS if most is None else min(_STEP_JOBS, most - removed)
        message = RemoveEnded(retention, step_jobs, act)
        try:
            await inbox.put(message, internal=removed > 0).wait()
            step = message.outcome()
        except EngineUnavailableError as error:
            if not removed:
                raise
            raise OutcomeUnknownError(
                f"the engine has ended while it removed ended jobs: {removed:,} are removed, and "
                "more may be; prune again to remove the rest"
            ) from error
        if not step:
            break
        removed += step
    return removed
