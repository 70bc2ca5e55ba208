"""The kinds of commands: writes, which are decided in a batch, and reads."""

from __future__ import annotations

from collections.abc import Sequence

from engine.owner.batch import Batch
from engine.owner.message import UNANSWERED, Answer, Message
from engine.owner.sources import Sources
from engine.storage.record import Record


class Write(Message[Sequence[Record]]):
    """A message that may change jobs, all that it names or none."""

    __slots__ = ()
    writes = True

    def decide(self, batch: Batch) -> Sequence[Record] | None:
        """Decide it: pure code that adds changes to a batch.

        Returns:
            The jobs that it is about; None if it waits, see `engine.owner.waiting_claims`.

        Raises:
            EngineError: The caller's mistake; in a bulk call its ``item`` says which item was
                wrong. Nothing is added then.
        """
        raise NotImplementedError


class WriteOne(Write):
    """A write about one job."""

    __slots__ = ("job_ids",)

    def __init__(self, job_id: str, weight: int = 1) -> None:
        self.weight = weight
        self.is_abandoned = False
        self._outcome = UNANSWERED
        self.job_ids = (job_id,)

    @property
    def job_id(self) -> str:
        """The job."""
        return self.job_ids[0]


class Read(Message[Answer]):
    """A message that changes no job."""

    __slots__ = ()

    async def read(self, sources: Sources) -> Answer:
        """Return the answer, from committed jobs.

        Raises:
            StorageError: The storage can't tell.
        """
        raise NotImplementedError
