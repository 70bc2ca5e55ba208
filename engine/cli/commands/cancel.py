"""Cancel jobs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from engine.cli.acting.act import Act, Asked
from engine.cli.acting.command import command_of
from engine.domain.lifecycle import Event


def _able(asked: Asked) -> Collection[str]:
    return asked.lifecycle.able(Event.CANCEL)


def done_to(job: Mapping[str, Any]) -> str:
    """Return what became of a job, by the answer."""
    return "cancelled" if job.get("outcome") else "asked to stop"


COMMAND: Final = command_of(
    Act(
        name="cancel",
        done="cancelled",
        summary="cancel jobs: end them, or ask the attempts that have them to stop",
        help_order=21,
        able=_able,
        done_to=done_to,
        examples=("cancel jobs.db 0190f3a7", "cancel jobs.db --kind report --reason too-dear"),
    )
)
