"""Claim ready jobs for new attempts."""

from __future__ import annotations

from collections.abc import Callable
from os import urandom

from engine.domain.deaths import DeathRule
from engine.owner.batch import Batch
from engine.owner.commands.command import Write
from engine.storage.record import Record


class ClaimJobs(Write):
    """Claim up to ``limit`` ready jobs for new attempts, and at least one.

    The claim waits for the first ready job, so a later round may answer it: after all other
    decisions of a batch, `engine.owner.waiting_claims` serves it. Its caller waits for ``notify``.

    Attributes:
        limit: The most jobs to claim.
        deaths: The rule for jobs whose attempts died.
        notify: Called when the claim is answered.
    """

    __slots__ = ("deaths", "limit", "notify")

    def __init__(self, limit: int, deaths: DeathRule, notify: Callable[[], object]) -> None:
        super().__init__()
        self.limit = limit
        self.deaths = deaths
        self.notify = notify

    def decide(self, batch: Batch) -> None:
        """See `Write.decide`: a claim waits."""


def claim(batch: Batch, record: Record) -> Record:
    """Give a ready job to a new attempt."""
    return batch.amend(record, record.execution.claimed(urandom(8).hex(), batch.now))
