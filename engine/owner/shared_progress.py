"""Shared progress: what handlers report, from the engine that runs them to all the others.

Once a second an engine writes the newest progress of its own attempts, if it has changed, and reads
that of the others. So a job costs a row a second at most, however much its handler reports.
"""

from __future__ import annotations

from typing import Final

import anyio

from engine.domain.models import Progress
from engine.owner.events import Events
from engine.storage.shared import Shared

_PAUSE_SECONDS: Final = 1.0


class SharedProgress:
    """Exchanges progress with the other engines.

    Args:
        events: Has the progress of this engine's attempts, and takes that of others.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._written: dict[str, Progress] = {}
        self._theirs: dict[str, Progress] = {}
        self._next_at = 0.0

    async def exchange(self, shared: Shared) -> None:
        """Write and read what is new, unless it was done in the last second.

        Raises:
            StorageError: It can't be written or read. The next exchange does both.
        """
        if anyio.current_time() < self._next_at:
            return
        self._next_at = anyio.current_time() + _PAUSE_SECONDS
        newest = self._events.progress
        own = {job: each for job, each in newest.items() if self._theirs.get(job) is not each}
        reports = [each for job, each in own.items() if self._written.get(job) is not each]
        ended = self._written.keys() - own.keys()
        theirs = await shared.exchange_progress(reports, tuple(ended))
        self._written = own
        self._take({each.job_id: each for each in theirs})

    def _take(self, theirs: dict[str, Progress]) -> None:
        newest, before = self._events.progress, self._theirs
        for job_id in before.keys() - theirs.keys():
            if newest.get(job_id) is before[job_id]:
                del newest[job_id]
        self._theirs = {}
        for job_id, each in theirs.items():
            known = newest.get(job_id)
            if known == each:
                self._theirs[job_id] = known
            elif known is None or known is before.get(job_id) or known.attempt < each.attempt:
                self._theirs[job_id] = each
                self._events.publish_progress(each)
