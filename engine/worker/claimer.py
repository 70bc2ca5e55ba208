"""The claimer: claims ready jobs for the free places of a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio

from engine.domain.exceptions import EngineError, EngineUnavailableError
from engine.owner.commands.claim import ClaimJobs
from engine.owner.commands.expire import ExpireJobs
from engine.owner.core import Core
from engine.owner.free_places import FreePlaces
from engine.portal.logs import TaskLogger
from engine.storage.record import Record
from engine.worker.changes import Changes

logger = TaskLogger("engine.worker")

_PAUSE_SECONDS: Final = 1.0  # after a refused claim


class Claimer:
    """Claims jobs as long as places are free.

    Args:
        core: The engine's parts.
        places: The free places.
        changes: Woken when a place is free again.
        begin: Takes the claimed jobs.

    Attributes:
        is_stopping: Whether it claims nothing more.
    """

    def __init__(
        self,
        core: Core[Any],
        places: FreePlaces,
        changes: Changes,
        begin: Callable[[Sequence[Record]], object],
    ) -> None:
        self.is_stopping = False
        self._core = core
        self._places = places
        self._changes = changes
        self._begin = begin
        self._claim: ClaimJobs | None = None

    @property
    def is_claiming(self) -> bool:
        """Whether a claim is on its way, or waits for jobs."""
        return self._claim is not None

    async def run(self) -> None:
        """Claim jobs for the free places until told to stop, or until the engine ends."""
        try:
            with anyio.CancelScope(shield=True):
                while True:
                    await self._changes.until(lambda: self._places.free or self.is_stopping)
                    if self.is_stopping:
                        break
                    try:
                        await self._claim_some()
                    except EngineUnavailableError:
                        break
                    except EngineError:
                        self._claim = None
                        logger.exception("jobs can't be claimed at the moment")
                        await self._changes.pause(_PAUSE_SECONDS, lambda: self.is_stopping)
        finally:  # also at the end of the event loop
            self._claim = None
            self._changes.wake()

    async def _claim_some(self) -> None:
        """Claim a job for each free place; wait until there is at least one.

        Raises:
            EngineError: The engine refused.
        """
        woken = anyio.Event()

        def take() -> None:
            # At once, in the owner's publishing of the commit: it misses no later change.
            try:
                self._begin(claim.outcome())
                claim.answer(())  # so that the claim doesn't hold the jobs
            except EngineError as error:
                claim.answer(error)
            woken.set()

        claim = self._claim = ClaimJobs(self._places, take)
        await self._core.inbox.put(claim, internal=True).wait()
        if not claim.answered:  # there was nothing to claim yet
            await woken.wait()
        claim.outcome()

    def stop(self) -> None:
        """Claim nothing more: a claim that waits gets no job."""
        self.is_stopping = True
        if self._claim is not None:
            self._claim.is_abandoned = True
        self._changes.wake()

    async def withdraw(self) -> None:
        """Stop, and make the owner answer a claim that waits."""
        self.stop()
        if self._claim is not None:
            try:
                await self._core.ask(ExpireJobs(()), internal=True)
            except EngineError as error:
                logger.debug("all claims were refused: %s", error)
        self._changes.wake()
