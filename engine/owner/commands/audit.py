"""Read the audit, and note acts that change no job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from engine.domain.validation import MAX_PAGE_LINES, check_integer, check_job_id
from engine.owner.acts import Acted
from engine.owner.commands.command import Read
from engine.owner.sources import Sources
from engine.portal.time import read_clock
from engine.storage.audit import KeptAuditLine


class ReadAudit(Read[Sequence[KeptAuditLine]]):
    """Read lines of the audit, of one job or of all acts, newest first."""

    __slots__ = ("before", "job_id", "limit")

    def __init__(self, job_id: str | None, limit: int, before: int | None) -> None:
        super().__init__()
        self.job_id = job_id
        self.limit = limit
        self.before = before

    @classmethod
    def checked(cls, job_id: str | None, limit: int, before: int | None) -> Self:
        """Check the arguments.

        Raises:
            InvalidValueError: One has a wrong type or is out of its range.
        """
        return cls(
            None if job_id is None else check_job_id(job_id),
            check_integer("limit", limit, 1, MAX_PAGE_LINES),
            None if before is None else check_integer("before", before, 1),
        )

    async def read(self, sources: Sources) -> Sequence[KeptAuditLine]:
        """See `Read.read`."""
        return await sources.storage.audit(self.before, self.limit, self.job_id)


class NoteAct(Read[None]):
    """Note an act that changes no job, after it is done."""

    __slots__ = ("acted",)

    def __init__(self, acted: Acted) -> None:
        super().__init__()
        self.acted = acted

    async def read(self, sources: Sources) -> None:
        """See `Read.read`."""
        await sources.settle()
        await note_act(sources, self.acted)


async def note_act(sources: Sources, acted: Acted) -> None:
    """Put an act that changes no job into the audit.

    Raises:
        StorageError: The storage can't keep it.
    """
    now = sources.state.time_of(read_clock(sources.clock))
    await sources.storage.note_acts([acted.line(None, now)])
