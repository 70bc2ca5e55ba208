"""Strays: threads that run on though their attempts have ended, and so hold their jobs back.

A function in a thread can't be stopped. Its job must not run again beside it, so the worker holds
the job back until the thread has ended. Everything but a claim goes on as ever: a cancel, a
deadline or a move may end the job.

This lives in memory, for no thread outlives its process, and nobody decides on it. So no round has
to carry it, and none that the storage refuses can lose it.
"""

from __future__ import annotations


class Strays(dict[str, int]):
    """The numbers of stray threads, by the jobs that they hold back.

    Belongs to the event loop of the owner.

    Attributes:
        have_ended: Whether a job was let go that a shared storage still keeps for this engine.
    """

    have_ended = False

    def hold_back(self, job_id: str) -> None:
        """Give a job to no attempt until this stray thread of it has ended."""
        self[job_id] = self.get(job_id, 0) + 1

    def let_go(self, job_id: str) -> None:
        """End that: the thread has ended. Others of the job may run on."""
        self[job_id] -= 1
        if not self[job_id]:
            del self[job_id]
            self.have_ended = True
