"""The kinds of commands: writes, which a batch decides, and reads."""

from __future__ import annotations

from collections.abc import Sequence

from engine.owner.batch import Batch
from engine.owner.message import UNANSWERED, Answer, Message
from engine.owner.sources import Sources
from engine.storage.record import Record


class Write(Message[Sequence[Record]]):
    """Changes all jobs that it names, or none."""

    __slots__ = ()
    writes = True

    def decide(self, batch: Batch) -> Sequence[Record] | None:
        """Decide the write and add its changes to a batch. Pure code, without I/O.

        Returns:
            The jobs that answer it; None if it waits, see `engine.owner.waiting_claims`.

        Raises:
            EngineError: The caller's mistake; in a bulk call its ``item`` is the number of the
                wrong item. The batch is unchanged.
        """
        raise NotImplementedError


class WriteOne(Write):
    """Changes one job."""

    __slots__ = ("job_ids",)

    def __init__(self, job_id: str, weight: int = 1) -> None:
        self.weight = weight
        self.is_abandoned = False
        self._outcome = UNANSWERED
        self.job_ids = (job_id,)

    @property
    def job_id(self) -> str:
        """The id of the job."""
        return self.job_ids[0]


class Read(Message[Answer]):
    """Reads without changing a job."""

    __slots__ = ()

    async def read(self, sources: Sources) -> Answer:
        """Return the answer, from committed jobs.

        Raises:
            StorageError: The storage can't answer.
        """
        raise NotImplementedError
