"""The kinds of commands: writes, which a batch decides, and reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar

from engine.owner.acts import Acted
from engine.owner.batch import BY_RULE, Batch
from engine.owner.message import UNANSWERED, Answer, Message
from engine.owner.sources import Sources
from engine.storage.audit import AuditLine
from engine.storage.record import Change, Record


class Write(Message[Sequence[Record]]):
    """Changes all jobs that it names, or none.

    Attributes:
        acted: What the audit keeps of it; None if no caller says that he acts.
    """

    __slots__ = ()
    writes = True
    acted: Acted | None = None

    def decide(self, batch: Batch) -> Sequence[Record] | None:
        """Decide the write and add its changes to a batch. Pure code, without I/O.

        Returns:
            The jobs that answer it; None if it waits, see `engine.owner.waiting_claims`.

        Raises:
            EngineError: The caller's mistake; in a bulk call its ``item`` is the number of the
                wrong item. The batch is unchanged.
        """
        raise NotImplementedError

    def lines(self, changes: Sequence[Change], at: datetime) -> Iterable[AuditLine]:
        """Return the lines of the audit for the changes that this write has made.

        The follow-ups that rules create are no act of the caller.
        """
        if self.acted is None:
            return ()
        own = dict.fromkeys(each.record.job_id for each in changes if each.act is not BY_RULE)
        return [self.acted.line(job_id, at) for job_id in own]


class WriteOne(Write):
    """Changes one job."""

    __slots__ = ("acted", "job_ids")

    def __init__(self, job_id: str, weight: int = 1, acted: Acted | None = None) -> None:
        self.acted = acted
        self.weight = weight
        self.is_abandoned = False
        self._outcome = UNANSWERED
        self.job_ids = (job_id,)

    @property
    def job_id(self) -> str:
        """The id of the job."""
        return self.job_ids[0]


class Read(Message[Answer]):
    """Reads without changing a job.

    Attributes:
        acts: Whether it changes something else.
    """

    __slots__ = ()
    acts: ClassVar[bool] = False

    async def read(self, sources: Sources) -> Answer:
        """Return the answer, from committed jobs.

        Raises:
            StorageError: The storage can't answer.
        """
        raise NotImplementedError
