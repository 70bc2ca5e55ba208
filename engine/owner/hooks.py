"""Hooks: call the user's functions with each committed transition.

Build counters, metrics and logs on them, as `engine.telemetry` does. They run on the owner's event
loop, between two batches, so a slow hook delays every caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.interrupts import raised_by_signal
from engine.domain.models import Status, Transition
from engine.domain.validation import is_async_function
from engine.owner.events import Listener
from engine.owner.views import Views
from engine.portal.logs import TaskLogger
from engine.storage.record import Change, entries_of

logger = TaskLogger("engine")

OnTransition: TypeAlias = Callable[[Transition[Any]], object]
"""Takes each committed transition. Its return value is ignored."""


class TransitionHook(Listener, Generic[Status]):
    """Calls a function with every transition of this engine, in their order. Logs its errors.

    Args:
        function: The user's.
        views: Makes the transitions.
        interrupt: Called with an exception that a signal's handler raised in the function.

    Raises:
        InvalidValueError: The hook is no function, or an async one.
    """

    def __init__(
        self,
        function: OnTransition,
        views: Views[Status],
        interrupt: Callable[[BaseException], object],
    ) -> None:
        given: object = function
        if not callable(given) or is_async_function(given):
            raise InvalidValueError(
                "on_transition", f"must be a function, and not async: {shown(function)}"
            )
        self._function = function
        self._views = views
        self._interrupt = interrupt

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Call the function with each transition among the changes."""
        for transition in self._views.transitions(entries_of(changes)):
            try:
                self._function(transition)
            except BaseException as error:
                if (interrupt := raised_by_signal(error)) is not None:
                    self._interrupt(interrupt)
                    continue
                logger.exception("a hook failed at transition %s", transition.sequence)
