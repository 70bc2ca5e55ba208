"""One way to open either facade, so that a test of what they share is written once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeAlias

import anyio
from anyio import to_thread

from engine._job_engine import JobEngine
from engine._sync_job_engine import SyncJobEngine
from engine.storage.locations import Location

FACADES: Final = (JobEngine, SyncJobEngine)
Engine: TypeAlias = Any
"""Either of them, with calls to be awaited."""


class InThreads:
    """Every call of a blocking engine as one to be awaited, made in a thread that is free."""

    def __init__(self, engine: SyncJobEngine[Any]) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        """Return one of the engine's calls."""
        call = getattr(self._engine, name)

        def awaited(*args: object, **kwargs: object) -> Awaitable[Any]:
            return to_thread.run_sync(partial(call, *args, **kwargs))

        return awaited


@asynccontextmanager
async def opened_engine(
    facade: type[JobEngine[Any] | SyncJobEngine[Any]],
    storage: Location | None = None,
    **how: Any,  # noqa: ANN401 - the facade's own
) -> AsyncIterator[Any]:
    """Open one of the `FACADES` for calls to be awaited; close it at the end."""
    if issubclass(facade, JobEngine):
        async with facade(storage, **how) as engine:
            yield engine
        return
    blocking = await to_thread.run_sync(partial(facade, storage, **how))
    try:
        yield InThreads(blocking)
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(blocking.close)
