"""Expire jobs: move the jobs whose deadline has passed, before anything else is decided about them.

The timers are only the usual way in which a deadline is noticed. They may be late, and other
engines may have theirs: so each message first applies the deadlines of the jobs that it names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from engine.domain.lifecycle import Event
from engine.owner.batch import Batch
from engine.owner.commands.command import Write
from engine.owner.message import Message
from engine.storage.record import Act, Record

EXPIRED: Final = "expired"
BY_DEADLINE: Final = Act("deadline")


class ExpireJobs(Write):
    """Apply the deadlines of these jobs, as every message does; set relative times right.

    A job's relative time that began in the future begins anew: the clock was ahead, and has been
    set right. So it keeps its length.

    `engine.owner.timers` sends it. Without jobs it only starts a round, which retries due jobs.
    """

    __slots__ = ("job_ids",)

    def __init__(self, job_ids: Sequence[str]) -> None:
        super().__init__(len(job_ids) or 1)
        self.job_ids = job_ids

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`. Never fails; no job answers it."""
        for record in batch.jobs_named_by(self):
            if record.execution.began_after(batch.now):
                batch.amend(record, record.execution.set_back(batch.now))
        return []


def apply_deadlines(batch: Batch, message: Message[Any]) -> None:
    """Move on the jobs that a message names and whose deadline has passed.

    That stays, whatever becomes of the message.
    """
    for record in batch.jobs_named_by(message):
        expire(batch, record)


def expire(batch: Batch, record: Record) -> bool:
    """Move a job on if its deadline has passed; return whether it had."""
    if not _has_passed(batch, record):
        return False
    for _ in batch.lifecycle.values:  # an absolute deadline of the next status may have passed, too
        target = batch.lifecycle.after(record.status, Event.EXPIRE, record.job_id)
        record = batch.force(record, target, Event.EXPIRE, EXPIRED, record.execution, BY_DEADLINE)
        batch.expired.append(record)
        if not _has_passed(batch, record):
            break
    return True


def _has_passed(batch: Batch, record: Record) -> bool:
    return batch.is_late(record) and batch.lifecycle.target(record.status, Event.EXPIRE) is not None
