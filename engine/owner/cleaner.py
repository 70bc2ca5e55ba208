"""Retaining: the task that has ended jobs removed, a few at a time, between the other messages."""

from __future__ import annotations

import logging
from typing import Final

from engine.domain.exceptions import EngineUnavailableError, OverloadedError, StorageError
from engine.domain.retention import Retention
from engine.owner.inbox import Inbox
from engine.owner.messages import RemoveEnded
from engine.portal.time import Time

logger = logging.getLogger("engine")

_STEP_JOBS: Final = 200  # so that a step takes no longer than a small batch


async def retain(inbox: Inbox, retention: Retention, time: Time) -> None:
    """Have ended jobs removed as the rule says, until the engine ends."""
    while True:
        try:
            await _remove_all(inbox, retention)
        except OverloadedError:
            logger.debug("no ended jobs are removed: the engine is overloaded")
        except StorageError:
            logger.exception("ended jobs could not be removed")
        except EngineUnavailableError:
            return
        await time.sleep(retention.interval_seconds)


async def _remove_all(inbox: Inbox, retention: Retention) -> None:
    """Have all removed that are to be removed now, and say how many."""
    removed, step = 0, -1
    try:
        while step != 0:
            message = RemoveEnded(retention, _STEP_JOBS)
            await inbox.put(message).wait()
            step = message.outcome()
            removed += step
    finally:
        if removed:
            logger.info("removed %s ended jobs with their histories", removed)
