"""The inbox: the bounded anyio memory channel into the owner.

The messages that arrive while the owner is busy form a `Round`, which it takes and answers as one.
The first message puts the round into the channel; later messages join it there until it is full or
the owner takes it. So the owner drains its inbox by one receive, and one event wakes all readers,
another all writers. Measured: a channel operation for each message makes a call a third slower, an
event for each message doubles its time.

The inbox never waits for room. A full inbox refuses a message at once, with a typed error, because
each caller that blocks in a send costs another 6 KB. The bound is here, at admission; the channel
itself has none, so it never refuses an admitted message.
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
    """Carries every message to the owner. Belongs to one event loop; threads must not call it.

    Args:
        max_waiting: The most weight of waiting messages; past it the inbox refuses more. While less
            is waiting it accepts one message of any weight.
        max_batch: The weight at which a round is full.
        choose_event: Called on the event loop that opens the inbox; returns the maker of its
            events.

    Attributes:
        waiting: The weight of the waiting messages.
        refused: The number of refused messages.
        taken: The round that the owner took last, until `done`.
    """

    def __init__(
        self, max_waiting: int, max_batch: int, choose_event: Callable[[], Callable[[], Event]]
    ) -> None:
        self.max_waiting = max_waiting
        self.waiting = 0
        self.refused = 0
        self.taken: Round | None = None
        self._max_batch = max_batch
        self._full_at = max_batch
        self._choose_event = choose_event
        self._closed_by: Callable[[], EngineUnavailableError] | None = EngineNotStartedError

    def open(self) -> None:
        """Open the channel, on the running event loop. `refuse_rest` closes both its ends."""
        self._send, self._receive = anyio.create_memory_object_stream[Round](math.inf)
        self._new_event = self._choose_event()
        self._arrived = self._new_event()  # an idle owner waits for it
        self._gathering: Round | None = None
        self._closed_by = None

    def put(
        self, message: Message[Any], notify: Notify | None = None, *, internal: bool = False
    ) -> Event:
        """Queue a message, and return the event that is set when it is answered. Never waits.

        Args:
            message: The message.
            notify: Also called when the message is answered.
            internal: The message is the engine's own, such as a claim or the outcome of an attempt.
                It is never refused: otherwise insistent callers could keep jobs from running and
                from ending. Its sender bounds how many of them wait.

        Raises:
            OverloadedError: Too much is waiting, and the message is a caller's.
            EngineUnavailableError: The inbox is closed, or not open yet.
        """
        if self._closed_by is not None:
            self.check_open()
        if self.waiting >= self.max_waiting and not internal:
            self.refused += 1
            raise OverloadedError(self.waiting, self.max_waiting)
        gathering = self._gathering
        if gathering is None or gathering.weight >= self._full_at:
            gathering = Round(self._new_event)
            self._send.send_nowait(gathering)
            self._gathering = gathering  # last, so that no message joins a round that was not sent
            self._arrived.set()
        self.waiting += message.weight
        return gathering.add(message, notify)

    def count_follow_ups(self, most: int) -> None:
        """Let a round count each of its jobs with so many follow-ups, which they may make."""
        self._full_at = max(1, self._max_batch // (1 + most))

    def new_event(self) -> Event:
        """Return an event of the loop.

        Raises:
            EngineUnavailableError: The inbox is closed, or not open yet.
        """
        self.check_open()
        return self._new_event()

    def count_refused(self, messages: int) -> None:
        """Count messages that were refused on their way here."""
        self.refused += messages

    @property
    def is_open(self) -> bool:
        """Whether the inbox takes messages. Any thread may ask."""
        return self._closed_by is None

    def check_open(self) -> None:
        """Check that the inbox takes messages.

        Raises:
            EngineUnavailableError: The inbox is closed, or not open yet.
        """
        if self._closed_by is not None:
            raise self._closed_by()

    async def take(self) -> Round:
        """Wait for a round and take it.

        Raises:
            anyio.EndOfStream: The inbox is closed and empty.
        """
        if self.waiting:
            await anyio.lowlevel.checkpoint()  # a busy owner must let other tasks run
        elif self._closed_by is None:
            # Not `receive`: its checkpoint, event and bookkeeping cost as much as a call.
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
        """Drop the round that was taken last: it is answered."""
        self.taken = None

    def close(self, error: Callable[[], EngineUnavailableError] = EngineClosedError) -> None:
        """Refuse new messages with this error. The owner can still take the queued ones."""
        if self._closed_by is None:
            self._closed_by = error
            self._send.close()
            self._arrived.set()

    def refuse_rest(self, error: Callable[[], EngineUnavailableError]) -> None:
        """Close the inbox, and answer all queued messages with this error."""
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
