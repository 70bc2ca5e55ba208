"""Repeat a job: create another one like it, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from msgspec.structs import replace

from engine.domain.deadlines import durations_text
from engine.domain.exceptions import InvalidStateTransitionError
from engine.domain.ids import derived_id
from engine.domain.validation import check_job_id
from engine.owner.acts import Acted, acted, checked_act
from engine.owner.batch import Batch, NewRecord
from engine.owner.commands.command import Write
from engine.storage.record import Act, Execution, Origin, Record


class RepeatJob(Write):
    """Create a job like an ended one, born running, and link both; or return it, if it is there.

    The new job has the kind, the input, the labels, the priority, the trace context and the
    durations among the deadlines of the ended one; neither its payment nor its answers. The repeat
    of a follow-up has the same parent.
    """

    __slots__ = ("act", "acted", "job_ids")

    def __init__(self, job_id: str, act: Act, acted: Acted | None = None) -> None:
        super().__init__()
        self.acted = acted
        self.act = act
        self.job_ids = (job_id, derived_id("repeat", job_id))

    @classmethod
    def checked(cls, job_id: str, by: str | None, reason: str | None) -> Self:
        """Check the arguments.

        Raises:
            InvalidValueError: An argument has the wrong type or size.
        """
        act = checked_act(by, reason)
        return cls(check_job_id(job_id), act, acted("repeat", act))

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`.

        Raises:
            JobNotFoundError: No job has this id; or its repeat was removed.
            InvalidStateTransitionError: The job has not ended.
        """
        job_id, repeat_id = self.job_ids
        record, lifecycle = batch.job(job_id), batch.lifecycle
        if not lifecycle.is_final(record.status):
            raise InvalidStateTransitionError(
                *(record.status, "repeat", (), job_id),
                why="can't be repeated before it has ended: `wait` for that, or `cancel` the job",
            )
        if record.execution.repeated_by is not None:
            return [batch.job(repeat_id)]
        repeat = batch.create(_like(record, repeat_id, lifecycle.running_value, self.act))
        batch.amend(record, record.execution.repeated(repeat_id))
        return [repeat]


def _like(record: Record, job_id: str, status: str, act: Act) -> NewRecord:
    execution = record.execution
    return NewRecord(
        job_id=job_id,
        input_hash=record.input_hash,
        payment_id=None,
        idempotency_key=None,
        input=record.input,
        execution=Execution(
            priority=execution.priority,
            deadlines=durations_text(execution.deadlines),
            trace=execution.trace,
            repeat_of=record.job_id,
        ),
        status=status,
        kind=record.kind,
        labels=record.labels,
        not_before=None,
        act=act,
        origin=_origin(record),
    )


def _origin(record: Record) -> Origin:
    return replace(record.origin or Origin(), first_id=record.key)
