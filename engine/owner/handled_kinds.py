"""Handled kinds: which kinds have a handler in this engine, and which ready jobs have none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from engine.domain.deadlines import LAST_TIME, due_after
from engine.domain.exceptions import KindInUseError
from engine.owner.intake import Intake
from engine.owner.times import Times
from engine.portal.time import Clock

_PATIENCE: Final = timedelta(seconds=10)
_MOST_WARNED: Final = 1_000  # kinds, in the life of an engine


class HandledKinds:
    """Knows the kinds of the open workers, and when to warn of ready jobs that none of them has.

    It decides about no job: what a worker gets is what its claims name.

    Args:
        notices: Takes the times at which to warn, by kind.
        ready_kinds: Returns the kinds that have ready jobs.
        intake: Has the paused kinds, whose jobs wait for no handler.

    Attributes:
        tell: Called with the kinds that have a handler, when they change.
        latest_begin: When the newest wait for a handler began. If that is in the future, the clock
            was set back, and all waits begin anew.
    """

    def __init__(
        self,
        notices: Times[datetime],
        ready_kinds: Callable[[], Iterable[str]],
        intake: Intake,
    ) -> None:
        self._notices = notices
        self._ready_kinds = ready_kinds
        self._intake = intake
        self._kinds: set[str] = set()
        self.tell: Callable[[Collection[str]], object] = lambda _: None
        self._warned: set[str] = set()
        self._changed_at = self.latest_begin = datetime.min.replace(tzinfo=UTC)

    def __contains__(self, kind: object) -> bool:
        return kind in self._kinds

    def __bool__(self) -> bool:
        return bool(self._kinds)

    @property
    def kinds(self) -> Collection[str]:
        """The kinds that have a handler."""
        return self._kinds

    def check_free(self, kinds: Iterable[str]) -> None:
        """Check that no open worker has one of these kinds.

        Raises:
            KindInUseError: One has.
        """
        for kind in kinds:
            if kind in self._kinds:
                raise KindInUseError(kind)

    def add(self, kinds: Collection[str], now: datetime) -> None:
        """Take in the kinds of a worker that opens."""
        self._kinds.update(kinds)
        self.tell(frozenset(self._kinds))
        self.begin_anew(now)

    def remove(self, kinds: Collection[str], clock: Clock) -> None:
        """Drop the kinds of a worker that has closed. Never fails."""
        self._kinds.difference_update(kinds)
        self.tell(frozenset(self._kinds))
        with suppress(Exception):  # a clock that fails has crashed the engine, or will
            self.begin_anew(clock())

    def begin_anew(self, now: datetime) -> None:
        """Let the wait for a handler begin now, for all kinds that have ready jobs."""
        self._changed_at = now
        for kind in self._ready_kinds():
            self.note_ready(kind, now)

    def note_all_ready(self, kinds: Collection[str], now: datetime) -> None:
        """Note which kinds have ready jobs that nobody takes; the others have none any more."""
        for kind in self._notices.due(LAST_TIME, len(self._notices)):
            if kind not in kinds:
                self.forget(kind)
        for kind in kinds:
            self.note_ready(kind, now)

    def note_ready(self, kind: str, at: datetime) -> None:
        """Note that a kind has had ready jobs since then; a warning follows if nobody takes it."""
        if not self._kinds or kind in self._kinds or kind in self._intake.pauses.by_kind:
            self.forget(kind)
        elif self._may_warn(kind):
            self._wait(kind, max(at, self._changed_at))

    def _wait(self, kind: str, since: datetime) -> None:
        self._notices.set(kind, due_after(since, _PATIENCE).at)
        self.latest_begin = max(self.latest_begin, since)

    def _may_warn(self, kind: str) -> bool:
        has_room = len(self._warned) + len(self._notices) < _MOST_WARNED
        return has_room and kind not in self._warned and kind not in self._notices

    def forget(self, kind: str) -> None:
        """Note that a kind has no ready jobs any more."""
        self._notices.set(kind, None)

    def to_warn_of(self, now: datetime) -> list[str]:
        """Return the kinds to warn of: each once in the life of the engine, and 1,000 at most."""
        if self.latest_begin > now:
            self._changed_at = self.latest_begin = now
            for kind in self._notices.due(LAST_TIME, len(self._notices)):
                self._wait(kind, now)
        kinds = self._notices.due(now, len(self._notices))
        for kind in kinds:
            self.forget(kind)
        self._warned.update(kinds)
        return kinds
