"""Give jobs another deadline."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError, Namespace
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Final

from engine.cli.acting.act import Act, Asked, Last, Problem
from engine.cli.acting.command import command_of
from engine.cli.times import duration, moment
from engine.domain.deadlines import check_expires
from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.lifecycle import Event
from engine.domain.spans import span
from engine.domain.time_text import time_text
from engine.portal.time import utc_now
from engine.storage.record import Record

_NEVER: Final = "never"


def _deadline(text: str) -> float | str | None:
    """Return the deadline that a text says, as the operation takes it.

    Raises:
        ArgumentTypeError: It says none, or a time that has passed.
    """
    if text == _NEVER:
        return None
    if text.startswith("+"):
        return _seconds(text)
    now = utc_now()
    try:
        at = moment(text, now)
    except ArgumentTypeError:
        at = None
    if at is None:
        raise ArgumentTypeError(
            f"WHEN must be a time from now such as +2h, a time such as 2026-12-01T12:00:00Z, or "
            f"{_NEVER}, not {text!r}"
        )
    if at <= now:
        raise ArgumentTypeError(
            f"WHEN must come yet, and {text!r} has passed; a time from now is +2h"
        )
    return at.isoformat()


def _seconds(text: str) -> float:
    length = duration(text[1:])
    if not length:
        raise ArgumentTypeError(f"WHEN must come yet, not {text!r}; a time from now is +2h")
    return length.total_seconds()


def _able(asked: Asked) -> Collection[str]:
    return asked.lifecycle.able(Event.EXPIRE)


def _arguments(given: Namespace) -> Mapping[str, Any]:
    return {"deadline": given.when, "status": _status(given)}


def _status(given: Namespace) -> str | None:
    """Return the status that gets the deadline; None for the present one, as beside filters."""
    [status] = given.status if given.job_ids and given.status else [None]
    return status


def _deadline_now(job: Record, given: Namespace) -> float | str | None:
    """Return the deadline as it is: a time, or for another status also seconds."""
    status, execution = _status(given), job.execution
    if status is None or status == job.status:
        return None if execution.deadline_at is None else time_text(execution.deadline_at)
    kept: dict[str, float | str] = json.loads(execution.deadlines or "{}")
    return kept.get(status)


def _towards(given: Namespace) -> str:
    if given.when is None:
        return " to no deadline"
    if isinstance(given.when, str):
        return f" to {given.when}"
    length, status = span(timedelta(seconds=given.when), most_units=4), _status(given)
    other = "" if status is None else f", or from entering {shown(status)}"
    return f" to {length} from now{other}"


def _problem(asked: Asked) -> Problem | None:
    given = asked.arguments
    if not given.job_ids or not given.status:
        return None
    if len(given.status) > 1:
        return Problem("--status says which deadline is meant: give it once")
    try:
        check_expires(asked.lifecycle, asked.lifecycle.value(given.status[0]), "--status")
    except InvalidValueError as error:
        return Problem(str(error))
    return None


COMMAND: Final = command_of(
    Act(
        name="extend",
        done="extended",
        summary="give jobs another deadline in their status; with one JOB_ID, --status says in "
        "which other",
        help_order=25,
        able=_able,
        last=Last(
            name="when",
            metavar="WHEN",
            help="the deadline: +2h, from now or else from entering the status; "
            "2026-12-01T12:00:00Z; or never",
            read=_deadline,
        ),
        beside_id="status",
        arguments=_arguments,
        towards=_towards,
        problem=_problem,
        deadline=_deadline_now,
        examples=(
            "extend jobs.db 0190f3a7 +2h",
            "extend jobs.db 0190f3a7 never --status awaiting_payment",
        ),
    )
)
