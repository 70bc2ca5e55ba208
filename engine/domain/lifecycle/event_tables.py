"""Where each event leads: the checks and defaults of what a lifecycle says about it.

The statuses in which a job waits for its handler's answer, `awaiting_input`, and for its retry,
`exhausted_to`, have no other role. Else an event would mean two things in them: a payment that
comes twice would start what asks its buyer something, an answer would retry what needs attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from engine.domain.exceptions import LifecycleError, alternatives, shown
from engine.domain.lifecycle.checks import check_member
from engine.domain.lifecycle.events import Event
from engine.domain.lifecycle.tables import Status, Tables, text_of
from engine.domain.outcomes import Outcome


def check_pauses(tables: Tables[Status]) -> None:
    """Check `awaiting_input` and `exhausted_to`: a running job may move there, and back.

    Raises:
        LifecycleError: One of them can't, is no status, or has another role already.
    """
    asking, exhausted = tables.awaiting_input, tables.exhausted_to
    roles: dict[Status | None, str] = {tables.initial: "initial", tables.running: "running"}
    _check_pause(tables, "awaiting_input", asking, roles)
    _check_pause(tables, "exhausted_to", exhausted, roles | {asking: "awaiting_input"})


def _check_pause(
    tables: Tables[Status], name: str, pause: Status | None, roles: Mapping[Status | None, str]
) -> None:
    if pause is None:
        return
    check_member(tables.statuses, pause)
    if pause in roles:
        raise LifecycleError(f"{pause.name} is `{roles[pause]}`, and so can't be `{name}` too")
    for start, end in ((tables.running, pause), (pause, tables.running)):
        if end not in tables.moves[start]:
            raise LifecycleError(
                f"{pause.name} is `{name}`, so {start.name} needs a move to {end.name}"
            )


def checked_failure(tables: Tables[Status], given: Status | None) -> Status | None:
    """Return the failure that follows running, or the one that is meant of several.

    Raises:
        LifecycleError: Several follow running, and none is given; or the given one is not one.
    """
    ways = [to for to in tables.statuses if to in tables.moves[tables.running] & tables.failure]
    names = [way.name for way in ways]
    if given is None:
        if len(ways) > 1:
            raise LifecycleError(
                f"{tables.running.name} leads to several failures: say by `fails_to` which one a "
                f"failed handler leads to, {alternatives(names)}"
            )
        return ways[0] if ways else None
    check_member(tables.statuses, given)
    if given not in ways:
        raise LifecycleError(
            f"fails_to is {given.name}, which is no failure that follows {tables.running.name}: "
            + (f"choose {alternatives(names)}" if names else "none does, so leave it out")
        )
    return given


def forced_moves(
    tables: Tables[Status], name: str, given: Mapping[Status, Status] | None
) -> Mapping[Status, Status]:
    """Return a table of forced moves; by default, of each status with just one failure to go to.

    Raises:
        LifecycleError: It has what is no status, or a move that is not legal.
    """
    if given is None:
        failures = {at: row & tables.failure for at, row in tables.moves.items()}
        return MappingProxyType({at: next(iter(to)) for at, to in failures.items() if len(to) == 1})
    if not isinstance(given, Mapping):
        raise LifecycleError(f"{name} must map statuses to statuses, not {shown(given)}")
    for start, end in given.items():
        check_member(tables.statuses, start)
        check_member(tables.statuses, end)
        if end not in tables.moves[start]:
            raise LifecycleError(
                f"{name} leads from {shown(start)} to {shown(end)}, which `moves` does not allow"
            )
    return MappingProxyType(dict(given))


def checked_outcomes(
    tables: Tables[Status], given: Mapping[Status, Outcome] | None
) -> Mapping[Status, Outcome]:
    """Return the outcomes of final statuses that always have the same.

    Raises:
        LifecycleError: It has what is no final status or no outcome, or a success and a failure
            are mixed up.
    """
    if given is None:
        return MappingProxyType({})
    if not isinstance(given, Mapping):
        raise LifecycleError(f"outcomes must map final statuses to outcomes, not {shown(given)}")
    for status, outcome in given.items():
        check_member(tables.statuses, status)
        if not isinstance(outcome, Outcome):
            raise LifecycleError(f"outcomes has {shown(outcome)}: it must be a member of Outcome")
        if status not in tables.success | tables.failure:
            raise LifecycleError(f"outcomes has {status.name}, which is not final")
        if (status in tables.success) != (outcome is Outcome.SUCCEEDED):
            raise LifecycleError(
                f"outcomes maps {status.name} to {outcome}: a success, and nothing else, can be "
                f"mapped to {Outcome.SUCCEEDED}"
            )
    return MappingProxyType(dict(given))


def event_targets(tables: Tables[Any]) -> dict[Event, dict[str, str]]:
    """Return where each event leads, by the status before it, in plain strings."""
    initial, running = tables.initial, tables.running
    asking, exhausted = tables.awaiting_input, tables.exhausted_to
    successes = [to for to in tables.statuses if to in tables.moves[running] & tables.success]
    fail = _move(running, tables.fails_to)
    exhaust = _move(running, exhausted) or fail
    return {
        Event.START: _move(initial, running if running in tables.moves[initial] else None),
        Event.EXPIRE: _moves(tables.expires_to),
        Event.CANCEL: _moves(tables.cancels_to),
        Event.ASK: _move(running, asking),
        Event.ANSWER: _move(asking, running),
        Event.SUCCEED: _move(running, successes[0] if successes else None),
        Event.FAIL: fail,
        Event.EXHAUST: exhaust,
        Event.DIE: exhaust,
        Event.RETRY: _move(exhausted, running),
    }


def _move(start: Any, end: Any) -> dict[str, str]:  # noqa: ANN401 - of any lifecycle, or none
    """Return a table of this one move, if the lifecycle has both statuses."""
    return {} if start is None or end is None else _moves({start: end})


def _moves(ways: Mapping[Any, Any]) -> dict[str, str]:
    return {text_of(start): text_of(end) for start, end in ways.items()}
