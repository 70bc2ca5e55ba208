"""Extend a job's time in a status: give it another deadline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from engine.domain.deadlines import (
    Deadline,
    check_deadline,
    check_expires,
    kept_deadline,
    with_deadline,
)
from engine.domain.lifecycle import Lifecycle
from engine.domain.validation import check_job_id
from engine.owner.acts import Acted, acted, checked_act
from engine.owner.batch import Batch
from engine.owner.commands.cancel import ended_error
from engine.owner.commands.command import WriteOne
from engine.storage.record import Record


class ExtendJob(WriteOne):
    """Give a job another deadline in a status: the present one, or one that it may enter.

    Attributes:
        status: The status.
        deadline: The deadline; None for no limit.
    """

    __slots__ = ("deadline", "status")

    def __init__(
        self,
        job_id: str,
        status: str,
        deadline: Deadline | None,
        acted: Acted | None = None,
    ) -> None:
        super().__init__(job_id, acted=acted)
        self.status = status
        self.deadline = deadline

    @classmethod
    def checked(
        cls,
        lifecycle: Lifecycle[Any],
        job_id: str,
        status: object,
        deadline: Deadline | None,
        by: str | None,
        reason: str | None,
    ) -> Self:
        """Check the arguments.

        Raises:
            InvalidValueError: An argument has the wrong type or size, or the status can have no
                deadline.
        """
        value = lifecycle.value(status)
        check_expires(lifecycle, value, "deadline")
        checked = None if deadline is None else check_deadline("deadline", deadline)
        act = checked_act(by, reason)
        arguments = {
            "status": value,
            "deadline": None if checked is None else kept_deadline(checked),
        }
        return cls(check_job_id(job_id), value, checked, acted("extend", act, arguments))

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`.

        Raises:
            JobNotFoundError: No job has this id.
            JobEndedError: The job has ended.
        """
        record = batch.job(self.job_id)
        if batch.lifecycle.is_final(record.status):
            raise ended_error(record)
        execution = record.execution
        deadlines = with_deadline(execution.deadlines, self.status, self.deadline)
        extended = execution.extended(deadlines)
        if self.status == record.status:
            extended = extended.due(batch.deadline_in(extended, self.status))
        return [batch.amend(record, extended)]
