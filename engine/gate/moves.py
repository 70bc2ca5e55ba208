"""Moves: how a gate moves the jobs on that its check has chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from engine.domain.exceptions import (
    InvalidStateTransitionError,
    JobClaimedError,
    JobNotFoundError,
    VersionConflictError,
)
from engine.owner.batch import Batch
from engine.owner.commands.move import CheckedMove, MoveJobs
from engine.portal.logs import TaskLogger
from engine.storage.record import Act, Record

logger = TaskLogger("engine.gate")

_BY_GATE: Final = Act("gate")

# A chosen job was moved, removed or claimed meanwhile: the gate passes it over.
_PASSED_OVER: Final = (
    VersionConflictError,
    InvalidStateTransitionError,
    JobNotFoundError,
    JobClaimedError,
)


class MoveChosen(MoveJobs):
    """Move a job on as a check has chosen it, unless the gate has been paused since it began.

    Args:
        record: The job, as the check has seen it.
        target: The status to move it to.
        counts: Returns, when the owner decides, whether the choice still counts.
    """

    __slots__ = ("_counts",)

    def __init__(self, record: Record, target: str, counts: Callable[[], bool]) -> None:
        move = CheckedMove(record.job_id, target, expected_version=record.version, act=_BY_GATE)
        super().__init__([move])
        self._counts = counts

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `MoveJobs.decide`; move nothing that a pause has made void."""
        return super().decide(batch) if self._counts() else ()

    def check_outcome(self) -> None:
        """Raise the error of the move, unless the gate passes over the job.

        Raises:
            EngineError: The engine refused.
        """
        try:
            self.outcome()
        except _PASSED_OVER as error:
            logger.debug("the gate passes over a chosen job: %s", error)
