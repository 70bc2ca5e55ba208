"""The inbox: the bounded anyio memory channel into the owner, and who waits for which answer.

What is put in between two looks of the owner is one *turn*: the messages that it will take and
answer together. A turn lies in the channel from its first
message on, and later messages join it there until the owner takes it or it is full; so to drain
what is waiting is to receive once, and one event tells all who read, another all who write. Both
are measured: a channel operation for each message costs a third more a call, an event for each
doubles it.

The inbox never waits for room. A full one refuses at once, with a typed error, because every caller
blocked in a send would cost another 6 KB; so its bound is the bound of all that waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel

from engine.domain.exceptions import (
    EngineClosedError,
    EngineNotStartedError,
    EngineUnavailableError,
    OverloadedError,
)
from engine.owner.messages import Message, Read, Write
from engine.portal import Event, Notify

Kind = TypeVar("Kind", bound=Message[Any])


class Half(Generic[Kind]):
    """The reads of a turn, or its writes, in the order in which they came."""

    __slots__ = ("answered", "messages", "notify")

    def __init__(self, answered: Event) -> None:
        self.messages: list[Kind] = []
        self.answered = answered
        """Set when every message has its answer."""
        self.notify: list[Notify] = []
        """Called then too: the threads that wait."""

    def is_given_up(self) -> bool:
        """Tell whether a caller has stopped to wait: a task by cancellation, a thread by time."""
        tasks = len(self.messages) - len(self.notify)
        return self.answered.waiting() < tasks or any(each.given_up for each in self.messages)

    def tell(self) -> None:
        """Tell every caller that the answer is there. Again, it does nothing."""
        self.answered.set()
        notify, self.notify = deque(self.notify), []
        try:
            while notify:
                notify.popleft()()
        finally:
            self.notify.extend(notify)  # after an interrupt: who tells again tells the rest


class Turn:
    """The messages that are answered together."""

    __slots__ = ("reads", "weight", "writes")

    def __init__(self, new_event: Callable[[], Event]) -> None:
        self.reads: Half[Read] = Half(new_event())
        self.writes: Half[Write] = Half(new_event())
        self.weight = 0

    def __len__(self) -> int:
        """Return the number of messages."""
        return len(self.reads.messages) + len(self.writes.messages)

    def has_reads_last(self) -> bool:
        """Tell whether its reads are to come after its writes: a caller has given up one of them.

        That caller may read to learn what became of it.
        """
        return bool(self.reads.messages and self.writes.messages) and self.writes.is_given_up()

    def unanswered(self) -> list[Read | Write]:
        """Return the messages that have no answer yet."""
        messages = (*self.reads.messages, *self.writes.messages)
        return [message for message in messages if not message.answered]

    def tell(self) -> None:
        """Tell every caller who has not been told yet."""
        self.reads.tell()
        self.writes.tell()


class Inbox:
    """The way of every message to the owner. Belongs to one event loop, and is no thread's.

    Args:
        max_waiting: How much weight of messages may wait; past it they are refused. One message
            that is heavier is accepted while less than this is waiting.
        max_batch: From how much weight on a turn is full.
        choose_event: Called on the event loop that the inbox is opened on; returns what makes its
            events.
    """

    def __init__(
        self, max_waiting: int, max_batch: int, choose_event: Callable[[], Callable[[], Event]]
    ) -> None:
        self.max_waiting = max_waiting
        self.waiting = 0
        self.refused = 0
        self.taken: Turn | None = None
        """The turn that was taken last."""
        self._max_batch = max_batch
        self._choose_event = choose_event
        self._closed_by: Callable[[], EngineUnavailableError] | None = EngineNotStartedError

    def open(self) -> None:
        """Make the channel, on the running event loop; `refuse_rest` closes both its ends."""
        # No more turns than weight can wait, so the channel's own bound is never met first.
        self._send, self._receive = anyio.create_memory_object_stream[Turn](self.max_waiting)
        self._new_event = self._choose_event()
        self._arrived = self._new_event()  # what the owner waits for when nothing is waiting
        self._gathering: Turn | None = None
        self._closed_by = None

    def put(
        self, message: Message[Any], notify: Notify | None = None, *, is_own: bool = False
    ) -> Event:
        """Queue a message and return what tells that its answer is there. Never waits.

        Args:
            message: The message.
            notify: Called when its answer is there, too.
            is_own: It is the engine's own, such as the outcome of an attempt, and is not refused
                because callers are too many: or else jobs could never end while callers insist.

        Raises:
            OverloadedError: Too much is waiting.
            EngineUnavailableError: The inbox is closed, or not yet open.
        """
        if self._closed_by is not None:
            self.check_open()
        if self.waiting >= self.max_waiting and not is_own:
            self.refused += 1
            raise OverloadedError(self.waiting, self.max_waiting)
        turn = self._gathering
        if turn is None or turn.weight >= self._max_batch:
            turn = self._gathering = Turn(self._new_event)
            self._send.send_nowait(turn)
            self._arrived.set()
        half: Half[Any] = turn.writes if message.writes else turn.reads
        half.messages.append(message)
        turn.weight += message.weight
        self.waiting += message.weight
        if notify is not None:
            half.notify.append(notify)
        return half.answered

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

    async def take(self) -> Turn:
        """Wait for a turn, and take it out.

        Raises:
            anyio.EndOfStream: The inbox is closed and empty.
        """
        if self.waiting:
            await anyio.lowlevel.checkpoint()  # an owner that is never idle lets others run, too
        elif self._closed_by is None:
            # Not `receive`, whose checkpoint, event and bookkeeping cost as much as a call.
            self._arrived = self._new_event()
            await self._arrived.wait()
        turn = self.taken = self._receive.receive_nowait()
        self._taken(turn)
        return turn

    def _taken(self, turn: Turn) -> None:
        if turn is self._gathering:
            self._gathering = None
        self.waiting -= turn.weight

    def close(self, error: Callable[[], EngineUnavailableError] = EngineClosedError) -> None:
        """Refuse from now on what is put in, with this error; what is in it can still be taken."""
        if self._closed_by is None:
            self._closed_by = error
            self._send.close()
            self._arrived.set()

    def refuse_rest(self, error: Callable[[], EngineUnavailableError]) -> None:
        """Close, and answer whatever is still in the inbox with this error."""
        self._closed_by = error
        self._send.close()
        while True:
            try:
                turn = self._receive.receive_nowait()
            except anyio.EndOfStream:
                break
            self._taken(turn)
            for message in turn.unanswered():
                message.answer(error())
            turn.tell()
        self._receive.close()
