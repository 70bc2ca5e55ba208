"""The heartbeat, as the event loop sees it: an engine of many lives by it, and hears by it.

Its thread (`Beating`) has a connection of its own, so neither a blocked event loop nor a long
commit costs the engine its lease.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import timedelta
from typing import Final

import anyio

from engine.domain.exceptions import EngineForkedError
from engine.portal import BlockingCall, Doorbell, Threads, call_soon
from engine.storage.postgres.beat_connection import Connect
from engine.storage.postgres.beating import Beating

_LEAVE_SECONDS: Final = 0.8
_CLOSE_SECONDS: Final = 1.0


class Heartbeat:
    """Keeps an engine alive for the others, and hears of them.

    The thread is a daemon, and starts with `start`. It never blocks the event loop and never raises
    into it; it ends with `aclose`, with the event loop, or when the lease is lost. Everything is to
    be called on the event loop that called `start`, and in that process.

    Args:
        storage: The storage's name for errors, without a password.
        schema: The schema's name, not quoted.
        lease_seconds: How long an engine may be silent before the others take it for dead. It beats
            five times as often.
        connect: Opens a connection in autocommit; it is called on the thread.
    """

    def __init__(self, storage: str, schema: str, lease_seconds: float, connect: Connect) -> None:
        self._storage = storage
        self._schema = schema
        self._lease_seconds = lease_seconds
        self._connect = connect
        self._call: BlockingCall[None] | None = None

    async def start(self, engine_id: int) -> None:
        """Begin to beat for an engine that has joined; return after the first beat.

        Raises:
            StorageError: There is no connection.
            LeaseLostError: The other engines take this one for dead.
        """
        self._bell = Doorbell()
        self._on_loop = call_soon()
        self._news = anyio.Event()
        self._failure: BaseException | None = None
        self._is_hinted = False
        self._beating = Beating(
            engine_id,
            self._storage,
            self._schema,
            self._lease_seconds,
            self._connect,
            self._bell,
            self._hint,
            self._check_loop,
        )
        self._threads = Threads("engine heartbeat")
        self._call = self._threads.start(self._beat)
        while not self._beating.has_begun:
            await self._hear()

    def _beat(self) -> None:
        """Beat until the end; on the thread."""
        try:
            with self._bell.at_work():
                self._beating.run()
        except BaseException as error:  # noqa: BLE001 - raised where news is waited for
            self._failure = error
        self._threads.close()
        self._hint()

    def _hint(self) -> None:
        """Wake who waits for news; on the thread."""
        if not self._is_hinted:
            self._is_hinted = True
            self._call_on_loop(self._take_hint)

    def _check_loop(self) -> None:
        """End the beating if the event loop has ended, and its engine with it; on the thread."""
        self._call_on_loop(lambda: None)

    def _call_on_loop(self, function: Callable[[], object]) -> None:
        try:
            self._on_loop(function)
        except RuntimeError:  # the event loop has ended
            self._beating.close(time.monotonic() + _LEAVE_SECONDS)

    def _take_hint(self) -> None:
        self._is_hinted = False
        self.wake()

    async def _hear(self) -> None:
        if self._failure is None:
            await self._news.wait()
            self._news = anyio.Event()
        if self._failure is not None:
            raise self._failure

    @property
    def listens(self) -> bool:
        """Whether notifications of other engines arrive. Otherwise `news` ends by its time."""
        return self._beating.listens

    @property
    def clock_offset(self) -> timedelta:
        """How far the server's clock is ahead of this machine's; measured with each beat."""
        return self._beating.clock_offset

    @property
    def instructions(self) -> object:
        """What operators have told this engine, as of the newest beat; see `Shared`."""
        return self._beating.instructions

    def handles(self, kinds: Collection[str]) -> None:
        """Publish the kinds that have a handler in this engine, with the next beat."""
        self._beating.kinds = tuple(kinds)

    def tell(self) -> None:
        """Tell the other engines soon that something may have changed. Never waits.

        Raises:
            EngineForkedError: This process was forked from the engine's.
        """
        if self._beating.has_others and not self._beating.told:
            self._beating.told = True
            self._bell.ring()

    def wake(self) -> None:
        """End a call of `news` that waits, or the next one. On the event loop alone."""
        self._news.set()

    async def news(self, seconds: float) -> None:
        """Return when another engine may have changed something, or after some seconds.

        What came after the last call ends the next one at once. One task at a time may wait.

        Raises:
            LeaseLostError: The other engines take this one for dead.
        """
        with anyio.move_on_after(seconds):
            await self._hear()

    async def aclose(self) -> None:
        """Leave, and end the thread; takes a second at most, also while the server is away.

        The engine's jobs are then free at once, and otherwise after the lease. Does nothing in a
        forked child, and nothing if it has not started.
        """
        if self._call is None:
            return
        with suppress(EngineForkedError):
            self._beating.close(time.monotonic() + _LEAVE_SECONDS)
            self._bell.ring()
            with anyio.move_on_after(_CLOSE_SECONDS):
                await self._call.until_ended()
