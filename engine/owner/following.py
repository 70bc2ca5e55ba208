"""Following: passes the transitions of a shared storage on to the watchers, in their order.

The commits of this engine come at once, if no other engine's stands between; the rest is read, by
`engine.owner.keeping_up`. Only while somebody watches: from this engine's newest transition on, if
it is fresh, or else from where `begin` says.
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
        when_behind: Called when there are transitions to read.
    """

    def __init__(self, events: Events) -> None:
        self.when_behind: Callable[[], object] = lambda: None
        self._events = events
        self._last: int | None = None  # None: unknown, or too old to follow from

    @property
    def last(self) -> int | None:
        """The number of the newest transition that was passed on; None: nobody watches."""
        return self._last if self._events.has_followers else None

    @property
    def has_to_begin(self) -> bool:
        """Whether somebody watches, and nobody has said from where on."""
        return self._last is None and self._events.has_followers

    def begin(self, newest: int) -> None:
        """Follow from the newest transition on: watchers have yet to read the earlier ones."""
        self._last = newest

    def forget(self) -> None:
        """Forget where to follow from, if nobody watches: too much will have happened since."""
        if not self._events.has_followers:
            self._last = None

    def note(self, changes: Sequence[Change]) -> int:
        """Pass on the transitions of this engine's own commit; return the newest one's number."""
        entries = entries_of(changes)
        if not entries:
            return 0
        if (last := self.last) is None:
            self._last = entries[-1].sequence
        elif entries[0].sequence > last + 1:
            self.when_behind()
        else:
            self.take(entries)
        return entries[-1].sequence

    def take(self, entries: Sequence[Entry]) -> None:
        """Pass on the transitions that follow; those that were passed on before are left out.

        Numbers have no gaps, so what is missing among them was removed meanwhile. The watchers find
        out whether they have missed it.
        """
        if (last := self.last) is None:
            return
        new = [entry for entry in entries if entry.sequence > last]
        if not new:
            return
        self._last = new[-1].sequence
        if self._last - last == len(new):
            self._events.publish_entries(new)
        else:
            self._events.publish_gap()
