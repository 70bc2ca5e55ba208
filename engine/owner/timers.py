"""Timekeeping: the task that has done what is due by the clock, by messages like any other."""

from __future__ import annotations

import logging
from typing import Final

import anyio

from engine.domain.exceptions import (
    EngineError,
    EngineUnavailableError,
    OverloadedError,
)
from engine.owner.inbox import Inbox
from engine.owner.messages import ExpireJobs
from engine.owner.ready_queue import Agenda
from engine.portal.time import Time

logger = logging.getLogger("engine")

_STEP_JOBS: Final = 200  # so that a step takes no longer than a small batch
_PAUSE_SECONDS: Final = 1.0  # after a step that was refused


async def keep_time(inbox: Inbox, agenda: Agenda, time: Time) -> None:
    """Have jobs moved on whose time has run out, and others run again, until the engine ends."""
    while True:
        earlier = anyio.Event()
        agenda.on_earlier = earlier.set
        due: list[str] = []
        try:
            await time.wait_until(agenda.next_time(), earlier)
            if earlier.is_set():
                continue
            due = agenda.expired(time.now(), _STEP_JOBS)
        except Exception:  # the clock's own
            logger.debug("the owner reads the clock, too, and will crash by it", exc_info=True)
        message = ExpireJobs(due)
        try:
            await inbox.put(message, is_own=True).wait()
            for record in message.outcome():
                fields = {"job_id": record.job_id, "status": record.status}
                logger.info("the time of job %s ran out", record.job_id, extra=fields)
        except EngineUnavailableError:
            return
        except EngineError as error:
            log = logger.debug if isinstance(error, OverloadedError) else logger.exception
            log("what is due by the clock could not be done, and is tried again")
            await time.sleep(_PAUSE_SECONDS)
