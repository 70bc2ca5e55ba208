"""Read the audit, and note acts that change no job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Self

from engine.domain.exceptions import EngineError
from engine.domain.validation import MAX_PAGE_LINES, check_integer, check_job_id
from engine.owner.acts import Acted
from engine.owner.commands.command import Read
from engine.owner.sources import Sources
from engine.portal.logs import TaskLogger
from engine.portal.time import read_clock
from engine.storage.audit import AuditLine, DamagedAuditLine, KeptAuditLine

logger = TaskLogger("engine")


class ReadAudit(Read[Sequence[KeptAuditLine | DamagedAuditLine]]):
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

    async def read(self, sources: Sources) -> Sequence[KeptAuditLine | DamagedAuditLine]:
        """See `Read.read`."""
        return await sources.storage.audit(self.before, self.limit, self.job_id)


class NoteAct(Read[None]):
    """Note an act that changes no job, after it is done."""

    __slots__ = ("acted",)
    acts = True

    def __init__(self, acted: Acted) -> None:
        super().__init__()
        self.acted = acted

    async def read(self, sources: Sources) -> None:
        """See `Read.read`."""
        await sources.settle()
        await sources.storage.note_acts(lines_of(self.acted, time_in(sources)))


@contextmanager
def logged_if_not_noted(copy: Path) -> Iterator[None]:
    """Log an error of `NoteAct` behind a good copy: raised, it would say that there is none."""
    try:
        yield
    except EngineError:
        logger.exception("%s is a good copy, but the audit may have no entry of it", copy)


def lines_of(acted: Acted | None, at: datetime) -> Sequence[AuditLine]:
    """Return the lines of the audit for an act that changes no job: one, or none for None."""
    return [] if acted is None else [acted.line(None, at)]


def time_in(sources: Sources) -> datetime:
    """Return the time, which is that of all engines."""
    return sources.state.time_of(read_clock(sources.clock))
