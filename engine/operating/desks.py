"""Desks: the one that can act on a place now, and the engine behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from anyio import to_thread

from engine.control.client import SocketDesk, engine_listening_at
from engine.domain.exceptions import (
    LifecycleError,
    StorageDamagedError,
    StorageError,
    StorageInUseError,
)
from engine.domain.lifecycle import Lifecycle, lifecycle_of
from engine.operating.guest import Guest
from engine.operations import Desk, EngineDesk
from engine.owner.core import Core
from engine.storage.inspection import Place, View


@asynccontextmanager
async def desk_at(place: Place) -> AsyncIterator[Desk]:
    """Give a desk that acts on a place.

    The engine of a file carries the operations out, by its control socket. A file that no engine
    has is opened by a guest, and a database too, beside its engines.

    Args:
        place: The place. An engine must have opened it before.

    Raises:
        StorageInUseError: An engine has the file, and does not listen.
        EngineUnavailableError: It listens, and can't be asked now, such as for too many clients.
        EngineError: See `core_at`.
    """
    async with AsyncExitStack() as stack:
        try:
            desk: Desk = EngineDesk(await stack.enter_async_context(core_at(place)))
        except StorageInUseError:
            if place.file is None or await engine_listening_at(place.file) is None:
                raise
            desk = await stack.enter_async_context(SocketDesk(place.file))
        yield desk


@asynccontextmanager
async def core_at(place: Place) -> AsyncIterator[Core[Any]]:
    """Give the core of a guest at a place.

    Args:
        place: The place. An engine must have opened it before.

    Raises:
        StorageInUseError: An engine has the file.
        StorageDamagedError: The lifecycle that is kept there can't be read.
        StorageError: It can't be opened, is no engine's, or keeps no lifecycle.
        LifecycleError: It has a job in a status that the lifecycle doesn't know.
    """
    while True:
        kept = await to_thread.run_sync(_kept, place)
        async with Guest(place.guest(), _lifecycle(place, kept)).opened() as core:
            # An engine may have opened and closed a file between: now it can't any more.
            if await to_thread.run_sync(_kept, place) == kept:
                yield core
                return


def lifecycle_in(place: Place, view: View) -> Lifecycle[Any]:
    """Return the lifecycle that a place keeps.

    Raises:
        StorageDamagedError: It can't be read.
        StorageError: There is none.
    """
    return _lifecycle(place, view.lifecycle())


def _kept(place: Place) -> str | None:
    with place.reading() as view:
        return view.lifecycle()


def _lifecycle(place: Place, kept: str | None) -> Lifecycle[Any]:
    if kept is None:
        raise StorageError(
            f"{place.name} keeps no lifecycle, which says what may be done with its jobs: open it "
            "with an engine once"
        )
    try:
        return lifecycle_of(kept)
    except LifecycleError as error:
        raise StorageDamagedError(
            f"{place.name}: the lifecycle that is kept there can't be used: {error}; an engine "
            "that opens it keeps its own"
        ) from error
