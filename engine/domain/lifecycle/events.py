"""The events that move jobs: the error where one can't happen, and the outcome where a job ends."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from engine.domain.outcomes import Outcome


class Event(Enum):
    """An event that moves a job without a caller naming the next status."""

    START = "start"
    """The job's payment has come, or what else it waited for."""
    EXPIRE = "expire"
    """The deadline of the job's status has passed."""
    CANCEL = "cancel"
    """A caller cancels the job."""
    ASK = "ask"
    """The handler asks for an input."""
    ANSWER = "answer"
    """A caller answers the prompt."""
    SUCCEED = "succeed"
    """The handler has returned."""
    FAIL = "fail"
    """The handler has failed, and another attempt is pointless."""
    EXHAUST = "exhaust"
    """The handler has failed or died, and the job's attempts are used up."""
    DIE = "die"
    """The handler's process has died, and the handler may not run again."""
    RETRY = "retry"
    """A caller lets the job run again after its attempts were used up."""

    __hash__ = object.__hash__  # the owner looks them up at each move; an enum's own takes longer


_NO_FAILURE: Final = "can't fail: its lifecycle has no move to a failure from there"

REFUSALS: Final[Mapping[Event, str]] = {
    Event.START: "can't be started: only a job in the lifecycle's `initial` can",
    Event.EXPIRE: "can't expire: its lifecycle says no `expires_to` for it",
    Event.CANCEL: "can't be cancelled: its lifecycle says no `cancels_to` for it",
    Event.ASK: "can't ask for an input: its lifecycle has no move to `awaiting_input` from there",
    Event.ANSWER: "can't be answered: only a job in the lifecycle's `awaiting_input` can",
    Event.SUCCEED: "can't succeed: its lifecycle has no move to a success from there",
    Event.FAIL: _NO_FAILURE,
    Event.EXHAUST: _NO_FAILURE,
    Event.DIE: _NO_FAILURE,
    Event.RETRY: "can't be retried: only a job in the lifecycle's `exhausted_to` can",
}
"""What an event's error says about a job in a status in which it can't happen."""

FROM_ANY_STATUS: Final = frozenset({Event.EXPIRE, Event.CANCEL})
"""The events that a lifecycle may allow in each status that isn't final."""

CAUSES: Final[Mapping[Event | None, Outcome]] = {
    Event.EXPIRE: Outcome.EXPIRED,
    Event.CANCEL: Outcome.CANCELLED,
    Event.DIE: Outcome.DIED,
}
"""The outcome of a job that an event ends; after any other the final status says it: a success or a
failure."""
