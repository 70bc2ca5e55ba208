"""Row 5: flipped bits.

A bit is flipped anywhere in a file of live and ended jobs. Then the file can't be opened; or each
answer of the engine is right, or an error that names the damage; or something is missing, and
``python -m engine check`` reports it. No job is ever shown with wrong values.

A flip in the log of a killed process is different: SQLite reads a log up to the first broken frame,
as it must for a log that was written in part. The engine then shows the state after an earlier
commit.
"""

import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine import (
    Job,
    JobDamagedError,
    JobStatus,
    Move,
    NewJob,
    StorageError,
    SyncJobEngine,
)
from engine.storage.sqlite.reading import SELECT_ATTEMPTS, SELECT_JOBS, SELECT_TRANSITIONS
from tests.files import as_killed
from tests.reliability.examination import Examination, Sound, flip_bit, make_sound, reported
from tests.tries import report, seeded, tries

FULL_FLIPS = 1_000
FULL_LOG_FLIPS = 300
LOGGED_COMMITS = 30
SELECTS = [SELECT_JOBS, SELECT_TRANSITIONS, SELECT_ATTEMPTS]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    return make_sound(tmp_path_factory.mktemp("sound") / "jobs.db")


def _plainly_read(path: Path) -> object:
    """Return all values that a program without checksums reads."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        connection.text_factory = bytes
        return [connection.execute(f"{select} ORDER BY 1").fetchall() for select in SELECTS]


def _unnoticed(sound: Sound, path: Path) -> bool:
    """Return whether SQLite alone reads other values than the written ones."""
    try:
        return _plainly_read(path) != _plainly_read(sound.path)
    except (sqlite3.Error, UnicodeDecodeError):  # a message may quote the damaged text
        return False


def _flips(sound: Sound, folder: Path, count: int) -> tuple[Counter[str], list[str]]:
    """Flip bits of copies, one each; return the counts and the faults."""
    random = seeded("flipped bits")
    seen: Counter[str] = Counter()
    problems: list[str] = []
    for number in range(count):
        path = sound.copy(folder / str(number))
        place = flip_bit(path, random)
        damaged = path.read_bytes()
        seen["other values, if read plainly"] += _unnoticed(sound, path)
        found = Examination(sound, path)
        seen["not opened"] += not found.opened
        seen["answered in part"] += found.opened and found.refused > 0
        seen["something missing"] += bool(found.missing)
        seen["nothing to see"] += not (found.refused or found.missing or found.wrong)
        problems += [f"{place}: {each}" for each in found.wrong[:3]]
        if found.missing:
            path.write_bytes(damaged)
            if not reported(path):
                problems.append(f"{place}: not reported: {found.missing[:3]}")
        shutil.rmtree(path.parent)
    report(f"{count} flips: {dict(seen)}")
    return seen, problems


def test_a_flipped_bit_is_never_shown_as_a_job(sound: Sound, tmp_path: Path) -> None:
    count = tries(FULL_FLIPS, least=40)  # some of them in the pages that an opening reads
    seen, problems = _flips(sound, tmp_path, count)
    assert problems == []
    assert seen["other values, if read plainly"] > count / 8
    assert seen["answered in part"] > count / 8
    assert seen["not opened"] > 0


def test_a_flipped_bit_in_the_index_of_the_history_is_never_shown(
    sound: Sound, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(sound.path)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'transitions_by_job'"
        [[page]] = connection.execute(query).fetchall()
        [[size]] = connection.execute("PRAGMA page_size").fetchall()
    content, begin = sound.path.read_bytes(), (page - 1) * size
    places = [each for each in range(begin, begin + size) if content[each]]
    problems: list[str] = []
    for place in seeded("the index").sample(places, tries(600, least=12)):
        path = sound.copy(tmp_path / str(place))
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        problems += [f"byte {place}: {each}" for each in Examination(sound, path).wrong[:1]]
    assert problems == []


@pytest.mark.thorough
def test_without_checksums_wrong_jobs_are_shown(
    sound: Sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.storage.sqlite.stored.check_row", lambda _row: None)
    _, problems = _flips(sound, tmp_path, 60)
    wrong = [problem for problem in problems if "Job(" in problem]
    report(f"{len(wrong)} wrong jobs were shown")
    assert len(wrong) > 5


def test_a_damaged_job_is_reported_and_the_others_are_served(sound: Sound, tmp_path: Path) -> None:
    path = sound.copy(tmp_path / "one")
    damaged = unpaid_job_with_key(sound)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE jobs SET input_hash = 'inqut' WHERE job_id = ?", (damaged.job_id,)
        )
    with SyncJobEngine(path) as engine:
        with pytest.raises(JobDamagedError) as told:
            engine.get(damaged.job_id)
        with pytest.raises(JobDamagedError):
            engine.transition(damaged.job_id, JobStatus.RUNNING)
        with pytest.raises(JobDamagedError):
            engine.create(damaged.input_hash, idempotency_key=damaged.idempotency_key)
        assert told.value.job_id == damaged.job_id
        page = engine.list_jobs(limit=1_000)
        others = {each: job for each, job in sound.jobs.items() if job != damaged}
        assert {job.job_id: job for job in page.jobs} == others
        assert page.damaged == (damaged.job_id,)
        assert engine.get_many(others) == list(others.values())
        engine.create("goes on")
    assert reported(path)


def unpaid_job_with_key(sound: Sound) -> Job:
    """Return the first unpaid job with a key."""
    jobs = sound.jobs.values()
    return next(
        job for job in jobs if job.idempotency_key and job.status is JobStatus.AWAITING_PAYMENT
    )


# The log.


@dataclass
class Logged:
    """A file as a killed process leaves it, and an engine's answers after each commit."""

    path: Path
    shown: list[dict[str, Job]]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """Return a file whose log has some commits."""
    folder = tmp_path_factory.mktemp("logged")
    path = folder / "jobs.db"
    SyncJobEngine(path).close()
    shown: list[dict[str, Job]] = [{}]
    with SyncJobEngine(path) as engine:
        for number in range(LOGGED_COMMITS):
            jobs = list(shown[-1].values())
            new = (NewJob(f"input {number}"), NewJob(f"and {number}"))
            changed = (
                engine.create_many(new)
                if number % 3 < 2
                else engine.transition_many(
                    Move(job.job_id, JobStatus.RUNNING) for job in jobs[-4:]
                )
            )
            shown.append(shown[-1] | {job.job_id: job for job in changed})
        killed = as_killed(path, folder / "killed")
    return Logged(killed, shown)


def test_a_flipped_bit_in_the_log_shows_what_was_there_earlier(
    logged: Logged, tmp_path: Path
) -> None:
    random, count = seeded("flipped bits of a log"), tries(FULL_LOG_FLIPS, least=30)
    lost: Counter[int] = Counter()
    for number in range(count):
        folder = tmp_path / str(number)
        shutil.copytree(logged.path.parent, folder)
        flip_bit(folder / "jobs.db-wal", random)
        try:
            with SyncJobEngine(folder / "jobs.db") as engine:
                jobs = {job.job_id: job for job in engine.list_jobs(limit=1_000).jobs}
                assert engine.count() == len(jobs)
        except StorageError:
            lost[-1] += 1
            continue
        assert jobs in logged.shown
        lost[LOGGED_COMMITS - logged.shown.index(jobs)] += 1
        assert not reported(folder / "jobs.db")
    report(f"{count} flips in a log: this often so many commits were lost: {sorted(lost.items())}")
    assert len(lost) > LOGGED_COMMITS / 4
