"""The inbox: the bounded anyio memory channel into the owner.

The messages that come in between two looks of the owner are one `Round`: it takes and answers them
together. A round lies in the channel from its first message on, and later messages join it there
until the owner takes it or it is full; so the owner drains its inbox by one receive, and one event
wakes all readers, another all writers. Both are measured: a channel operation for each message
costs a third more a call, an event for each doubles it.

The inbox never waits for room. A full one refuses at once, with a typed error, because every caller
blocked in a send would cost another 6 KB. So the bound is here, at admission, and the channel has
none of its own: it never refuses an admitted message.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel

from engine.domain.exceptions import (
    EngineClosedError,
    EngineNotStartedError,
    EngineUnavailableError,
    OverloadedError,
)
from engine.owner.message import Message
from engine.owner.round import Round
from engine.portal import Event, Notify


class Inbox:
    """The way of every message to the owner. Belongs to one event loop, and is no thread's.

    Args:
        max_waiting: How much weight of messages may wait; past it they are refused. One message
            that is heavier is accepted while less than this is waiting.
        max_batch: From how much weight on a round is full.
        choose_event: Called on the event loop that the inbox is opened on; returns the function
            that makes its events.

    Attributes:
        waiting: The weight of the messages that wait.
        refused: How many messages were refused.
        taken: The round that was taken last, until `done`.
    """

    def __init__(
        self, max_waiting: int, max_batch: int, choose_event: Callable[[], Callable[[], Event]]
    ) -> None:
        self.max_waiting = max_waiting
        self.waiting = 0
        self.refused = 0
        self.taken: Round | None = None
        self._max_batch = max_batch
        self._choose_event = choose_event
        self._closed_by: Callable[[], EngineUnavailableError] | None = EngineNotStartedError

    def open(self) -> None:
        """Make the channel, on the running event loop; `refuse_rest` closes both its ends."""
        self._send, self._receive = anyio.create_memory_object_stream[Round](math.inf)
        self._new_event = self._choose_event()
        self._arrived = self._new_event()  # the owner waits for it when nothing is waiting
        self._gathering: Round | None = None
        self._closed_by = None

    def put(
        self, message: Message[Any], notify: Notify | None = None, *, internal: bool = False
    ) -> Event:
        """Queue a message; return the event that is set when its answer is there. Never waits.

        Args:
            message: The message.
            notify: Called when its answer is there, too.
            internal: It is the engine's own, such as the outcome of an attempt, and is not refused
                because callers are too many: or else jobs could never end while callers insist.

        Raises:
            OverloadedError: Too much is waiting.
            EngineUnavailableError: The inbox is closed, or not yet open.
        """
        if self._closed_by is not None:
            self.check_open()
        if self.waiting >= self.max_waiting and not internal:
            self.refused += 1
            raise OverloadedError(self.waiting, self.max_waiting)
        gathering = self._gathering
        if gathering is None or gathering.weight >= self._max_batch:
            gathering = Round(self._new_event)
            self._send.send_nowait(gathering)
            self._gathering = gathering  # after it is in the channel: no message joins a lost round
            self._arrived.set()
        self.waiting += message.weight
        return gathering.add(message, notify)

    def count_refused(self, messages: int) -> None:
        """Count messages that were refused before they came here."""
        self.refused += messages

    def check_open(self) -> None:
        """Refuse when no message can be put in.

        Raises:
            EngineUnavailableError: It is closed, or not yet open.
        """
        if self._closed_by is not None:
            raise self._closed_by()

    async def take(self) -> Round:
        """Wait for a round, and take it out.

        Raises:
            anyio.EndOfStream: The inbox is closed and empty.
        """
        if self.waiting:
            await anyio.lowlevel.checkpoint()  # an owner that is never idle lets others run, too
        elif self._closed_by is None:
            # Not `receive`, whose checkpoint, event and bookkeeping cost as much as a call.
            self._arrived = self._new_event()
            await self._arrived.wait()
        self.taken = self._receive.receive_nowait()
        self._count_out(self.taken)
        return self.taken

    def _count_out(self, taken: Round) -> None:
        if taken is self._gathering:
            self._gathering = None
        self.waiting -= taken.weight

    def done(self) -> None:
        """Let go of the round that was taken last: it has been answered."""
        self.taken = None

    def close(self, error: Callable[[], EngineUnavailableError] = EngineClosedError) -> None:
        """Refuse new messages from now on, with this error; those inside can still be taken."""
        if self._closed_by is None:
            self._closed_by = error
            self._send.close()
            self._arrived.set()

    def refuse_rest(self, error: Callable[[], EngineUnavailableError]) -> None:
        """Close, and answer all that is still in the inbox with this error."""
        self._closed_by = error
        self._send.close()
        while True:
            try:
                left = self._receive.receive_nowait()
            except anyio.EndOfStream:
                break
            self._count_out(left)
            for message in left.unanswered():
                message.answer(error())
            left.wake_all()
        self._receive.close()
