"""Keeping up: what an engine does about the changes that others make in a shared storage.

At each hint, and else at a pace, it lets the owner look: for jobs to claim, for due jobs, for the
jobs of its attempts that others have moved or want to cancel, and for transitions that somebody
watches. Hints only make that sooner; polling alone is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import anyio

from engine.domain.exceptions import EngineError, EngineUnavailableError
from engine.owner.commands.expire import ExpireJobs
from engine.owner.commands.look import LONGEST_PAUSE_SECONDS, FindUnhandled, LookAround
from engine.owner.committer import FATAL
from engine.owner.inbox import Inbox
from engine.owner.message import Answer, Message
from engine.owner.state import State
from engine.owner.timers import warn_of
from engine.owner.waiting_claims import WaitingClaims
from engine.portal.logs import TaskLogger
from engine.portal.time import Time
from engine.storage.shared import Shared

logger = TaskLogger("engine")

_POLL_SECONDS: Final = 0.1  # while claims wait or somebody watches, and no hint tells of news
_UNHANDLED_SECONDS: Final = 5.0


class KeepingUp:
    """Keeps an engine up with the others.

    Args:
        inbox: Takes the messages to the owner.
        state: The owner's knowledge.
        shared: Tells of the others.
        claims: Those that wait for jobs.
        time: The engine's time.
    """

    def __init__(
        self, inbox: Inbox, state: State, shared: Shared, claims: WaitingClaims, time: Time
    ) -> None:
        self._inbox = inbox
        self._state = state
        self._shared = shared
        self._claims = claims
        self._time = time
        self._has_failed = False
        self._next_unhandled = anyio.current_time() + _UNHANDLED_SECONDS

    async def run(self) -> None:
        """Look for the changes of others until the engine ends.

        Raises:
            LeaseLostError: The others take this engine for dead.
            CommitsLostError: The storage has lost what it acknowledged.
            Exception: A bug; it crashes the owner.
        """
        following = self._state.following
        pause = LONGEST_PAUSE_SECONDS
        while True:
            waits = self._claims.are_waiting or following.last is not None
            polls = waits and not self._shared.listens
            if pause:
                await self._shared.news(min(pause, _POLL_SECONDS) if polls else pause)
            try:
                pause = await self._look()
            except EngineUnavailableError:
                return
            except FATAL:
                raise
            except EngineError:
                self._has_failed = True
                text = "changes of other engines can't be read, and are looked for again"
                logger.exception(text)
                await anyio.sleep(LONGEST_PAUSE_SECONDS)

    async def _look(self) -> float:
        """Look once; return the seconds until the next look, unless there are news."""
        if self._has_failed:  # a commit's outcome may be unknown, and nothing be read before
            await self._ask(ExpireJobs(()))
            self._has_failed = False
        looked = await self._ask(LookAround())
        self._claims.search_again()
        if looked.late or self._claims.are_waiting or self._claims.have_left_some:
            await self._ask(ExpireJobs(looked.late))
        if anyio.current_time() >= self._next_unhandled:
            self._next_unhandled = anyio.current_time() + _UNHANDLED_SECONDS
            handled, now = self._state.ready_queue.handled, self._time.now()
            unhandled: Sequence[str] = await self._ask(FindUnhandled())
            handled.note_all_ready(unhandled, now)
            warn_of(handled.to_warn_of(now))
        return looked.pause_seconds

    async def _ask(self, message: Message[Answer]) -> Answer:
        await self._inbox.put(message, internal=True).wait()
        return message.outcome()
