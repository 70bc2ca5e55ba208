"""The lifecycle: statuses and moves as data, and every rule of a move in one place.

A lifecycle is a finite state machine without actions. Its statuses are the members of a string
enum. Exactly one is initial, exactly one means that a handler is at work; a status without moves is
final, and every final one means either success or failure.

A job changes its status in two ways. A caller asks for a move: `Lifecycle.validate` looks it up in
the table of moves. Or an `Event` happens, such as a cancel or the end of its handler:
`Lifecycle.after` says where that leads. Both raise the same typed error where there is no way. No
other module reads the tables. Who holds a job, its version and its retries are not their business.

The tables are checked when the lifecycle is built, so that a job can never get stuck by mistake:
every status has a row, every status can be reached from the initial one, and from every status
some final one can be reached.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import Enum, EnumType
from types import MappingProxyType
from typing import Final, Generic, NoReturn, cast

from typing_extensions import TypeVar

from engine.domain.exceptions import (
    InvalidStateTransitionError,
    InvalidValueError,
    LifecycleError,
    shown,
)

Status = TypeVar("Status", bound=Enum)

MAX_STATUSES = 255  # so that storages can keep a status in one byte


class Event(Enum):
    """An event of a job's life other than a move that a caller asks for."""

    EXPIRE = "expire"
    """Its time in its status has run out."""
    CANCEL = "cancel"
    """A caller wants it to end."""
    ASK = "ask"
    """Its handler needs an input."""
    ANSWER = "answer"
    """The input is there."""
    SUCCEED = "succeed"
    """Its handler has returned."""
    FAIL = "fail"
    """Its handler has failed for the last time."""
    DIE = "die"
    """The process of its handler has died, and the handler may not be run again."""


_REFUSALS: Final = {
    Event.EXPIRE: "can't expire: its lifecycle says no `expires_to` for it",
    Event.CANCEL: "can't be cancelled: its lifecycle says no `cancels_to` for it",
    Event.ASK: "can't ask for an input: its lifecycle leads from there to no `awaiting_input`",
    Event.ANSWER: "can't be answered: it is not its lifecycle's `awaiting_input`",
    Event.SUCCEED: "can't succeed: its lifecycle leads from there to no success",
    Event.FAIL: "can't fail: its lifecycle leads from there to no failure",
    Event.DIE: "can't fail: its lifecycle leads from there to no failure",
}


class Lifecycle(Generic[Status]):
    """The statuses of a kind of job and its legal moves. Immutable, safe to share.

    Args:
        statuses: A string enum (`enum.StrEnum`, or a class of `str` and `enum.Enum`).
        moves: One row for each status: the statuses that may follow. An empty row makes it final.
        initial: The status of a new job. It may not be final.
        running: The status in which a handler is at work. It may not be final.
        success: The final statuses that may hold a result. At least one.
        failure: The final statuses that may hold an error.
        awaiting_input: The status in which a job waits for an input that its handler asked for. It
            must be possible to move there from ``running``, and back. None: handlers can't ask.
        expires_to: For statuses in which a deadline may run out: the status that follows. By
            default, wherever a job may move to just one status of failure, that one. A status
            without such a move can have no deadline.
        cancels_to: For statuses in which a job may be cancelled: the status that follows. By
            default as for ``expires_to``.
        hint: Added to the error of an event that leads nowhere, such as another lifecycle to use.

    Raises:
        LifecycleError: A table that can't work; the message names the status and the rule.
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
        hint: str = "",
    ) -> None:
        _check_members(statuses, moves, [initial, running, *success, *failure])
        self.statuses = statuses
        self.initial = initial
        self.running = running
        self.success: frozenset[Status] = frozenset(success)
        self.failure: frozenset[Status] = frozenset(failure)
        self.moves: Mapping[Status, frozenset[Status]] = MappingProxyType(
            {status: frozenset(moves[status]) for status in statuses}
        )
        self.awaiting_input = awaiting_input
        _check_ends(self)
        _check_ways(self)
        _check_awaiting_input(self)
        self.expires_to: Mapping[Status, Status] = _forced_moves(self, "expires_to", expires_to)
        self.cancels_to: Mapping[Status, Status] = _forced_moves(self, "cancels_to", cancels_to)
        self._hint = hint
        self._set_tables()

    def _set_tables(self) -> None:
        """Set the tables that the owner works with: plain strings, in the order of the enum."""
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
        """Return the way from running to the first of these statuses that it leads to, if any."""
        ways = [to for to in self.statuses if to in ends and to in self.moves[self.running]]
        return {self.running_value: _text(ways[0])} if ways else {}

    def value(self, status: object) -> str:
        """Return the plain string for a member of the enum, or for its value.

        Raises:
            InvalidValueError: It is not a status of this lifecycle.
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

    def is_final(self, status: Status) -> bool:
        """Tell whether a job in this status, or in the status with this value, has ended."""
        return cast("str", status) in self.final_values

    def is_failure(self, value: str) -> bool:
        """Tell whether a status, given as its value, may hold an error."""
        return value in self._failure_values

    def validate(self, current: str, target: str, job_id: str | None = None) -> None:
        """Check a move, given as members of the enum or as their values.

        Raises:
            InvalidStateTransitionError: The table has no such move.
            InvalidValueError: One of the two is not a status of this lifecycle.
        """
        if target not in self._targets_of.get(current, ()):
            current, target = self.value(current), self.value(target)
            raise InvalidStateTransitionError(current, target, self._targets_of[current], job_id)

    def target(self, current: str, event: Event) -> str | None:
        """Return the status that an event leads to; None if it can't happen in this status."""
        return self._event_targets[event].get(current)

    def after(self, current: str, event: Event, job_id: str | None = None) -> str:
        """Return the status that an event leads to.

        Raises:
            InvalidStateTransitionError: The event can't happen in this status.
        """
        target = self._event_targets[event].get(current)
        if target is None:
            allowed = self._targets_of.get(current, ())
            why = _REFUSALS[event] + (f"; {self._hint}" if self._hint else "")
            raise InvalidStateTransitionError(current, event.value, allowed, job_id, why)
        return target

    def leads_to(self, event: Event, status: str) -> bool:
        """Tell whether an event may have led to a status, from whichever other."""
        return status in self._event_targets[event].values()

    def able(self, event: Event) -> tuple[str, ...]:
        """Return the statuses in which an event can happen."""
        return tuple(self._event_targets[event])

    def validate_outcome(self, target: str, result: str | None, error: str | None) -> None:
        """Check that a result goes with a success, and an error with a failure.

        Raises:
            InvalidValueError: One of them is given with a status that can't hold it.
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

    def __repr__(self) -> str:
        """Name the enum and the initial status."""
        return f"<Lifecycle of {self.statuses.__name__} from {self.initial.value}>"


def _text(status: Enum) -> str:
    return str(status.value)


def _texts(ways: Mapping[Status, Status]) -> dict[str, str]:
    return {_text(start): _text(end) for start, end in ways.items()}


def _refuse_outcome(field: str, target: str, holders: Iterable[str]) -> NoReturn:
    allowed = " or ".join(sorted(holders)) or "no status of this lifecycle"
    raise InvalidValueError(field, f"belongs to {allowed}, not to {target}: leave it out")


def _check_members(
    statuses: type[Enum], moves: Mapping[Status, Collection[Status]], named: Iterable[Status]
) -> None:
    """Every status is a text, has a row, and nothing else is mentioned anywhere."""
    if not isinstance(statuses, EnumType):
        raise LifecycleError(f"statuses must be a string enum, not {shown(statuses)}")
    if not isinstance(moves, Mapping):
        raise LifecycleError(f"moves must map each status to those that may follow: {shown(moves)}")
    if not 1 <= len(statuses) <= MAX_STATUSES:
        raise LifecycleError(
            f"{statuses.__name__} has {len(statuses)} members: 1 to {MAX_STATUSES} are possible"
        )
    for status in statuses:
        if not isinstance(status, str) or not status or status != status.value:
            raise LifecycleError(
                f"{statuses.__name__}.{status.name} must be a non-empty string: use enum.StrEnum"
            )
        if status not in moves:
            raise LifecycleError(f"{status.name} has no row in the table: an empty row is final")
    for status in (*moves, *named, *(target for row in moves.values() for target in row)):
        if not isinstance(status, statuses):
            raise LifecycleError(f"{shown(status)} is not a member of {statuses.__name__}")


def _check_ends(lifecycle: Lifecycle[Status]) -> None:
    """The final statuses are just the successes and the failures, and a success exists."""
    for status in lifecycle.statuses:
        ends = (status in lifecycle.success) + (status in lifecycle.failure)
        if ends > 1:
            raise LifecycleError(f"{status.name} can't mean both success and failure")
        if not lifecycle.moves[status] and not ends:
            raise LifecycleError(f"{status.name} is final and means neither success nor failure")
        if ends and lifecycle.moves[status]:
            raise LifecycleError(f"{status.name} means an end, and so may have no moves")
    if not lifecycle.success:
        raise LifecycleError("no status means success: a job could never go well")
    for status, role in ((lifecycle.initial, "initial"), (lifecycle.running, "running")):
        if not lifecycle.moves[status]:
            raise LifecycleError(f"{status.name} is the {role} status, and so may not be final")


def _check_awaiting_input(lifecycle: Lifecycle[Status]) -> None:
    """A running job may move to the status of awaiting an input, and back."""
    awaiting, running = lifecycle.awaiting_input, lifecycle.running
    if awaiting is None:
        return
    if not isinstance(awaiting, lifecycle.statuses):
        raise LifecycleError(f"{shown(awaiting)} is not a member of {lifecycle.statuses.__name__}")
    for start, end in ((running, awaiting), (awaiting, running)):
        if end not in lifecycle.moves[start]:
            raise LifecycleError(
                f"{awaiting.name} is `awaiting_input`, so {start.name} must lead to {end.name}"
            )


def _forced_moves(
    lifecycle: Lifecycle[Status], name: str, given: Mapping[Status, Status] | None
) -> Mapping[Status, Status]:
    """Check where jobs are forced to go; where it is not given, to their one failure."""
    if given is None:
        failures = {at: row & lifecycle.failure for at, row in lifecycle.moves.items()}
        return MappingProxyType({at: next(iter(to)) for at, to in failures.items() if len(to) == 1})
    if not isinstance(given, Mapping):
        raise LifecycleError(f"{name} must map statuses to statuses: {shown(given)}")
    for start, end in given.items():
        for status in (start, end):
            if not isinstance(status, lifecycle.statuses):
                raise LifecycleError(
                    f"{shown(status)} is not a member of {lifecycle.statuses.__name__}"
                )
        if start not in lifecycle.moves or end not in lifecycle.moves[start]:
            raise LifecycleError(
                f"{name} leads from {shown(start)} to {shown(end)}, which is no legal move"
            )
    return MappingProxyType(dict(given))


def _check_ways(lifecycle: Lifecycle[Status]) -> None:
    """Every status can be reached, and every one can reach an end."""
    reached = _reachable({lifecycle.initial}, lifecycle.moves)
    backwards = {
        status: {origin for origin, row in lifecycle.moves.items() if status in row}
        for status in lifecycle.statuses
    }
    ending = _reachable(lifecycle.success | lifecycle.failure, backwards)
    for status in lifecycle.statuses:
        if status not in reached:
            raise LifecycleError(f"{status.name} can't be reached from {lifecycle.initial.name}")
        if status not in ending:
            raise LifecycleError(f"a job in {status.name} could never end")


def _reachable(
    starts: Collection[Status], moves: Mapping[Status, Collection[Status]]
) -> set[Status]:
    """Return the starts and all that can be reached from them."""
    reached = set(starts)
    waiting = list(starts)
    while waiting:
        new = set(moves[waiting.pop()]) - reached
        reached |= new
        waiting += new
    return reached


def _mermaid_name(status: Enum) -> str:
    """Return the status's value where Mermaid takes it as a name; else the member's name."""
    value = str(status.value)
    plain = value.isascii() and value.isidentifier() and value not in _MERMAID_WORDS
    plain = plain and not value.startswith("status_")  # which could be another member's name
    return value if plain else f"status_{status.name}"


def _mermaid_text(status: Enum) -> str:
    return str(status.value).replace('"', "#quot;").replace("\n", " ")


# Words that a Mermaid state diagram reads as its own
# (https://mermaid.js.org/syntax/stateDiagram.html).
_MERMAID_WORDS = frozenset(
    {"state", "note", "end", "direction", "class", "classDef", "style", "as"}
)
