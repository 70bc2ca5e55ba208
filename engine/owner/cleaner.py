"""The cleaner: deletes ended jobs as the retention rule says, a few at a time."""

from __future__ import annotations

from typing import Final

from engine.domain.exceptions import EngineUnavailableError, StorageError
from engine.domain.retention import Retention
from engine.owner.commands.remove import RemoveEnded
from engine.owner.inbox import Inbox
from engine.portal.logs import TaskLogger
from engine.portal.time import Time

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
        except StorageError:
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
