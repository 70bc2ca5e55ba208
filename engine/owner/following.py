"""Following: passes the transitions of a shared storage on to the watchers, in their order.

The commits of this engine come at once, if no other engine's stands between; the rest is read, by
`engine.owner.keeping_up`. Only while somebody watches: `begin` says from where on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.owner.events import Events
from engine.storage.record import Change, Entry, entries_of


class Following:
    """Knows which transitions the watchers have got.

    Args:
        events: Passes them on.

    Attributes:
        is_on: Whether the storage is shared.
        is_behind: Called when there are transitions to read.
    """

    def __init__(self, events: Events) -> None:
        self.is_on = False
        self._events = events
        self._last: int | None = None  # None while nobody watches
        self.is_behind: Callable[[], object] = lambda: None

    @property
    def last(self) -> int | None:
        """The number of the newest transition that was passed on; None: nobody watches."""
        if not self._events.has_followers:
            self._last = None
        return self._last

    @property
    def has_to_begin(self) -> bool:
        """Whether somebody watches a shared storage, and nobody has said from where on."""
        return self.is_on and self.last is None and self._events.has_followers

    def begin(self, newest: int) -> None:
        """Follow from the newest transition on: watchers have yet to read the earlier ones."""
        self._last = newest

    def note(self, changes: Sequence[Change]) -> int:
        """Pass on the transitions of this engine's own commit; return the newest one's number."""
        entries = entries_of(changes)
        if not entries:
            return 0
        if self.last is not None and entries[0].sequence > self._next:
            self.is_behind()
        else:
            self.take(entries)
        return entries[-1].sequence

    @property
    def _next(self) -> int:
        return (self._last or 0) + 1

    def take(self, entries: Sequence[Entry]) -> None:
        """Pass on the transitions that follow; those that were passed on before are left out.

        Numbers have no gaps, so what is missing among them was removed meanwhile. The watchers find
        out whether they have missed it.
        """
        if self.last is None:
            return
        new = [entry for entry in entries if entry.sequence >= self._next]
        if (
            new
            and new[-1].sequence - new[0].sequence + 1 == len(new)
            and (new[0].sequence == self._next)
        ):
            self._last = new[-1].sequence
            self._events.publish_entries(new)
        elif new:
            self._last = new[-1].sequence
            self._events.publish_gap()
