"""One way to open either facade, so that a test of what they share is written once.

The blocking engine gets the awaited one's calls: each still blocks, which is harmless here, because
it is answered on the engine's own event-loop thread.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from engine import JobEngine, JobStatus, SyncJobEngine

FACADES = [JobEngine, SyncJobEngine]
Engine = Any  # either of them, for calls to be awaited


class AwaitedCalls:
    """Every call of a blocking engine as one to be awaited."""

    def __init__(self, engine: SyncJobEngine[Any]) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        call = getattr(self._engine, name)

        async def awaited(*args: object, **kwargs: object) -> object:
            return call(*args, **kwargs)

        return awaited


@asynccontextmanager
async def opened(facade: type[Any], *args: object, **kwargs: object) -> AsyncIterator[Any]:
    """Open one of the `FACADES` for calls to be awaited; close it at the end."""
    if facade is JobEngine:
        async with facade(*args, **kwargs) as engine:
            yield engine
    else:
        with facade(*args, **kwargs) as engine:
            yield AwaitedCalls(engine)


async def finished(engine: Engine) -> Any:  # noqa: ANN401 - the facades' shared shape
    """Return a job that has completed."""
    job = await engine.create("hash")
    await engine.transition(job.job_id, JobStatus.RUNNING)
    return await engine.transition(job.job_id, JobStatus.COMPLETED, result="done")
