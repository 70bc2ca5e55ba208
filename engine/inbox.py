"""The inbox: the bounded anyio memory channel into the owner, and who waits for which answer.

What is put in between two looks of the owner is one *turn*: the messages that it will take, decide
and answer together, and the one event that tells all of their callers. That one event for many
callers is what makes a call cheap: an event of its own for each would double its cost.

The inbox never waits for room. A full one refuses at once, with a typed error, because every caller
blocked in a send would cost another 6 KB; so its bound is the bound of all that waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import anyio

from engine.domain.exceptions import (
    EngineClosedError,
    EngineNotStartedError,
    EngineUnavailableError,
    OverloadedError,
)
from engine.messages import Message, Request

Notify: TypeAlias = Callable[[], object]


class Turn:
    """The messages that are decided together."""

    __slots__ = ("answered", "messages", "notify", "weight")

    def __init__(self) -> None:
        self.answered = anyio.Event()
        """Set when every message of the turn has its answer."""
        self.notify: list[Notify] = []
        """Called then too: the threads that wait."""
        self.messages = 0
        self.weight = 0

    def tell(self) -> None:
        """Tell every caller of the turn that the answer is there."""
        self.answered.set()
        for notify in self.notify:
            notify()


class Inbox:
    """The way of every message to the owner. Belongs to one event loop, and is no thread's.

    Args:
        max_waiting: How much weight of messages may wait; past it they are refused. One message
            that is heavier is accepted while less than this is waiting.
        max_batch: From how much weight on a turn is full.
    """

    def __init__(self, max_waiting: int, max_batch: int) -> None:
        self.max_waiting = max_waiting
        self.waiting = 0
        self.refused = 0
        self._max_batch = max_batch
        self._closed_by: Callable[[], EngineUnavailableError] | None = EngineNotStartedError

    def open(self) -> None:
        """Make the channel; needs the running event loop. Closed by `close`, both ends."""
        # No more messages than weight can wait, so the channel's own bound is never met first.
        self._send, self._receive = anyio.create_memory_object_stream[tuple[Turn, Any]](
            self.max_waiting
        )
        self._gathering = Turn()
        self._closed_by = None

    def put(self, message: Message[Any], notify: Notify | None = None) -> Turn:
        """Queue a message and return the turn that it will be answered in. Never waits.

        Raises:
            OverloadedError: Too much is waiting.
            EngineUnavailableError: The inbox is closed, or not yet open.
        """
        if self._closed_by is not None:
            raise self._closed_by()
        if self.waiting >= self.max_waiting:
            self.refused += 1
            raise OverloadedError(self.waiting, self.max_waiting)
        turn = self._gathering
        if turn.weight >= self._max_batch:
            turn = self._gathering = Turn()
        self._send.send_nowait((turn, message))
        turn.messages += 1
        turn.weight += message.weight
        self.waiting += message.weight
        if notify is not None:
            turn.notify.append(notify)
        return turn

    async def take(self) -> tuple[Turn, list[Request]]:
        """Wait for a message, and return it with the rest of its turn.

        Raises:
            anyio.EndOfStream: The inbox is closed and empty.
        """
        turn, first = await self._receive.receive()
        if turn is self._gathering:
            self._gathering = Turn()
        messages: list[Request] = [first]
        for _ in range(turn.messages - 1):
            messages.append(self._receive.receive_nowait()[1])
        self.waiting -= turn.weight
        return turn, messages

    def close(self, error: Callable[[], EngineUnavailableError] = EngineClosedError) -> None:
        """Refuse from now on what is put in, with this error; what is in it can still be taken."""
        if self._closed_by is None:
            self._closed_by = error
            self._send.close()

    def refuse_rest(self, error: Callable[[], EngineUnavailableError]) -> None:
        """Close, and answer whatever is still in the inbox with this error."""
        self.close(error)
        while True:
            try:
                turn, message = self._receive.receive_nowait()
            except (anyio.EndOfStream, anyio.ClosedResourceError):
                break
            message.refuse(error())
            turn.messages -= 1
            if not turn.messages:
                turn.tell()
        self.waiting = 0
        self._receive.close()
