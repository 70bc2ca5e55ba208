"""Keeping up: what an engine does about the changes that others make in a shared storage.

At each hint, and else at a pace, it lets the owner look: for jobs to claim, for due jobs, for the
jobs of its attempts that others have moved or want to cancel, and for transitions that somebody
watches. Hints only make that sooner; polling alone is right.
"""

from __future__ import annotations

from typing import Final

import anyio

from engine.domain.exceptions import EngineError, EngineUnavailableError, LeaseLostError
from engine.owner.commands.expire import ExpireJobs
from engine.owner.commands.look import LookAround
from engine.owner.inbox import Inbox
from engine.owner.state import State
from engine.owner.waiting_claims import WaitingClaims
from engine.portal.logs import TaskLogger
from engine.storage.protocol import Shared

logger = TaskLogger("engine")

_BUSY_SECONDS: Final = 0.1  # between two looks while claims wait or somebody watches
_IDLE_SECONDS: Final = 1.0


async def keep_up(inbox: Inbox, state: State, shared: Shared, claims: WaitingClaims) -> None:
    """Look for the changes of others until the engine ends.

    Raises:
        LeaseLostError: The others take this engine for dead.
        Exception: A bug; it crashes the owner.
    """
    state.following.is_behind = shared.wake
    while True:
        is_busy = claims.are_waiting or state.following.last is not None
        await shared.news(_BUSY_SECONDS if is_busy else _IDLE_SECONDS)
        try:
            await _look(inbox, claims)
        except EngineUnavailableError:
            return
        except LeaseLostError:
            raise
        except EngineError:
            logger.exception("changes of other engines can't be read, and are looked for again")
            await anyio.sleep(_IDLE_SECONDS)


async def _look(inbox: Inbox, claims: WaitingClaims) -> None:
    look = LookAround()
    await inbox.put(look, internal=True).wait()
    due = look.outcome()
    claims.may_find_some = True
    if due or claims.are_waiting:
        expiry = ExpireJobs(due)
        await inbox.put(expiry, internal=True).wait()
        expiry.outcome()
