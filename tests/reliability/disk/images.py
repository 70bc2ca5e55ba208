"""Images of a disk: its contents after a failure, compared with the answers of callers."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random

from engine import EngineError, Job, JobEngine, SQLiteStorage
from tests.reliability.disk.account import Account, brief
from tests.reliability.disk.recording import Recording, Unsynced
from tests.reliability.disk.stored import DATABASE, read

AFTER_THE_RESTART = "after the restart"
OPERATIONS_BEFORE = 7
"""An answer."""


class Images:
    """Makes images of one recording and checks them.

    Args:
        folder: The place of the images, one after another.
        restart_every: Start an engine on one in this many; SQLite alone reads the others.

    Attributes:
        made: The number of images.
        seen: The number of images of each kind, and of all their jobs.
        problems: Their faults.
    """

    def __init__(self, folder: Path, random: Random, *, restart_every: int) -> None:
        self._folder = folder
        self._random = random
        self._restart_every = restart_every
        self.seen: Counter[str] = Counter()
        self.problems: list[str] = []
        self.made = 0
        folder.mkdir()

    async def check(
        self, recording: Recording, account: Account, kinds: Sequence[Unsynced], count: int
    ) -> None:
        """Make and check so many images, half of them around the outcome of a commit."""
        self.seen["pages moved"] += recording.writes(DATABASE)
        answers = account.answers() or [0]
        for number in range(count):
            kind = self._random.choice(kinds)
            moment = self._random.randrange(recording.moment + 1)
            if number % 4 == 1 and account.failures:
                moment = self._random.choice(account.failures)
                kind = self._random.choice([kind, kinds[-1]])
            elif number % 2:
                around = self._random.choice([0, 0, 1, -self._random.randrange(OPERATIONS_BEFORE)])
                moment = min(max(self._random.choice(answers) + around, 0), recording.moment)
            self._put(recording.image(moment, kind, self._random))
            await self._check_one(account, moment, kind)

    async def _check_one(self, account: Account, moment: int, kind: Unsynced) -> None:
        self.made += 1
        self.seen[kind.name.lower()] += 1
        problems: list[str] = []
        restarts = self.made % self._restart_every == 0
        if restarts:
            self.seen["restarted"] += 1
            problems.extend(await _restart(self._folder, account.newest(moment)))
        stored, unsound = read(self._folder)
        after = stored.pop(AFTER_THE_RESTART, None)
        if restarts and after is None:
            problems.append("the job that was created after the restart is gone")
        self.seen["jobs"] += len(stored)
        problems.extend([*unsound, *account.problems(stored, moment)])
        self.problems.extend(f"{problem} (moment {moment}, {kind.name})" for problem in problems)

    def _put(self, files: dict[str, bytes]) -> None:
        for path in self._folder.iterdir():
            path.unlink()
        for name, content in files.items():
            (self._folder / name).write_bytes(content)


async def _restart(folder: Path, newest: dict[str, Job]) -> list[str]:
    """Start an engine on an image; return its contradictions to the snapshots of callers."""
    problems: list[str] = []
    try:
        async with JobEngine(SQLiteStorage(folder / DATABASE)) as engine:
            for job in newest.values():
                problems.extend([problem async for problem in _problems(engine, job)])
            before = (await engine.statistics()).last_sequence
            job = await engine.create(AFTER_THE_RESTART)
            [line] = await engine.history(job.job_id)
            if line.sequence != before + 1:
                problems.append(f"the sequence goes on with {line.sequence} after {before}")
    except EngineError as error:
        problems.append(f"restart: {error!r}")
    return problems


async def _problems(engine: JobEngine, job: Job) -> AsyncIterator[str]:
    """Compare a job with the newest snapshot that a caller had of it."""
    found = await engine.get(job.job_id)
    if found.version < job.version or (found.version == job.version and found != job):
        yield f"lost or changed: {brief(job)} is {brief(found)}"
    history = await engine.history(job.job_id)
    if len(history) != found.version or history[-1].to_status != found.status:
        yield f"the history of {brief(found)} is {history!r}"
    if job.idempotency_key is not None:
        again = await engine.create(job.input_hash, idempotency_key=job.idempotency_key)
        if again != found:
            yield f"the key {job.idempotency_key!r} gave {brief(again)}, not {brief(found)}"
