"""Lifecycles: statuses and moves as data, and every rule of a move in one place.

A lifecycle is a finite state machine without actions. Its statuses are the members of a string
enum. Exactly one is initial, and in exactly one a handler is at work. A status without moves is
final, and every final status means either success or failure.

A job changes its status in two ways. A caller requests a move: `Lifecycle.validate` looks it up in
the table of moves. Or an `Event` happens, such as a cancel or the return of the handler:
`Lifecycle.after` returns the next status. Both raise the same error if there is none. No other
module reads the tables, and they say nothing about holders, versions and retries.

Building a lifecycle checks its tables, because a mistake could leave a job stuck for ever: every
status has a row, can be reached from the initial status or is retired, and can reach a final one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import Enum, EnumType
from types import MappingProxyType
from typing import Any, Final, Generic, NoReturn, cast

from typing_extensions import TypeVar

from engine.domain.exceptions import (
    InvalidStateTransitionError,
    InvalidValueError,
    LifecycleError,
    alternatives,
    shown,
)
from engine.domain.past_status import PastStatus

Status = TypeVar("Status", bound=Enum)

MAX_STATUSES = 255  # a storage can keep a status in one byte


class Event(Enum):
    """An event that moves a job without a caller naming the next status."""

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
    """The handler has failed for the last time."""
    DIE = "die"
    """The handler's process has died, and the handler may not run again."""


_REFUSALS: Final = {
    Event.EXPIRE: "can't expire: its lifecycle says no `expires_to` for it",
    Event.CANCEL: "can't be cancelled: its lifecycle says no `cancels_to` for it",
    Event.ASK: "can't ask for an input: its lifecycle has no move to `awaiting_input` from there",
    Event.ANSWER: "can't be answered: only a job in the lifecycle's `awaiting_input` can",
    Event.SUCCEED: "can't succeed: its lifecycle has no move to a success from there",
    Event.FAIL: "can't fail: its lifecycle has no move to a failure from there",
    Event.DIE: "can't fail: its lifecycle has no move to a failure from there",
}


class Lifecycle(Generic[Status]):
    """The statuses and the legal moves of a kind of job. Immutable, safe to share.

    Args:
        statuses: A string enum (`enum.StrEnum`, or a class of `str` and `enum.Enum`), of 1 to 255
            members.
        moves: A row for each status: the statuses that may follow. A status with an empty row is
            final.
        initial: The status of a new job; not a final one.
        running: The status in which a handler is at work; not a final one.
        success: The final statuses that may hold a result; at least one.
        failure: The final statuses that may hold an error.
        awaiting_input: The status in which a job waits for its handler's prompt to be answered. It
            needs a move from ``running`` and a move back. None: handlers can't ask.
        expires_to: The next status of an expired job, by its status. By default, each status with
            just one failure among its moves leads to that failure. Only the statuses in this table
            can have a deadline.
        cancels_to: The next status of a cancelled job, by its status; the default is that of
            ``expires_to``. Only in these statuses can a job be cancelled.
        renamed: The new status of each status that had another value when jobs were kept, by its
            old value. An engine that opens a storage gives all jobs and their histories the new
            ones, for good.
        retired: Statuses that no job may enter any more. Jobs that are in one may leave it, and no
            move leads to it. It is neither initial, running nor awaiting input.
        hint: Advice for the error of an event or a deadline that can't happen, such as another
            lifecycle to use.

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
        expires_to: Mapping[Status, Status] | None = None,
        cancels_to: Mapping[Status, Status] | None = None,
        renamed: Mapping[str, Status] | None = None,
        retired: Collection[Status] = (),
        hint: str = "",
    ) -> None:
        _check_members(statuses, moves, [initial, running, *success, *failure, *retired])
        self.statuses = statuses
        self.initial = initial
        self.running = running
        self.success: frozenset[Status] = frozenset(success)
        self.failure: frozenset[Status] = frozenset(failure)
        self.moves: Mapping[Status, frozenset[Status]] = MappingProxyType(
            {status: frozenset(moves[status]) for status in statuses}
        )
        self.awaiting_input = awaiting_input
        self.renamed: Mapping[str, Status] = MappingProxyType(dict(_checked_renamed(self, renamed)))
        self.retired: frozenset[Status] = frozenset(retired)
        _check_ends(self)
        _check_retired(self)
        _check_ways(self)
        _check_awaiting_input(self)
        self.expires_to: Mapping[Status, Status] = _forced_moves(self, "expires_to", expires_to)
        self.cancels_to: Mapping[Status, Status] = _forced_moves(self, "cancels_to", cancels_to)
        self.hint = hint
        self._set_tables()

    def _set_tables(self) -> None:
        """Set the owner's tables: plain strings, in the order of the enum."""
        statuses = self.statuses
        self.values: tuple[str, ...] = tuple(_text(status) for status in statuses)
        # A member of a string enum hashes and compares as its value.
        self._value_of: dict[object, str] = {value: value for value in self.values}
        self._longest = max(map(len, self.values))
        self._targets_of = {
            _text(status): tuple(_text(to) for to in statuses if to in self.moves[status])
            for status in statuses
        }
        self._success_values = frozenset(map(_text, self.success))
        self._failure_values = frozenset(map(_text, self.failure))
        self.final_values: frozenset[str] = self._success_values | self._failure_values
        self.renamed_values: Mapping[str, str] = {
            old: _text(new) for old, new in self.renamed.items()
        }
        self.initial_value: str = _text(self.initial)
        self.running_value: str = _text(self.running)
        self._event_targets = {
            Event.EXPIRE: _texts(self.expires_to),
            Event.CANCEL: _texts(self.cancels_to),
            Event.ASK: self._from_running({self.awaiting_input}),
            Event.SUCCEED: self._from_running(self.success),
            Event.FAIL: self._from_running(self.failure),
            Event.DIE: self._from_running(self.failure),
            Event.ANSWER: {}
            if self.awaiting_input is None
            else {_text(self.awaiting_input): self.running_value},
        }

    def _from_running(self, ends: Collection[Status | None]) -> dict[str, str]:
        """Return the move from running to the first of these statuses that may follow, if any."""
        ways = [to for to in self.statuses if to in ends and to in self.moves[self.running]]
        return {self.running_value: _text(ways[0])} if ways else {}

    def value(self, status: object) -> str:
        """Return the plain string of a status, given as a member of the enum or as its value.

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
            raise InvalidValueError("status", f"{shown(status)} is not one of {known}")
        return value

    def is_final(self, status: Status | PastStatus) -> bool:
        """Return whether a status, given as a member of the enum or as its value, is final."""
        return cast("str", status) in self.final_values

    def is_failure(self, value: str) -> bool:
        """Return whether a status, given as its value, means failure."""
        return value in self._failure_values

    def validate(self, current: str, target: str, job_id: str | None = None) -> None:
        """Check a move, given as members of the enum or as their values.

        Raises:
            InvalidStateTransitionError: The table of moves does not have it.
            InvalidValueError: The lifecycle does not have one of the two statuses.
        """
        if target not in self._targets_of.get(current, ()):
            current, target = self.value(current), self.value(target)
            raise InvalidStateTransitionError(current, target, self._targets_of[current], job_id)

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
            allowed = self._targets_of.get(current, ())
            why = _REFUSALS[event] + (f"; {self.hint}" if self.hint else "")
            raise InvalidStateTransitionError(current, event.value, allowed, job_id, why)
        return target

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
        name_of = {status: _mermaid_name(status) for status in self.statuses}
        lines = ["stateDiagram-v2"]
        lines += [
            f'    state "{_mermaid_text(status)}" as {name}'
            for status, name in name_of.items()
            if name != status.value
        ]
        lines.append(f"    [*] --> {name_of[self.initial]}")
        for status in self.statuses:
            targets = [target for target in self.statuses if target in self.moves[status]]
            lines += [f"    {name_of[status]} --> {name_of[target]}" for target in targets]
            lines += [f"    {name_of[status]} --> [*]"] * (not targets)
        return "\n".join(lines) + "\n"

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
                "expires_to": dict(self.expires_to),
                "cancels_to": dict(self.cancels_to),
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


def _text(status: Enum) -> str:
    return str(status.value)


def _texts(ways: Mapping[Status, Status]) -> dict[str, str]:
    return {_text(start): _text(end) for start, end in ways.items()}


def _refuse_outcome(field: str, target: str, holders: Iterable[str]) -> NoReturn:
    allowed = alternatives(sorted(holders)) or "no status of this lifecycle"
    raise InvalidValueError(field, f"belongs to {allowed}, not to {target}: leave it out")


def _check_members(
    statuses: type[Enum], moves: Mapping[Status, Collection[Status]], named: Iterable[Status]
) -> None:
    """Check that every status is a text with a row, and that all others named are statuses."""
    if not isinstance(statuses, EnumType):
        raise LifecycleError(f"statuses must be a string enum, not {shown(statuses)}")
    if not isinstance(moves, Mapping):
        raise LifecycleError(
            f"moves must map each status to the statuses that may follow, not {shown(moves)}"
        )
    if not 1 <= len(statuses) <= MAX_STATUSES:
        raise LifecycleError(
            f"{statuses.__name__} has {len(statuses)} members: it may have 1 to {MAX_STATUSES}"
        )
    for status in statuses:
        if not isinstance(status, str) or not status or status != status.value:
            raise LifecycleError(
                f"{statuses.__name__}.{status.name} must be a non-empty string: use enum.StrEnum"
            )
        if status not in moves:
            raise LifecycleError(
                f"{status.name} has no row in the table: give it an empty row if it is final"
            )
    for status in (*moves, *named, *(target for row in moves.values() for target in row)):
        if not isinstance(status, statuses):
            raise LifecycleError(f"{shown(status)} is not a member of {statuses.__name__}")


def _check_ends(lifecycle: Lifecycle[Status]) -> None:
    """Check that the final statuses are the successes and failures, and that there is a success."""
    for status in lifecycle.statuses:
        ends = (status in lifecycle.success) + (status in lifecycle.failure)
        if ends > 1:
            raise LifecycleError(f"{status.name} can't mean both success and failure")
        if not lifecycle.moves[status] and not ends:
            raise LifecycleError(f"{status.name} is final and means neither success nor failure")
        if ends and lifecycle.moves[status]:
            raise LifecycleError(f"{status.name} is a success or failure, and so may have no moves")
    if not lifecycle.success:
        raise LifecycleError("no status means success: `success` needs at least one")
    for status, role in ((lifecycle.initial, "initial"), (lifecycle.running, "running")):
        if not lifecycle.moves[status]:
            raise LifecycleError(f"{status.name} is the {role} status, and so may not be final")


def _checked_renamed(
    lifecycle: Lifecycle[Status], given: Mapping[str, Status] | None
) -> Mapping[str, Status]:
    """Return the new statuses by old values, after a check of both."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise LifecycleError(f"renamed must map old values to statuses, not {shown(given)}")
    name = lifecycle.statuses.__name__
    for old, new in given.items():
        if not _is_plain(old):
            raise LifecycleError(f"renamed needs old values as plain texts, not {shown(old)}")
        if any(old == status.value for status in lifecycle.statuses):
            raise LifecycleError(f"renamed has {shown(old)}, which is a status of {name} now")
        if not isinstance(new, lifecycle.statuses):
            raise LifecycleError(f"{shown(new)} is not a member of {name}")
    return given


def _is_plain(old: object) -> bool:
    return isinstance(old, str) and not isinstance(old, Enum) and old != ""


def _check_retired(lifecycle: Lifecycle[Status]) -> None:
    """Check that no job can enter a retired status."""
    roles = {"initial": lifecycle.initial, "running": lifecycle.running}
    roles |= {} if lifecycle.awaiting_input is None else {"asking": lifecycle.awaiting_input}
    for role, status in roles.items():
        if status in lifecycle.retired:
            raise LifecycleError(f"{status.name} is the {role} status, and so can't be retired")
    for start, row in lifecycle.moves.items():
        for status in row & lifecycle.retired:
            raise LifecycleError(
                f"{status.name} is retired, and {start.name} has a move to it: take it out"
            )


def _check_awaiting_input(lifecycle: Lifecycle[Status]) -> None:
    """Check that a running job may move to `awaiting_input`, and back."""
    awaiting, running = lifecycle.awaiting_input, lifecycle.running
    if awaiting is None:
        return
    if not isinstance(awaiting, lifecycle.statuses):
        raise LifecycleError(f"{shown(awaiting)} is not a member of {lifecycle.statuses.__name__}")
    for start, end in ((running, awaiting), (awaiting, running)):
        if end not in lifecycle.moves[start]:
            raise LifecycleError(
                f"{awaiting.name} is `awaiting_input`, so {start.name} needs a move to {end.name}"
            )


def _forced_moves(
    lifecycle: Lifecycle[Status], name: str, given: Mapping[Status, Status] | None
) -> Mapping[Status, Status]:
    """Check a table of forced moves, or make it of each status with just one failure to go to."""
    if given is None:
        failures = {at: row & lifecycle.failure for at, row in lifecycle.moves.items()}
        return MappingProxyType({at: next(iter(to)) for at, to in failures.items() if len(to) == 1})
    if not isinstance(given, Mapping):
        raise LifecycleError(f"{name} must map statuses to statuses, not {shown(given)}")
    for start, end in given.items():
        for status in (start, end):
            if not isinstance(status, lifecycle.statuses):
                raise LifecycleError(
                    f"{shown(status)} is not a member of {lifecycle.statuses.__name__}"
                )
        if start not in lifecycle.moves or end not in lifecycle.moves[start]:
            raise LifecycleError(
                f"{name} leads from {shown(start)} to {shown(end)}, which `moves` does not allow"
            )
    return MappingProxyType(dict(given))


def _check_ways(lifecycle: Lifecycle[Status]) -> None:
    """Check that every status can be reached, or is retired, and can reach a final one."""
    reached = _reachable({lifecycle.initial, *lifecycle.retired}, lifecycle.moves)
    backwards = {
        status: {origin for origin, row in lifecycle.moves.items() if status in row}
        for status in lifecycle.statuses
    }
    ending = _reachable(lifecycle.success | lifecycle.failure, backwards)
    for status in lifecycle.statuses:
        if status not in reached:
            raise LifecycleError(
                f"{status.name} can't be reached from {lifecycle.initial.name}: give it a move to "
                "it, or name it in `retired` if no job may enter it any more"
            )
        if status not in ending:
            raise LifecycleError(
                f"a job in {status.name} could never end: its moves reach no final status"
            )


def _reachable(
    starts: Collection[Status], moves: Mapping[Status, Collection[Status]]
) -> set[Status]:
    """Return the starts and all statuses that can be reached from them."""
    reached = set(starts)
    waiting = list(starts)
    while waiting:
        new = set(moves[waiting.pop()]) - reached
        reached |= new
        waiting += new
    return reached


def _mermaid_name(status: Enum) -> str:
    """Return the value of a status if Mermaid accepts it as a name, else the member's name."""
    value = str(status.value)
    plain = value.isascii() and value.isidentifier() and value not in _MERMAID_WORDS
    plain = plain and not value.startswith("status_")  # it could equal another member's name
    return value if plain else f"status_{status.name}"


def _mermaid_text(status: Enum) -> str:
    return str(status.value).replace('"', "#quot;").replace("\n", " ")


# The keywords of a Mermaid state diagram (https://mermaid.js.org/syntax/stateDiagram.html).
_MERMAID_WORDS = frozenset(
    {"state", "note", "end", "direction", "class", "classDef", "style", "as"}
)
