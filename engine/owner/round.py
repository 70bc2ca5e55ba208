"""A round: the messages that the owner takes, decides and answers together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from engine.owner.commands.command import Read, Write
from engine.owner.message import Message
from engine.portal import Event, Notify


class Round:
    """The reads and the writes of one round, each in the order in which they came.

    Attributes:
        reads, writes: The messages.
        weight: Of all of them.
    """

    __slots__ = (
        "_notify_readers",
        "_notify_writers",
        "_read",
        "_written",
        "reads",
        "weight",
        "writes",
    )

    def __init__(self, new_event: Callable[[], Event]) -> None:
        self.reads: list[Read[Any]] = []
        self.writes: list[Write] = []
        self.weight = 0
        self._read = new_event()
        self._written = new_event()
        # The callers that wait in threads.
        self._notify_readers: deque[Notify] = deque()
        self._notify_writers: deque[Notify] = deque()

    def __len__(self) -> int:
        """Return the number of messages."""
        return len(self.reads) + len(self.writes)

    def add(self, message: Message[Any], notify: Notify | None) -> Event:
        """Add a message; return the event that is set when its answer is there.

        Args:
            message: The message.
            notify: Called when its answer is there, too.
        """
        messages: list[Any] = self.writes if message.writes else self.reads
        messages.append(message)
        self.weight += message.weight
        if notify is not None:
            (self._notify_writers if message.writes else self._notify_readers).append(notify)
        return self._written if message.writes else self._read

    def has_reads_last(self) -> bool:
        """Return whether the reads must follow the writes, because a caller has abandoned a write.

        That caller may read to learn the outcome.
        """
        if not (self.reads and self.writes):
            return False
        tasks = len(self.writes) - len(self._notify_writers)
        return self._written.waiting() < tasks or any(each.is_abandoned for each in self.writes)

    def unanswered(self) -> list[Message[Any]]:
        """Return the messages that have no answer yet."""
        messages: tuple[Message[Any], ...] = (*self.reads, *self.writes)
        return [message for message in messages if not message.answered]

    def wake_readers(self) -> None:
        """Wake the callers of all reads. Again, it does nothing."""
        self._read.set()
        _call(self._notify_readers)

    def wake_all(self) -> None:
        """Wake all callers that have not been woken."""
        self.wake_readers()
        self._written.set()
        _call(self._notify_writers)


def _call(functions: deque[Notify]) -> None:
    """Call each function once; call this again after an interrupt to finish."""
    while functions:
        functions.popleft()()
