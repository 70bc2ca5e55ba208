"""Strays: threads that run on though their attempts have ended, and so hold their jobs back.

A function in a thread can't be stopped. Its job must not run again beside it, so the worker holds
the job back until the thread has ended. This lives in memory: no thread outlives its process.
Everything but a claim goes on as ever: a cancel, a deadline or a move may end the job.

Both messages apply at once, whatever comes of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.owner.batch import Batch
from engine.owner.commands.command import Write
from engine.storage.record import Record


class HoldBackJob(Write):
    """Give a job to no attempt until its stray thread has ended."""

    __slots__ = ("job_id",)

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self.job_id = job_id

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`. Never fails."""
        batch.strays.add(self.job_id)
        return []


class LetGoJob(HoldBackJob):
    """End that: the thread has ended."""

    __slots__ = ()

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`. Never fails."""
        batch.strays.discard(self.job_id)
        return []
