"""Open either facade in one way: a test of both is written once."""

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
"""Either facade; every call is awaited."""


class InThreads:
    """Makes each call of a blocking engine in a free thread, and awaits it."""

    def __init__(self, engine: SyncJobEngine[Any]) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        """Return a call of the engine, as an async function."""
        call = getattr(self._engine, name)

        def awaited(*args: object, **kwargs: object) -> Awaitable[Any]:
            return to_thread.run_sync(partial(call, *args, **kwargs))

        return awaited


@asynccontextmanager
async def opened_engine(
    facade: type[JobEngine[Any] | SyncJobEngine[Any]],
    storage: Location | None = None,
    **how: Any,  # noqa: ANN401 - of the facade
) -> AsyncIterator[Any]:
    """Open one of the `FACADES` with awaited calls, and close it at the end."""
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
