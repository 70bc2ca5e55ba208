"""Rows 1 and 46, and row 19 across a crash: kill -9 of a writing process, at any moment.

A process opens a file, writes, closes it, and begins again, until it is killed: while it opens the
file, commits, moves the log into the database, or closes. It reports its answers over a pipe. After
each kill, SQLite alone reads the file as the kill has left it. Then the next process resumes, and
repeats the calls that the one before had begun.
"""

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from engine import NewJob, SyncJobEngine
from tests.files import as_killed
from tests.reliability.disk.audit import KnownPauses, problems_of_moves
from tests.reliability.disk.stored import DATABASE, StoredJob, read
from tests.reliability.programs.writer import key_of, text_of
from tests.reliability.programs.zygote import Life, Order, Zygote, zygote
from tests.systems import needs_fork
from tests.tries import report, rounds, seeded, tries

pytestmark = needs_fork

FULL_KILLS = 1_000
"""With each kind of callers."""
LANES = 2
"""The number of files that are written at the same time."""
KILLS_OF_A_FILE = 25
MOST_SECONDS_OF = {"opening": 0.02, "open": 0.07, "closing": 0.006}
REPEATS = 4
PAGE = 4_096
JOBS_IN_THE_LOG = 100


@dataclass
class File:
    """The record of one file, and its faults.

    Attributes:
        told: The last answer about each batch: its version, status and job ids.
        asked: The input hashes of single jobs that the newest process began to create.
        pauses: What is known of its pauses.
        seen: The counts of the events.
        problems: The faults.
    """

    folder: Path
    told: dict[str, tuple[int, str, list[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    pauses: KnownPauses = field(default_factory=KnownPauses)
    seen: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    """The ids that the file has for jobs which a process may have created with a key."""

    def __post_init__(self) -> None:
        self.folder.mkdir()

    @property
    def path(self) -> Path:
        return self.folder / DATABASE

    def order(self, name: str, callers: str, random: Random, storage: str) -> Order:
        """Return the order for the next process."""
        newest = self.asked[-REPEATS:]
        repeat = [*newest, *random.sample(self.asked, min(REPEATS, len(self.asked)))]
        return {
            "path": str(self.path),
            "name": name,
            "callers": callers,
            "storage": storage,
            "repeat": list(dict.fromkeys(repeat)),
        }

    def killed(self, name: str, life: Life) -> None:
        """Compare the file with the answers to a killed process."""
        self.seen["kills"] += 1
        phase, calls = "nothing", Counter[str]()
        self.asked = []
        for kind, *values in life.said:
            self.seen[f"lines: {kind}"] += 1
            match kind, values:
                case "phase", [phase]:
                    pass
                case "asked", [input_hash]:
                    self.asked.append(input_hash)
                case "told", [batch, version, status, job_ids]:
                    self.told[batch] = (version, status, job_ids)
                    calls[batch.rpartition(" ")[0]] += 1
                case "repeated", [input_hash, job_id, version]:
                    self._repeated(input_hash, job_id)
                case "pausing", [reason]:
                    self.pauses.changed[reason] = None
                case "paused", [reason, changed]:
                    self.pauses.changed[reason] = changed
                case _:
                    self.problems.append(f"{name} said {kind} {values}")
        self.seen[f"killed: {phase}"] += 1
        batches = self._look()
        self._compare(batches)
        self.problems.extend(self._in_flight(name, batches, calls))

    def _repeated(self, input_hash: str, job_id: str) -> None:
        """Check that a repeated creation returned the job that the file had."""
        if input_hash in self.ids and self.ids[input_hash] != job_id:
            self.problems.append(f"lost its key: {input_hash} is {job_id}, too")
        self.seen["found by its key" if input_hash in self.ids else "created after all"] += 1

    def _look(self) -> dict[str, list[StoredJob]]:
        """Return the batches in the file; read a copy, because SQLite would tidy it up."""
        image = self.folder / "image"
        shutil.rmtree(image, ignore_errors=True)
        if not as_killed(self.path, image).exists():
            return {}
        self.seen["log was moved"] += _rounds(image / f"{DATABASE}-wal") > 0
        stored, problems = read(image)
        self.problems += [*problems, *problems_of_moves(image), *self.pauses.problems(image)]
        self.ids = {each: stored[each].job_id for each in self.asked if each in stored}
        batches: dict[str, list[StoredJob]] = defaultdict(list)
        for input_hash, job in stored.items():
            batch, _, place = input_hash.rpartition(" ")
            batches[batch].append(job)
            self.problems.extend(_wrong(input_hash, job))
            if place.startswith("0/"):
                self._size(batch, int(place[2:]), stored)
        return batches

    def _size(self, batch: str, size: int, stored: dict[str, StoredJob]) -> None:
        """Check that a batch is there as a whole."""
        jobs = [stored.get(f"{batch} {index}/{size}") for index in range(size)]
        states = {None if job is None else (job.version, job.status) for job in jobs}
        if len(states) > 1:
            self.problems.append(f"half a batch: {batch} is {states}")
        self.seen["batches of many"] += size > 1

    def _compare(self, batches: dict[str, list[StoredJob]]) -> None:
        """Check that every acknowledged change is there."""
        for batch, (version, status, job_ids) in self.told.items():
            jobs = batches.get(batch, [])
            if {job.job_id for job in jobs} != set(job_ids):
                self.problems.append(f"lost: {batch}")
            for job in jobs:
                if len(job.moves) < version or job.moves[version - 1][1] != status:
                    self.problems.append(f"lost: {batch} is not {status}, but {job.moves}")

    def _in_flight(
        self, name: str, batches: dict[str, list[StoredJob]], calls: Counter[str]
    ) -> Iterator[str]:
        """Check that each caller of a process has at most one call without an answer."""
        made = Counter[str]()
        for batch, jobs in batches.items():
            if batch.startswith(f"{name} "):
                made[batch.rpartition(" ")[0]] += jobs[0].version
        for caller in made.keys() | calls.keys():
            if made[caller] - calls[caller] not in {0, 1}:
                yield f"lost: {caller} has {made[caller]} calls, {calls[caller]} were answered"
            self.seen["applied, not answered"] += made[caller] > calls[caller]

    def reopen(self) -> None:
        """Compare an engine's answers about the file with the earlier ones."""
        with SyncJobEngine(self.path) as engine:
            for batch, (version, status, job_ids) in self.told.items():
                for job in engine.get_many(job_ids):
                    if job.version < version or (job.version == version and job.status != status):
                        self.problems.append(f"shown wrongly: {batch} as {job!r}")
            last = engine.statistics().last_sequence
        self.seen["transitions"] += last
        self.seen["pauses applied, not answered"] += len(self.pauses.applied)


def _rounds(log: Path) -> int:
    """Return the number of restarts of a log (https://www.sqlite.org/fileformat2.html, 4.1)."""
    return int.from_bytes(log.read_bytes()[12:16], "big") if log.exists() else 0


def _wrong(input_hash: str, job: StoredJob) -> Iterator[str]:
    text = text_of(input_hash, job.version)
    result = text if job.status == "completed" else None
    error = text if job.status == "failed" else None
    if (job.result, job.error) != (result, error):
        yield f"wrong text: {input_hash} has {job.result!r} and {job.error!r}"
    if job.idempotency_key != key_of(input_hash):
        yield f"wrong key: {input_hash} has {job.idempotency_key!r}"


def _lane(lane: Zygote, folder: Path, callers: str, kills: int, storage: str) -> list[File]:
    """Kill processes one after another, with a new file now and then."""
    random = seeded(f"kill, {callers}, {folder.parent.name}, {folder.name}")
    files: list[File] = []
    for number in range(kills):
        if number % KILLS_OF_A_FILE == 0:
            files.append(File(folder / f"file {len(files)}"))
        file, name = files[-1], f"{folder.name} {number}"
        order = file.order(name, callers, random, storage)
        life = _life(lane, order, random)
        assert life.status == -9, life
        file.killed(name, life)
    return files


def _life(lane: Zygote, order: Order, random: Random) -> Life:
    """Run a process until it is killed, some time after it has begun a certain phase."""
    [phase] = random.choices(list(MOST_SECONDS_OF), [2, 6, 2])
    seconds = random.uniform(0, MOST_SECONDS_OF[phase])
    return lane.child(order, seconds, counted_from=["phase", phase])


def _kill(folder: Path, callers: str, kills: int, *, storage: str = "sound") -> list[File]:
    """Kill so many processes, several at a time."""

    def in_lane(number: int) -> list[File]:
        path = folder / f"lane{number}"
        path.mkdir(parents=True)
        with zygote("writer") as lane:
            return _lane(lane, path, callers, kills // LANES, storage)

    with ThreadPoolExecutor(LANES) as threads:
        return [file for each in threads.map(in_lane, range(LANES)) for file in each]


def _seen(what: str, files: list[File]) -> Counter[str]:
    seen: Counter[str] = Counter()
    for file in files:
        seen += file.seen
    report(f"{what}: {len(files)} files, {dict(sorted(seen.items()))}")
    return seen


@pytest.mark.parametrize(
    ("callers", "storage"),
    [
        ("asyncio", "sound"),
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in (("trio", "sound"), ("threads", "sound"), ("asyncio", "inline"))
        ),
    ],
)
def test_what_was_acknowledged_survives_kill_9(callers: str, storage: str, tmp_path: Path) -> None:
    kills = LANES * tries(FULL_KILLS // LANES)
    seen: Counter[str] = Counter()
    for number in rounds():
        files = _kill(tmp_path / f"round {number}", callers, kills, storage=storage)
        for file in files:
            file.reopen()
        seen += _seen(f"kill, {callers}, {storage}", files)
        assert [problem for file in files for problem in file.problems] == []
        assert seen["kills"] == kills * (number + 1)
        if _is_enough(seen, kills):
            break


def _is_enough(seen: Counter[str], kills: int) -> bool:
    return (
        min(seen[f"killed: {phase}"] for phase in MOST_SECONDS_OF) > kills / 50
        and min(seen["applied, not answered"], seen["found by its key"]) > kills / 20
        and seen["pauses applied, not answered"] >= kills // 100
        and seen["lines: pausing"] > seen["lines: paused"] > kills
        and min(seen["lines: told"], seen["batches of many"]) > kills
        and seen["log was moved"] > kills / 20
    )


def test_a_file_whose_log_was_being_moved_is_whole(tmp_path: Path) -> None:
    """A checkpoint moves the log page by page, and the first page holds their number."""
    path = tmp_path / "whole.db"
    with SyncJobEngine(path) as engine:
        engine.create_many(NewJob(f"input {number}") for number in range(JOBS_IN_THE_LOG))
        before = path.read_bytes()
        log = path.with_name(f"{path.name}-wal").read_bytes()
    after = path.read_bytes()  # the end of the engine has moved all of the log
    pages = len(after) // PAGE
    for moved in range(pages + 1):
        image = tmp_path / f"{moved}.db"
        image.write_bytes(after[: moved * PAGE] + before[moved * PAGE :])
        image.with_name(f"{image.name}-wal").write_bytes(log)
        with SyncJobEngine(image) as engine:
            assert engine.count() == JOBS_IN_THE_LOG
    report(f"{pages + 1} moments of a checkpoint")
    assert pages > 10


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("storage", "told"),
    [
        ("early", "lost"),
        ("split", "half a batch"),
        ("late audit", "the audit"),
        ("late pauses", "pauses: {"),
        ("early pauses", "pauses: 0 lines"),
    ],
)
def test_a_storage_with_a_planted_bug_is_caught(storage: str, told: str, tmp_path: Path) -> None:
    for number in rounds():
        files = _kill(tmp_path / f"round {number}", "asyncio", 10, storage=storage)
        _seen(f"kill, planted: {storage}", files)
        found = [each for file in files for each in file.problems if each.startswith(told)]
        report(f"{len(found)} times: {told}")
        if found:
            break
