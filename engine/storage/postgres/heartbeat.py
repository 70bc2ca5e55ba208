"""The heartbeat of an engine that shares its storage."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

import anyio
from psycopg import Connection


class Heartbeat:
    """Keeps an engine alive for the others, and hears of them."""

    def __init__(
        self,
        storage: str,
        schema: str,
        lease_seconds: float,
        connect: Callable[[], Connection[Any]],
    ) -> None:
        self.clock_offset = timedelta()
        del storage, schema, lease_seconds, connect

    async def start(self, engine_id: int) -> None:
        """Begin to beat."""
        self._news = anyio.Event()
        del engine_id

    def handles(self, kinds: Collection[str]) -> None:
        """Publish kinds."""

    def tell(self) -> None:
        """Tell the other engines soon that something may have changed."""

    def wake(self) -> None:
        """End a call of `news`."""
        self._news.set()

    async def news(self, seconds: float) -> None:
        """Wait for news."""
        with anyio.move_on_after(seconds):
            await self._news.wait()
            self._news = anyio.Event()

    async def aclose(self) -> None:
        """End."""
