"""Repeat jobs that have ended."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from engine.cli.acting.act import Act, Asked
from engine.cli.acting.command import command_of
from engine.storage.record import Record


def _able(asked: Asked) -> Collection[str]:
    lifecycle = asked.lifecycle
    return [status for status in lifecycle.values if lifecycle.is_final(status)]


def _admits(job: Record, _: Asked) -> bool:
    return job.execution.repeated_by is None


COMMAND: Final = command_of(
    Act(
        name="repeat",
        done="repeated",
        summary="create a job like each of these, which have ended; once, however often you ask",
        help_order=26,
        able=_able,
        admits=_admits,
        examples=("repeat jobs.db 0190f3a7", "repeat jobs.db --status failed --since 3d"),
    )
)
