"""Create follow-ups of jobs that have ended, by one of the rules that are kept with the jobs."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Mapping
from typing import Any, Final

from engine.cli.acting.act import Act, Asked, Last, Problem
from engine.cli.acting.command import command_of
from engine.cli.arguments import kind
from engine.cli.exits import Exit
from engine.domain.exceptions import shown
from engine.storage.record import Record


def _able(asked: Asked) -> Collection[str]:
    rule, lifecycle = asked.rules.by_kind[asked.arguments.rule], asked.lifecycle
    return [status for status in rule.to if lifecycle.is_final(status)]


def _admits(job: Record, asked: Asked) -> bool:
    rule = asked.rules.by_kind[asked.arguments.rule]
    return rule.is_of(job.kind, is_follow_up=job.parent_id is not None)


def _arguments(given: Namespace) -> Mapping[str, Any]:
    return {"rule": given.rule}


def _towards(given: Namespace) -> str:
    return f" by the rule {given.rule}"


def _problem(asked: Asked) -> Problem | None:
    known = asked.rules.by_kind
    if asked.arguments.rule in known:
        return None
    return Problem(
        f"there is no rule {shown(asked.arguments.rule)}; those that are kept: "
        f"{', '.join(known) or 'none'}",
        Exit.NOT_FOUND,
    )


COMMAND: Final = command_of(
    Act(
        name="follow-up",
        done="followed up",
        summary="create the follow-up of jobs that have ended, by its rule; once",
        help_order=27,
        able=_able,
        admits=_admits,
        last=Last(name="rule", metavar="RULE", help="the kind of the rule", read=kind),
        arguments=_arguments,
        towards=_towards,
        problem=_problem,
        examples=("follow-up jobs.db 0190f3a7 refund --reason it-came-too-late",),
    )
)
