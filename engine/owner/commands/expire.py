"""Expire jobs: move the jobs whose deadline has passed, also after the clock was set back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.domain.lifecycle import Event
from engine.owner.batch import Batch
from engine.owner.commands.command import Write
from engine.storage.record import Act, Record

EXPIRED: Final = "expired"
BY_DEADLINE: Final = Act("deadline")


class ExpireJobs(Write):
    """Move these jobs on, if their deadlines have passed.

    A job's relative time that began in the future begins anew: the clock was ahead, and has been
    set right. So it keeps its length.

    `engine.owner.timers` sends it. Without jobs it only starts a round, which retries due jobs.
    """

    __slots__ = ("job_ids",)

    def __init__(self, job_ids: Sequence[str]) -> None:
        super().__init__(len(job_ids) or 1)
        self.job_ids = job_ids

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`. Never fails."""
        return [record for job_id in self.job_ids if (record := _expire(batch, job_id))]


def _expire(batch: Batch, job_id: str) -> Record | None:
    """Move a job on. Return None if it has moved or been removed meanwhile, or has time again."""
    record = batch.newest(job_id)
    if record is None:
        return None
    if record.execution.began_after(batch.now):
        batch.amend(record, record.execution.set_back(batch.now))
        return None
    ends = record.execution.deadline_at
    target = batch.lifecycle.target(record.status, Event.EXPIRE)
    if ends is None or ends > batch.now or target is None:
        return None
    batch.expired += 1
    return batch.force(record, target, Event.EXPIRE, EXPIRED, record.execution, BY_DEADLINE)
