"""A file with an engine's answers about it, and the answers about a damaged copy."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import anyio

from engine import (
    FailedAttempt,
    IdempotencyConflictError,
    Job,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    Move,
    NewJob,
    StorageError,
    SyncJobEngine,
    Transition,
)
from engine.storage.sqlite.check import check_file
from tests.unit.claiming import claimed, release, token_of

JOBS = 40
PAGE = 4_096
HEADER = 100
"""The bytes of SQLite's header at the start of a file (fileformat2.html, 1.3)."""
STATUSES = [None, *JobStatus]


@dataclass
class Sound:
    """A file before it was damaged, and an engine's answers about it."""

    path: Path
    jobs: dict[str, Job]
    histories: dict[str, list[Transition]]
    attempts: dict[str, list[FailedAttempt]]

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def copy(self, folder: Path) -> Path:
        """Return the path of a copy."""
        folder.mkdir()
        return Path(shutil.copy(self.path, folder / "jobs.db"))


def make_sound(path: Path) -> Sound:
    """Make a cleanly closed file; half of its jobs have ended, and half have a key."""
    with SyncJobEngine(path) as engine:
        jobs = engine.create_many(
            NewJob(f"input {number}", idempotency_key=f"key {number}" if number % 2 else None)
            for number in range(JOBS)
        )
        running = jobs[JOBS // 4 :]
        engine.transition_many(Move(job.job_id, JobStatus.RUNNING) for job in running)
        for number, job in enumerate(jobs[JOBS // 2 :]):
            if number % 2:
                engine.transition(job.job_id, JobStatus.FAILED, error=f"no {number} " * 40)
            else:
                engine.transition(job.job_id, JobStatus.COMPLETED, result=f"yes {number} " * 40)
    anyio.run(_fail_some, path)
    with SyncJobEngine(path) as engine:
        now = engine.get_many(job.job_id for job in jobs)
        histories = {job.job_id: engine.history(job.job_id) for job in now}
        attempts = {job.job_id: engine.attempts(job.job_id) for job in now}
    return Sound(path, {job.job_id: job for job in now}, histories, attempts)


async def _fail_some(path: Path) -> None:
    """Let two attempts of each running job fail."""
    async with JobEngine(path) as engine:
        for _ in range(2):
            for record in await claimed(engine, JOBS):
                await release(engine, record.job_id, token_of(record), failed=True)


class Examination:
    """An engine's answers about a damaged file, compared with the right ones.

    Attributes:
        wrong: The wrong answers.
        missing: The missing jobs.
        refused: The number of calls that got an error about damage.
    """

    def __init__(self, sound: Sound, path: Path) -> None:
        self.wrong: list[str] = []
        self.missing: list[str] = []
        self.refused = 0
        self.opened = False
        self._sound = sound
        with self._asking("open"), SyncJobEngine(path) as engine:
            self.opened = True
            self._examine(engine)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Count an error as an answer."""
        try:
            yield
        except StorageError:
            self.refused += 1
        except (JobNotFoundError, IdempotencyConflictError) as error:
            found = self.missing if isinstance(error, JobNotFoundError) else self.wrong
            found.append(f"{what}: {error!r}")
        except Exception as error:  # noqa: BLE001 - each one is an answer, and not a right one
            self.wrong.append(f"{what}: {error!r}")

    def _examine(self, engine: SyncJobEngine) -> None:
        for job in self._sound.jobs.values():
            with self._asking("get"):
                self._same("get", engine.get(job.job_id), job)
            with self._asking("history"):
                self._compare_history(engine.history(job.job_id), job)
            with self._asking("attempts"):
                self._compare_attempts(engine.attempts(job.job_id), job)
        for status in STATUSES:
            with self._asking("list"):
                self._list(engine, status)
            with self._asking("count"):
                self._compare_count(f"the count of {status}", engine.count(status), status)
        for job in self._sound.jobs.values():
            if job.idempotency_key is not None:
                with self._asking("key"):
                    self._repeat(engine, job, job.idempotency_key)

    def _with_status(self, status: JobStatus | None) -> dict[str, Job]:
        jobs = self._sound.jobs
        return {each: jobs[each] for each in jobs if status in {None, jobs[each].status}}

    def _same(self, what: str, answer: object, right: object) -> None:
        if answer != right:
            self.wrong.append(f"{what}: {answer!r}, not {right!r}")

    def _compare_history(self, lines: list[Transition], job: Job) -> None:
        right = self._sound.histories[job.job_id]
        if not all(line in right for line in lines):
            self.wrong.append(f"history: {lines}, not {right}")
        elif lines != right:
            self.missing.append(f"lines of the history of {job.job_id}")

    def _compare_attempts(self, attempts: list[FailedAttempt], job: Job) -> None:
        right = self._sound.attempts[job.job_id]
        if not all(each in right for each in attempts):
            self.wrong.append(f"attempts: {attempts}, not {right}")
        elif attempts != right:
            self.missing.append(f"failed attempts of {job.job_id}")

    def _list(self, engine: SyncJobEngine, status: JobStatus | None) -> None:
        page = engine.list_jobs(status, limit=1_000)
        right = self._with_status(status)
        for job in page.jobs:
            self._same("list", job, right.get(job.job_id))
        self.refused += len(page.damaged)
        listed = len(page.jobs) + len(page.damaged)
        self._compare_count(f"the list of {status}, {page!r}", listed, status)

    def _compare_count(self, what: str, count: int, status: JobStatus | None) -> None:
        """Judge a count: fewer jobs than there were are missing, and more are wrong."""
        right = len(self._with_status(status))
        if count != right:
            found = self.missing if count < right else self.wrong
            found.append(f"{what}: {count} jobs, not {right}")

    def _repeat(self, engine: SyncJobEngine, job: Job, key: str) -> None:
        """Repeat a creation: a new job means that the old one was not found."""
        again = engine.create(job.input_hash, idempotency_key=key)
        if again.job_id in self._sound.jobs:
            self._same("key", again, job)
        else:
            self.missing.append(f"the job with the key {key}")


def flip_bit(path: Path, random: Random) -> str:
    """Flip a bit anywhere, but mostly outside of empty space."""
    content = bytearray(path.read_bytes())
    end = HEADER if random.random() < 0.1 else len(content)
    place = random.randrange(end)
    while content[place] == 0 and random.random() < 0.8:
        place = random.randrange(end)
    bit = random.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place}"


def reported(path: Path) -> bool:
    """Return whether a check of the file finds a problem."""
    try:
        return bool(check_file(path, lambda _done, _of: None).findings)
    except StorageError:
        return True
