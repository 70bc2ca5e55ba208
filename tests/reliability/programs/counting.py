"""Create, end, remove and count jobs in a file until killed.

For `tests.reliability.programs.zygote`. The line ``["open"]`` says that it has begun.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine import JobEngine, JobStatus, Move, NewJob, SQLiteStorage
from engine.operations import EngineDesk
from engine.storage.sqlite import throughput, writing
from tests.reliability.programs.zygote import Order, say

STEP = 5
"""So many transitions are counted at once: a kill meets a count more often."""


class SplitStorage(SQLiteStorage):
    """Its bug: it commits the counts, and then the number up to which they go."""

    async def count_throughput(self) -> bool:
        late = list[tuple[str, Any]]()

        def leave(_: object, name: str, value: object) -> None:
            late.append((name, value))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(throughput, "write_note", leave)
            await super().count_throughput()
        write: Callable[..., None] = self._database._write_repeatably  # noqa: SLF001
        for note in late:
            await self._thread.run(
                write, lambda writer, note=note: writing.write_note(writer, *note)
            )
        return await self._read(throughput.has_uncounted)


KINDS = {"sound": SQLiteStorage, "split": SplitStorage}


async def _work(order: Order) -> None:
    random = Random(order["name"])
    async with JobEngine(KINDS[order["storage"]](Path(order["path"]))) as engine:
        desk = EngineDesk(engine.core)
        say("open")
        while True:
            jobs = await engine.create_many(NewJob(start=True) for _ in range(random.randrange(9)))
            ended = random.sample(jobs, len(jobs) // 2)
            moves = [Move(job.job_id, JobStatus.COMPLETED) for job in ended]
            await engine.transition_many(moves)
            if random.random() < 0.5:
                await engine.prune(keep=random.randrange(20))
            else:
                await desk.do("throughput", {})


def warm() -> None:
    """Run the event loop once, and make counts take many steps."""
    pytest.MonkeyPatch().setattr(throughput, "STEP_TRANSITIONS", STEP)
    anyio.run(checkpoint)


def run(order: Order) -> None:
    """Work as an order says, by its ``path``, ``name`` and ``storage``."""
    anyio.run(_work, order)
