"""Claim ready jobs for new attempts."""

from __future__ import annotations

from collections.abc import Callable
from os import urandom

from engine.domain.lifecycle import Event
from engine.owner.batch import Batch
from engine.owner.commands.cancel import end_cancelled
from engine.owner.commands.command import Write
from engine.storage.record import Record


class ClaimJobs(Write):
    """Claim up to ``limit`` ready jobs for new attempts, and at least one.

    The claim waits for the first ready job, so a later round may answer it: after all other
    decisions of a batch, `engine.owner.waiting_claims` serves it. Its caller waits for ``notify``.

    Attributes:
        limit: The most jobs to claim.
        max_attempts: A job ends when this many of its attempts have failed or died with their
            process.
        idempotent: Whether a job may run again after an attempt that died with its process.
        notify: Called when the claim is answered.
    """

    __slots__ = ("idempotent", "limit", "max_attempts", "notify")

    def __init__(
        self, limit: int, *, max_attempts: int, idempotent: bool, notify: Callable[[], object]
    ) -> None:
        super().__init__()
        self.limit = limit
        self.max_attempts = max_attempts
        self.idempotent = idempotent
        self.notify = notify

    def decide(self, batch: Batch) -> None:
        """See `Write.decide`: a claim waits."""

    def claim(self, batch: Batch, record: Record) -> Record | None:
        """Give a ready job to a new attempt. Return None if the job ends instead."""
        execution = record.execution
        if execution.cancel_reason is not None:
            end_cancelled(batch, record, execution.cancel_reason)
            return None
        failures = execution.failures
        if execution.token is not None:
            failures += 1
            if not self.idempotent or failures >= self.max_attempts:
                _end_died(batch, record)
                return None
            batch.retried += 1
        return batch.amend(record, execution.claimed(urandom(8).hex(), failures))


def _end_died(batch: Batch, record: Record) -> None:
    """End a job whose attempt died with its process."""
    error = f"the process ended during attempt {record.execution.attempt}"
    target = batch.lifecycle.after(record.status, Event.DIE, record.job_id)
    batch.force(record, target, error, record.execution)
