"""Start jobs that wait for their payment."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Mapping
from typing import Any, Final

from engine.cli.acting.act import Act, Asked, Problem
from engine.cli.acting.command import command_of
from engine.domain.lifecycle import Event


def _able(asked: Asked) -> Collection[str]:
    return asked.lifecycle.able(Event.START)


def _arguments(given: Namespace) -> Mapping[str, Any]:
    return {"payment_id": given.payment}


def _problem(asked: Asked) -> Problem | None:
    lifecycle = asked.lifecycle
    if lifecycle.able(Event.START):
        return None
    return Problem(
        f"no job of this lifecycle can be started: it has no move from {lifecycle.initial_value} "
        f"to {lifecycle.running_value}; use move"
    )


COMMAND: Final = command_of(
    Act(
        name="start",
        done="started",
        summary="start jobs, as their payments do; with one JOB_ID, --payment says which pays for "
        "it",
        help_order=22,
        able=_able,
        beside_id="payment",
        arguments=_arguments,
        problem=_problem,
        examples=("start jobs.db 0190f3a7 --payment pay_17", "start jobs.db --payment pay_17"),
    )
)
