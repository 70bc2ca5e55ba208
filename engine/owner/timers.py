"""Timers: expire and retry jobs when they are due, and when the clock was set back.

They also warn of ready jobs whose kind has no handler.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

import anyio

from engine.domain.exceptions import EngineError, EngineUnavailableError
from engine.owner.commands.expire import ExpireJobs
from engine.owner.handled_kinds import HandledKinds
from engine.owner.inbox import Inbox
from engine.owner.times import JobTimes
from engine.portal.logs import TaskLogger
from engine.portal.time import Time

logger = TaskLogger("engine")

_STEP_JOBS: Final = 200  # so that a step takes no longer than a small batch
_PAUSE_SECONDS: Final = 1.0  # after a step that was refused
_MOST_LINES: Final = 20


async def fire_timers(inbox: Inbox, times: JobTimes, handled: HandledKinds, time: Time) -> None:
    """Expire and retry due jobs until the engine ends.

    Raises:
        Exception: A bug, such as a failing clock; it crashes the owner.
    """
    while True:
        earlier = anyio.Event()
        times.on_earlier = earlier.set
        await time.wait_until(times.earliest(), earlier, partial(_latest_begin, times, handled))
        if earlier.is_set():
            continue
        now = time.now()
        warn_of(handled.to_warn_of(now))
        message = ExpireJobs(
            times.begun_after(now, _STEP_JOBS) or times.deadlines.due(now, _STEP_JOBS)
        )
        try:
            await inbox.put(message, internal=True).wait()
            message.outcome()
        except EngineUnavailableError:
            return
        except EngineError:
            logger.exception("due jobs could not be moved, and are tried again")
            await time.sleep(_PAUSE_SECONDS)


def _latest_begin(times: JobTimes, handled: HandledKinds) -> datetime:
    return max(times.latest_begin() or handled.latest_begin, handled.latest_begin)


def warn_of(kinds: Sequence[str]) -> None:
    """Log that nobody works on the ready jobs of these kinds."""
    for kind in kinds[:_MOST_LINES]:
        logger.warning(
            "jobs of the kind %r are ready, and no open worker has that kind: open a Worker "
            "with a handler for it",
            kind,
            extra={"kind": kind},
        )
    if len(kinds) > _MOST_LINES:
        logger.warning("the same holds for %s other kinds", len(kinds) - _MOST_LINES)
