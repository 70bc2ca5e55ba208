"""The lifecycle: the rules that the engine asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, cast

from engine.domain.exceptions import (
    InvalidStateTransitionError,
    InvalidValueError,
    alternatives,
    shown,
)
from engine.domain.lifecycle.checks import check_members, check_moves, checked_renamed
from engine.domain.lifecycle.diagram import mermaid
from engine.domain.lifecycle.event_tables import (
    check_pauses,
    checked_failure,
    checked_outcomes,
    event_targets,
    forced_moves,
)
from engine.domain.lifecycle.events import CAUSES, FROM_ANY_STATUS, REFUSALS, Event
from engine.domain.lifecycle.tables import Status, Tables, text_of
from engine.domain.outcomes import Outcome
from engine.domain.past_status import PastStatus


class Lifecycle(Tables[Status]):
    """The statuses and the legal moves of a kind of job. Immutable, safe to share.

    Args:
        statuses: A string enum (`enum.StrEnum`, or a class of `str` and `enum.Enum`), of 1 to 255
            members.
        moves: A row for each status: the statuses that may follow. A status with an empty row is
            final.
        initial: The status of a new job; not a final one.
        running: The status in which a handler is at work; not a final one. A job may be born in it,
            too.
        success: The final statuses that may hold a result; at least one. A handler that returns
            leads to the first one, in the order of the enum, that may follow ``running``.
        failure: The final statuses that may hold an error.
        awaiting_input: The status in which a job waits for its handler's prompt to be answered. It
            needs a move from ``running`` and a move back. It isn't the initial status: a payment
            that comes twice would start the job again. None: handlers can't ask.
        fails_to: The failure of a job whose handler has failed for good. It needs a move from
            ``running``, and may be left out if that leads to one failure or to none.
        exhausted_to: The status of a job whose attempts are used up, or whose handler has died and
            may not run again. It needs a move from ``running``, and a move back for the retry.
            It is neither initial nor awaiting input. None: such a job fails.
        expires_to: The next status of an expired job, by its status. By default, each status with
            just one failure among its moves leads to that failure. Only the statuses in this table
            can have a deadline.
        cancels_to: The next status of a cancelled job, by its status; the default is that of
            ``expires_to``. Only in these statuses can a job be cancelled.
        outcomes: The `Outcome` of final statuses in which all jobs have the same; for a success it
            can only be ``succeeded``. A job that ends in another status has the cause as its
            outcome, such as ``expired``, or else ``succeeded`` or ``failed``.
        renamed: The new status of each status that had another value when jobs were kept, by its
            old value. An engine that opens a storage gives all jobs and their histories the new
            ones, for good.
        retired: Statuses that no job may enter any more. Jobs that are in one may leave it, and no
            move leads to it. It is neither initial, running nor awaiting input.
        hint: Advice for the error of what this lifecycle does not allow, such as another one to
            use.

    Raises:
        LifecycleError: The table can't work; the message names the status and the rule.
    """

    def __init__(
        self,
        statuses: type[Status],
        moves: Mapping[Status, Collection[Status]],
        *,
        initial: Status,
        running: Status,
        success: Collection[Status],
        failure: Collection[Status],
        awaiting_input: Status | None = None,
        fails_to: Status | None = None,
        exhausted_to: Status | None = None,
        expires_to: Mapping[Status, Status] | None = None,
        cancels_to: Mapping[Status, Status] | None = None,
        outcomes: Mapping[Status, Outcome] | None = None,
        renamed: Mapping[str, Status] | None = None,
        retired: Collection[Status] = (),
        hint: str = "",
    ) -> None:
        check_members(statuses, moves, [initial, running, *success, *failure, *retired])
        self.statuses: type[Status] = statuses
        self.moves: Mapping[Status, frozenset[Status]] = MappingProxyType(
            {status: frozenset(moves[status]) for status in statuses}
        )
        self.initial: Status = initial
        self.running: Status = running
        self.births: tuple[Status, ...] = tuple(dict.fromkeys((initial, running)))
        self.success: frozenset[Status] = frozenset(success)
        self.failure: frozenset[Status] = frozenset(failure)
        self.retired: frozenset[Status] = frozenset(retired)
        check_moves(self)
        self.renamed: Mapping[str, Status] = MappingProxyType(
            dict(checked_renamed(statuses, renamed))
        )
        self.awaiting_input: Status | None = awaiting_input
        self.exhausted_to: Status | None = exhausted_to
        check_pauses(self)
        self.fails_to: Status | None = checked_failure(self, fails_to)
        self.expires_to: Mapping[Status, Status] = forced_moves(self, "expires_to", expires_to)
        self.cancels_to: Mapping[Status, Status] = forced_moves(self, "cancels_to", cancels_to)
        self.outcomes: Mapping[Status, Outcome] = checked_outcomes(self, outcomes)
        self.hint = hint
        self._set_values()

    def _set_values(self) -> None:
        """Set the owner's tables: plain strings, in the order of the enum."""
        self.values: tuple[str, ...] = tuple(map(text_of, self.statuses))
        # A member of a string enum hashes and compares as its value.
        self._value_of: dict[object, str] = {value: value for value in self.values}
        self._longest = max(map(len, self.values))
        self._targets_of = {
            text_of(status): tuple(text_of(to) for to in self.statuses if to in self.moves[status])
            for status in self.statuses
        }
        self._success_values = frozenset(map(text_of, self.success))
        self._failure_values = frozenset(map(text_of, self.failure))
        self.final_values: frozenset[str] = self._success_values | self._failure_values
        self.renamed_values: Mapping[str, str] = {
            old: text_of(new) for old, new in self.renamed.items()
        }
        self.initial_value: str = text_of(self.initial)
        self.running_value: str = text_of(self.running)
        self._event_targets = event_targets(self)
        self._outcome_of = {text_of(end): outcome for end, outcome in self.outcomes.items()}
        self.end_values: Mapping[tuple[str, Event | None], str] = {
            (value, event): outcome.value
            for value in self.final_values
            for event in (None, *Event)
            if (outcome := self.outcome(value, event)) is not None
        }

    def value(self, status: object, field: str = "status") -> str:
        """Return the plain string of a status, given as a member of the enum or as its value.

        Args:
            status: The status.
            field: The name of the argument, for the error.

        Raises:
            InvalidValueError: The lifecycle has no such status.
        """
        plain: object = status
        if not isinstance(status, self.statuses):
            # Look at the length first: the hash of a text of 1 GB takes half a second.
            short = isinstance(status, str) and len(status) <= self._longest
            plain = str.__str__(status) if short else None
        value = self._value_of.get(plain)
        if value is None:
            known = ", ".join(self.values)
            raise InvalidValueError(field, f"{shown(status)} is not one of {known}")
        return value

    def is_final(self, status: Status | PastStatus) -> bool:
        """Return whether a status, given as a member of the enum or as its value, is final."""
        return cast("str", status) in self.final_values

    def is_failure(self, value: str) -> bool:
        """Return whether a status, given as its value, means failure."""
        return value in self._failure_values

    def outcome(self, value: str, event: Event | None) -> Outcome | None:
        """Return the outcome of a job that enters a status, given as its value.

        Args:
            value: The status; the outcome is None unless it is final.
            event: The event that leads there; None if a caller named the status.
        """
        if value not in self.final_values:
            return None
        by_name = Outcome.FAILED if self.is_failure(value) else Outcome.SUCCEEDED
        return self._outcome_of.get(value) or CAUSES.get(event, by_name)

    @property
    def status_outcomes(self) -> dict[str, str | None]:
        """By the value of each status, that of its outcome, as if a caller had named the status."""
        outcomes = ((value, self.outcome(value, None)) for value in self.values)
        return {value: outcome and outcome.value for value, outcome in outcomes}

    def validate(self, current: str, target: str, job_id: str | None = None) -> None:
        """Check a move, given as members of the enum or as their values.

        Raises:
            InvalidStateTransitionError: The table of moves does not have it.
            InvalidValueError: The lifecycle does not have one of the two statuses.
        """
        if target not in self._targets_of.get(current, ()):
            current, target = self.value(current), self.value(target)
            ends = self.is_failure(target) and current not in self.final_values
            raise InvalidStateTransitionError(
                *(current, target, self._targets_of[current], job_id),
                hint=self.hint if ends else "",
            )

    def targets(self, current: str) -> tuple[str, ...]:
        """Return the statuses that may follow one, all as their values."""
        return self._targets_of[current]

    def target(self, current: str, event: Event) -> str | None:
        """Return the status after an event; None if it can't happen in the current one."""
        return self._event_targets[event].get(current)

    def after(self, current: str, event: Event, job_id: str | None = None) -> str:
        """Return the status after an event.

        Raises:
            InvalidStateTransitionError: The event can't happen in the current status.
        """
        target = self._event_targets[event].get(current)
        if target is None:
            raise InvalidStateTransitionError(
                *(current, event.value, self._targets_of.get(current, ()), job_id),
                why=REFUSALS[event],
                hint=self.advice(current, event),
            )
        return target

    def advice(self, current: str, event: Event) -> str:
        """Return the hint if an event can't happen for want of a rule; else an empty text.

        Another lifecycle helps if this one allows the event nowhere, or in too few statuses, but
        not if the job is in the wrong one.
        """
        lacking = not self.able(event)
        lacking |= event in FROM_ANY_STATUS and current not in self.final_values
        return self.hint if lacking else ""

    def leads_to(self, event: Event, status: str) -> bool:
        """Return whether an event leads to this status from any other."""
        return status in self._event_targets[event].values()

    def able(self, event: Event) -> tuple[str, ...]:
        """Return the statuses in which an event can happen."""
        return tuple(self._event_targets[event])

    def validate_outcome(self, target: str, result: str | None, error: str | None) -> None:
        """Check that only a success gets a result, and only a failure an error.

        Raises:
            InvalidValueError: The target can't hold the result or the error.
        """
        if result is not None and target not in self._success_values:
            _refuse_outcome("result", target, self._success_values)
        if error is not None and target not in self._failure_values:
            _refuse_outcome("error", target, self._failure_values)

    def mermaid(self) -> str:
        """Draw the lifecycle as the text of a Mermaid state diagram, ending in a line feed."""
        return mermaid(self)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the arguments: pickle can't copy the tables, which are read-only views."""
        return _unpickle, (
            self.statuses,
            dict(self.moves),
            {
                "initial": self.initial,
                "running": self.running,
                "success": self.success,
                "failure": self.failure,
                "awaiting_input": self.awaiting_input,
                "fails_to": self.fails_to,
                "exhausted_to": self.exhausted_to,
                "expires_to": dict(self.expires_to),
                "cancels_to": dict(self.cancels_to),
                "outcomes": dict(self.outcomes),
                "renamed": dict(self.renamed),
                "retired": self.retired,
                "hint": self.hint,
            },
        )

    def __repr__(self) -> str:
        """Name the enum and the initial status."""
        return f"<Lifecycle of {self.statuses.__name__} from {self.initial.value}>"


def _unpickle(
    statuses: type[Status], moves: Mapping[Status, Collection[Status]], rest: dict[str, Any]
) -> Lifecycle[Status]:
    return Lifecycle(statuses, moves, **rest)


def _refuse_outcome(field: str, target: str, holders: Iterable[str]) -> NoReturn:
    allowed = alternatives(sorted(holders)) or "no status of this lifecycle"
    raise InvalidValueError(field, f"belongs to {allowed}, not to {target}: leave it out")
