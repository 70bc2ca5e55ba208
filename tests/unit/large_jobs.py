"""Jobs with long results and inputs, for tests of how much is read at once."""

from __future__ import annotations

from engine import JobStatus, Move, NewJob
from engine.domain.validation import MAX_READ_CHARACTERS
from engine.storage import CheckedOut, Names
from engine.storage.record import Record
from engine.testing.facades import Engine
from tests.proof.storages import PlainStorage

RESULT = "x" * 1_000_000
FITTING = MAX_READ_CHARACTERS // len(RESULT)  # so many jobs with this result fit into one read
_BULK = 8


async def ended(engine: Engine, jobs: int) -> list[str]:
    """Create jobs and end them with a long result; return their ids. Job 3 has the key 3."""
    new = [NewJob(f"hash {number}", idempotency_key=f"{number}") for number in range(jobs)]
    ids = [job.job_id for job in await engine.create_many(new)]
    await engine.transition_many(Move(job_id, JobStatus.RUNNING) for job_id in ids)
    for first in range(0, jobs, _BULK):
        part = ids[first : first + _BULK]
        moves = [Move(job_id, JobStatus.COMPLETED, result=RESULT) for job_id in part]
        await engine.transition_many(moves)
    return ids


class CountingStorage(PlainStorage):
    """Counts the jobs that it gives in each checkout; fails in one of them, if a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.checked_out: list[int] = []
        self.errors: dict[int, Exception] = {}  # by the number of the checkout, from 0

    def forget(self) -> None:
        """Count from 0 again."""
        self.checked_out.clear()

    async def checkout(self, names: Names) -> CheckedOut:
        if (error := self.errors.get(len(self.checked_out))) is not None:
            raise error
        found = await super().checkout(names)
        records: list[Record] = [job for part in found.parts for job in part.jobs.values()]
        assert sum(record.characters for record in records) <= MAX_READ_CHARACTERS
        self.checked_out.append(len(records))
        return found
