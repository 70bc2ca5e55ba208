"""Let jobs run again now."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from engine.cli.acting.act import Act, Asked
from engine.cli.acting.command import command_of
from engine.domain.lifecycle import Event
from engine.operations.possible import may_be_retried
from engine.portal.time import utc_now
from engine.storage.record import Record


def _able(asked: Asked) -> Collection[str]:
    """Return the statuses; among the running jobs, some wait for another attempt."""
    lifecycle = asked.lifecycle
    return (*lifecycle.able(Event.RETRY), lifecycle.running_value)


def _admits(job: Record, asked: Asked) -> bool:
    return may_be_retried(job, asked.lifecycle, utc_now())


COMMAND: Final = command_of(
    Act(
        name="retry",
        done="retried",
        summary="let jobs run again now, with fresh attempts",
        help_order=20,
        able=_able,
        admits=_admits,
        examples=(
            "retry jobs.db 0190f3a7 --reason the-printer-is-back",
            "retry jobs.db --kind report --since 2h --dry-run",
            "retry jobs.db --stuck 1h --yes",
        ),
    )
)
