"""The checks of a lifecycle's moves: no job can get stuck, or end without a meaning."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import Enum, EnumType
from typing import Final

from engine.domain.exceptions import LifecycleError, alternatives, shown
from engine.domain.lifecycle.tables import Status, Tables

MAX_STATUSES: Final = 255  # a storage can keep a status in one byte


def check_member(statuses: type[Enum], status: object) -> None:
    """Check that a value is one of the statuses.

    Raises:
        LifecycleError: It is not.
    """
    if not isinstance(status, statuses):
        raise LifecycleError(f"{shown(status)} is not a member of {statuses.__name__}")


def check_members(
    statuses: type[Enum], moves: Mapping[Status, Collection[Status]], named: Iterable[Status]
) -> None:
    """Check that every status is a text with a row, and that all others named are statuses.

    Raises:
        LifecycleError: One is not.
    """
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
        check_member(statuses, status)


def check_moves(tables: Tables[Status]) -> None:
    """Check the moves against the births, the ends and the retired statuses.

    Raises:
        LifecycleError: A job could get stuck, end without a meaning, or enter a retired status.
    """
    _check_ends(tables)
    _check_retired(tables)
    _check_ways(tables)


def _check_ends(tables: Tables[Status]) -> None:
    """Check that the final statuses are the successes and failures, and that there is a success."""
    for status in tables.statuses:
        ends = (status in tables.success) + (status in tables.failure)
        if ends > 1:
            raise LifecycleError(f"{status.name} can't mean both success and failure")
        if not tables.moves[status] and not ends:
            raise LifecycleError(f"{status.name} is final and means neither success nor failure")
        if ends and tables.moves[status]:
            raise LifecycleError(f"{status.name} is a success or failure, and so may have no moves")
    if not tables.success:
        raise LifecycleError("no status means success: `success` needs at least one")
    for status, role in ((tables.initial, "initial"), (tables.running, "running")):
        if not tables.moves[status]:
            raise LifecycleError(f"{status.name} is the {role} status, and so may not be final")


def _check_retired(tables: Tables[Status]) -> None:
    """Check that no job can enter a retired status."""
    for status, role in ((tables.initial, "initial"), (tables.running, "running")):
        if status in tables.retired:
            raise LifecycleError(f"{status.name} is the {role} status, and so can't be retired")
    for start, row in tables.moves.items():
        for status in row & tables.retired:
            raise LifecycleError(
                f"{status.name} is retired, and {start.name} has a move to it: take it out"
            )


def _check_ways(tables: Tables[Status]) -> None:
    """Check that every status can be reached, or is retired, and can reach a final one."""
    reached = _reachable({*tables.births, *tables.retired}, tables.moves)
    backwards = {
        status: {origin for origin, row in tables.moves.items() if status in row}
        for status in tables.statuses
    }
    ending = _reachable(tables.success | tables.failure, backwards)
    for status in tables.statuses:
        if status not in reached:
            births = alternatives([birth.name for birth in tables.births])
            raise LifecycleError(
                f"{status.name} can't be reached from {births}: give it a move to it, or name it "
                "in `retired` if no job may enter it any more"
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


def checked_renamed(
    statuses: type[Status], given: Mapping[str, Status] | None
) -> Mapping[str, Status]:
    """Return the new statuses by old values.

    Raises:
        LifecycleError: An old value is no plain text or a status now, or a new one is no status.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise LifecycleError(f"renamed must map old values to statuses, not {shown(given)}")
    for old, new in given.items():
        if not _is_plain(old):
            raise LifecycleError(f"renamed needs old values as plain texts, not {shown(old)}")
        if any(old == status.value for status in statuses):
            raise LifecycleError(
                f"renamed has {shown(old)}, which is a status of {statuses.__name__} now"
            )
        check_member(statuses, new)
    return given


def _is_plain(old: object) -> bool:
    return isinstance(old, str) and not isinstance(old, Enum) and old != ""
