"""The base of both facades: builds the parts of an engine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.follow_up_rules import checked_rules
from engine.domain.follow_ups import FollowUp
from engine.domain.ids import IdSource
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import Status
from engine.domain.retention import Retention
from engine.domain.validation import check_integer
from engine.owner.arriving import Arriving
from engine.owner.core import Core
from engine.owner.hooks import OnTransition, TransitionHook
from engine.owner.inbox import Inbox
from engine.owner.owner import Owner
from engine.owner.state import State
from engine.owner.views import Views
from engine.portal import choose_event
from engine.portal.time import Clock, time_of
from engine.storage.locations import Location, kept_in, storage_at


class EngineBase(Generic[Status]):
    """Builds the parts of either engine; workers and gates take both.

    `engine.JobEngine` documents the arguments. Both facades repeat them, because type checkers look
    for the overloads on the class itself. ``is_blocking`` says whether the calls block a thread,
    and ``is_guest`` whether the engine only acts for an operator: then it runs no timers and no
    cleaner, and leaves the lifecycle that is kept beside the jobs.

    Attributes:
        core: The parts that workers and gates share with the engine. Internal: use the calls of the
            engine.
    """

    def __init__(
        self,
        storage: Location | None,
        *,
        lifecycle: Lifecycle[Any],
        retention: Retention | None,
        follow_ups: Iterable[FollowUp[Any]],
        on_transition: OnTransition | None,
        clock: Clock,
        new_id: IdSource,
        max_waiting: int,
        max_batch: int,
        is_blocking: bool,
        is_guest: bool = False,
    ) -> None:
        if not isinstance(lifecycle, Lifecycle):
            raise InvalidValueError("lifecycle", f"must be a Lifecycle, not {shown(lifecycle)}")
        if not isinstance(retention, Retention | None):
            raise InvalidValueError("retention", f"must be a Retention, not {shown(retention)}")
        check_integer("max_waiting", max_waiting, 1, 1_000_000)
        check_integer("max_batch", max_batch, 1, 100_000)
        self._storage = storage_at(storage)
        rules = checked_rules(follow_ups, lifecycle)
        state = State(self._storage, lifecycle, rules, is_guest=is_guest)
        self.core: Core[Status] = Core(
            lifecycle,
            new_id,
            Inbox(max_waiting, max_batch, choose_event),
            state,
            Views(lifecycle, state.events.progress, state.epochs),
            time_of(clock),
            kept_in(self._storage),
            is_blocking=is_blocking,
        )
        self._lifecycle = self.core.lifecycle
        self._new_id = new_id
        self._inbox = self.core.inbox
        self._views = self.core.views
        self._arriving = Arriving(state, clock)
        state.when_rules_change = self._inbox.count_follow_ups
        self._owner: Owner[Status] = Owner(self.core, self._storage, clock, retention)
        if on_transition is not None:
            hook = TransitionHook(on_transition, self._views, self.core.interrupt)
            state.events.subscribe(hook)
