"""Move jobs to another status."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from engine.cli.acting.act import Act, Asked, Last, Problem
from engine.cli.acting.command import command_of
from engine.cli.arguments import identifier
from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.moves import Move
from engine.owner.commands.move import checked_move


def _able(asked: Asked) -> Collection[str]:
    lifecycle, to = asked.lifecycle, asked.arguments.to
    return [status for status in lifecycle.values if to in lifecycle.targets(status)]


def _arguments(given: Namespace) -> Mapping[str, Any]:
    return {"status": given.to, "result": given.result, "error": given.error}


def _towards(given: Namespace) -> str:
    return f" to {shown(given.to)}"


def _move(given: Namespace) -> Move[Any]:
    return Move("any", given.to, result=given.result, error=given.error)


def _problem(asked: Asked) -> Problem | None:
    given = asked.arguments
    try:
        checked_move(asked.lifecycle, _move(given))
    except InvalidValueError as error:
        return Problem(f"{error.field} {error.problem}")
    return None


_COMMAND: Final = command_of(
    Act(
        name="move",
        done="moved",
        summary="move jobs to another status, as their lifecycle allows",
        help_order=24,
        able=_able,
        last=Last(name="to", metavar="STATUS", help="the status to move to", read=identifier),
        arguments=_arguments,
        towards=_towards,
        problem=_problem,
        examples=("move jobs.db 0190f3a7 completed --result done-by-hand",),
    )
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``move``."""
    _COMMAND.add_arguments(parser)
    parser.add_argument("--result", metavar="TEXT", help="the result, for a success")
    parser.add_argument("--error", metavar="TEXT", help="the error, for a failure")


COMMAND: Final = replace(_COMMAND, add_arguments=add_arguments)
