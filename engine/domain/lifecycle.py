"""The lifecycle: statuses and legal moves as data, and the one place where a move is judged.

A lifecycle is a finite state machine without actions. Its statuses are the members of a string
enum. Exactly one is initial, exactly one means that a handler is at work; a status without moves is
final, and every final one means either success or failure. What may follow from what stands in a
table, and `Lifecycle.validate` is its only judge, whatever the storage or the facade. Where a job
goes whose time has run out, or that is cancelled, is the lifecycle's choice as well.

The table is checked when the lifecycle is built, so that a job can never get stuck by mistake:
every status has a row, every status can be reached from the initial one, and from every status
some final one can be reached.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import Enum, EnumType
from types import MappingProxyType
from typing import Generic, NoReturn

from typing_extensions import TypeVar

from engine.domain.exceptions import (
    InvalidStateTransitionError,
    InvalidValueError,
    LifecycleError,
    shown,
)

Status = TypeVar("Status", bound=Enum)

MAX_STATUSES = 255  # so that storages can keep a status in one byte


class Lifecycle(Generic[Status]):
    """The statuses of a kind of job and its legal moves. Immutable, safe to share.

    Args:
        statuses: A string enum (`enum.StrEnum`, or a class of `str` and `enum.Enum`).
        moves: One row for each status: the statuses that may follow. An empty row makes it final.
        initial: The status of a new job. It may not be final.
        running: The status in which a handler is at work. It may not be final.
        success: The final statuses that may hold a result. At least one.
        failure: The final statuses that may hold an error.
        asking: The status in which a job waits for an answer that its handler has asked for. It
            must be possible to move there from ``running``, and back. None: handlers can't ask.
        on_expiry: For statuses in which a deadline may run out: the status that it leads to. By
            default, wherever a job may move to just one status of failure, that one. A status
            without such a move can have no deadline.
        on_cancel: For statuses in which a job may be cancelled: the status that this leads to. By
            default as for ``on_expiry``.

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
        asking: Status | None = None,
        on_expiry: Mapping[Status, Status] | None = None,
        on_cancel: Mapping[Status, Status] | None = None,
    ) -> None:
        _check_members(statuses, moves, [initial, running, *success, *failure])
        self.statuses = statuses
        self.initial = initial
        self.running = running
        self.success = frozenset(success)
        self.failure = frozenset(failure)
        self.moves: Mapping[Status, frozenset[Status]] = MappingProxyType(
            {status: frozenset(moves[status]) for status in statuses}
        )
        self.asking = asking
        _check_ends(self)
        _check_ways(self)
        _check_asking(self)
        self.on_expiry = _forced_moves(self, "on_expiry", on_expiry)
        self.on_cancel = _forced_moves(self, "on_cancel", on_cancel)
        # The tables that the owner works with: plain strings, in the order of the enum.
        self.values = tuple(str(status.value) for status in statuses)
        # A member of a string enum hashes and compares as its value.
        self._value_of: dict[object, str] = {value: value for value in self.values}
        self._targets_of = {
            str(status.value): tuple(str(to.value) for to in statuses if to in self.moves[status])
            for status in statuses
        }
        self._success_values = frozenset(str(status.value) for status in success)
        self._failure_values = frozenset(str(status.value) for status in failure)
        self.final_values = self._success_values | self._failure_values
        self.initial_value = str(initial.value)
        self.running_value = str(running.value)
        self.asking_value = None if asking is None else str(asking.value)
        self.failure_value = next(
            (str(to.value) for to in statuses if to in self.failure & self.moves[running]), None
        )
        """Where a running job goes that has failed: the first status of failure that it may."""
        self.success_value = next(
            (str(to.value) for to in statuses if to in self.success & self.moves[running]), None
        )
        """Where a running job goes that went well."""
        self.expiry_of = {str(at.value): str(to.value) for at, to in self.on_expiry.items()}
        self.cancel_targets = frozenset(str(to.value) for to in self.on_cancel.values())
        self.cancel_of = {str(at.value): str(to.value) for at, to in self.on_cancel.items()}
        self._longest = max(map(len, self.values))

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

    def targets(self, value: str) -> tuple[str, ...]:
        """Return the statuses that may follow on one; all are given as their values."""
        return self._targets_of[value]

    def is_failure(self, value: str) -> bool:
        """Tell whether a status, given as its value, may hold an error."""
        return value in self._failure_values

    def is_final(self, status: Status) -> bool:
        """Tell whether a job in this status has ended."""
        return not self.moves[status]

    def validate(self, current: str, target: str, job_id: str | None = None) -> None:
        """Check a move, given as members of the enum or as their values.

        Raises:
            InvalidStateTransitionError: The table has no such move.
            InvalidValueError: One of the two is not a status of this lifecycle.
        """
        if target not in self._targets_of.get(current, ()):
            current, target = self.value(current), self.value(target)
            raise InvalidStateTransitionError(current, target, self._targets_of[current], job_id)

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
        if lifecycle.is_final(status) and not ends:
            raise LifecycleError(f"{status.name} is final and means neither success nor failure")
        if ends and not lifecycle.is_final(status):
            raise LifecycleError(f"{status.name} means an end, and so may have no moves")
    if not lifecycle.success:
        raise LifecycleError("no status means success: a job could never go well")
    for status, role in ((lifecycle.initial, "initial"), (lifecycle.running, "running")):
        if lifecycle.is_final(status):
            raise LifecycleError(f"{status.name} is the {role} status, and so may not be final")


def _check_asking(lifecycle: Lifecycle[Status]) -> None:
    """A running job may move to the status of asking, and back."""
    asking, running = lifecycle.asking, lifecycle.running
    if asking is None:
        return
    if not isinstance(asking, lifecycle.statuses):
        raise LifecycleError(f"{shown(asking)} is not a member of {lifecycle.statuses.__name__}")
    for start, end in ((running, asking), (asking, running)):
        if end not in lifecycle.moves[start]:
            raise LifecycleError(
                f"{asking.name} is the status of asking, so {start.name} must lead to {end.name}"
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
