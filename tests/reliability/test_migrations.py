"""Row 23: older, newer and foreign versions of the schema, and kill -9 in a slow migration.

An older file is migrated as a whole or not at all; a newer or a foreign one is refused and left
unchanged, byte for byte. A new file is made as a whole or not at all, too.
"""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from engine import Job, JobStatus, Move, NewJob, StorageFormatError, SyncJobEngine
from engine.storage.sqlite.reading import SELECT_JOBS, SELECT_TRANSITIONS
from engine.storage.sqlite.schema import APPLICATION_ID, STEPS
from tests.files import as_killed
from tests.reliability.programs.migrating import NEWER_STEPS, NOTES_OF_A_JOB, become_newer
from tests.reliability.programs.zygote import MOST_SECONDS, Life, Zygote, zygote
from tests.systems import needs_fork
from tests.tries import report, rounds, seeded, tries

FULL_KILLS = 100
LIVES = 3
JOBS = 1_500
OLD, NEW = len(STEPS), len(NEWER_STEPS)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of the old version with many jobs."""
    path = tmp_path_factory.mktemp("old") / "jobs.db"
    with SyncJobEngine(path) as engine:
        jobs = engine.create_many(NewJob(f"input {number}") for number in range(JOBS))
        engine.transition_many(Move(job.job_id, JobStatus.RUNNING) for job in jobs[::2])
        engine.transition_many(Move(job.job_id, JobStatus.COMPLETED) for job in jobs[::4])
    return path


def _rows(path: Path) -> list[object]:
    with closing(sqlite3.connect(path)) as connection:
        return [
            connection.execute(f"{select} ORDER BY 1").fetchall()
            for select in (SELECT_JOBS, SELECT_TRANSITIONS)
        ]


def _version(path: Path) -> int:
    """Return the version of a file, and check that all of it has that version."""
    with closing(sqlite3.connect(path)) as connection:
        [version] = connection.execute("PRAGMA user_version").fetchone()
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        columns = {row[1] for row in connection.execute("PRAGMA table_info (jobs)")}
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        newer = {"notes", "notes_by_job", "notes_by_text"}
        if version == OLD:
            assert "weight" not in columns
            assert not tables & newer
        else:
            assert version == NEW
            assert "weight" in columns
            assert tables >= newer
            jobs = "FROM jobs WHERE input_hash != 'goes on'"
            unset = f"SELECT count(*) {jobs} AND weight != position % 7"
            assert connection.execute(unset).fetchone() == (0,)
            count = connection.execute(f"SELECT count(*) {jobs}").fetchone()[0]
            notes = connection.execute("SELECT count(*) FROM notes").fetchone()[0]
            assert notes == NOTES_OF_A_JOB * count
    return int(version)


def _jobs(path: Path) -> list[Job]:
    """Open a file with an engine in this process, and use it."""
    with SyncJobEngine(path) as engine:
        jobs = list(engine.list_jobs(limit=1_000).jobs)
        engine.create("goes on")
    return jobs


def _live(
    lane: Zygote, path: Path, seconds: float | None, seen: Counter[str], *, halved: bool = False
) -> Life:
    """Let a process open a file, and kill it some time after it began; None lets it live."""
    order = {"path": str(path), "halved": halved}
    if seconds is None:
        life = lane.child(order, MOST_SECONDS)
    else:
        life = lane.child(order, seconds, counted_from=["opening"])
    assert life.status in ({0} if seconds is None else {0, -9})
    seen["it ended" if life.status == 0 else f"killed after {life.said[-1]}"] += 1
    return life


def _copy(old: Path, folder: Path) -> Path:
    folder.mkdir()
    return Path(shutil.copy(old, folder))


def _fastest(
    lane: Zygote, paths: Iterable[Path], seen: Counter[str], *, halved: bool = False
) -> float:
    """Let processes open files and live; return the seconds of the fastest one."""
    return min(_live(lane, path, None, seen, halved=halved).seconds for path in paths)


@needs_fork
def test_a_kill_in_a_migration_leaves_a_whole_file(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random, kills, seen = seeded("migrations"), tries(FULL_KILLS, least=5), Counter[str]()
    rows, shown = _rows(old), _jobs(Path(shutil.copy(old, tmp_path)))
    both = [f"killed, version {version}" for version in (OLD, NEW)]
    with zygote("migrating") as lane:
        lives = [_copy(old, tmp_path / f"life {number}") for number in range(LIVES)]
        longest = _fastest(lane, lives, seen)
        assert [(_version(path), _rows(path)) for path in lives] == [(NEW, rows)] * LIVES
        for round_number in rounds():
            for number in range(kills):
                path = _copy(old, tmp_path / str(number))
                seconds = longest * (number + random.random()) / kills  # spread evenly
                seconds *= 1 + round_number  # the machine is slower than it was at first
                life = _live(lane, path, seconds, seen)
                image = as_killed(path, path.parent / "image")
                version = _version(image)
                seen[f"killed, version {version}"] += life.status != 0
                assert _rows(image) == rows
                if version == OLD:
                    assert _jobs(as_killed(path, path.parent / "old")) == shown
                with monkeypatch.context() as patch:
                    become_newer(patch)
                    assert _jobs(path) == shown
                assert _version(path) == NEW
                shutil.rmtree(path.parent)
            if all(seen[each] for each in both):
                break
    report(f"rounds of {kills} kills within {longest:.3f} s: {dict(seen)}")


@pytest.mark.thorough
@needs_fork
def test_a_migration_in_two_halves_is_caught(old: Path, tmp_path: Path) -> None:
    random, seen = seeded("migrations, planted"), Counter[str]()
    with zygote("migrating") as lane:
        lives = [_copy(old, tmp_path / f"life {number}") for number in range(LIVES)]
        longest = _fastest(lane, lives, seen, halved=True)
        for number in rounds():
            for half in range(10):
                path = _copy(old, tmp_path / f"{number} {half}")
                _live(lane, path, random.uniform(0, longest), seen, halved=True)
                try:
                    seen[f"version {_version(as_killed(path, path.parent / 'image'))}"] += 1
                except AssertionError:
                    seen["neither"] += 1
            if seen["neither"]:
                break
    report(f"kills within {longest:.3f} s: {dict(seen)}")


@needs_fork
def test_a_kill_in_the_making_of_a_file_leaves_what_the_next_start_copes_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random, kills, seen = seeded("new files"), tries(FULL_KILLS, least=5), Counter[str]()
    become_newer(monkeypatch)
    with zygote("migrating") as lane:
        longest = _fastest(lane, (tmp_path / f"{number}.db" for number in range(LIVES)), seen)
        for round_number in rounds():
            for number in range(kills):
                path = tmp_path / f"{round_number} {number}" / "jobs.db"
                path.parent.mkdir()
                _live(lane, path, random.uniform(0.5, 1 + round_number) * longest, seen)
                left = {each.name.removeprefix("jobs.db") for each in path.parent.iterdir()}
                seen[f"left: {sorted(left)}"] += 1
                if path.exists():
                    assert _version(as_killed(path, path.parent / "image")) == NEW
                    shutil.rmtree(path.parent / "image")
                assert _jobs(path) == []
                assert _version(path) == NEW
                assert {each.name for each in path.parent.iterdir()} == {"jobs.db", "jobs.db-lock"}
            if len([each for each in seen if each.startswith("left")]) > 1:
                break
    report(f"rounds of {kills} kills: {dict(sorted(seen.items()))}")


def test_an_older_file_is_migrated(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copy(old, tmp_path))
    become_newer(monkeypatch)
    with SyncJobEngine(path) as engine:
        assert engine.count() == JOBS
    assert _version(path) == NEW
    assert _rows(path) == _rows(old)


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("user_version", NEW), ("user_version", 2**31 - 1), ("application_id", APPLICATION_ID + 1)],
)
@pytest.mark.parametrize("in_the_log", [False, True])
def test_a_newer_or_foreign_file_is_refused_and_left_as_it_is(
    old: Path, tmp_path: Path, pragma: str, value: int, *, in_the_log: bool
) -> None:
    changed = Path(shutil.copy(old, tmp_path))
    with closing(sqlite3.connect(changed)) as connection:
        connection.execute(f"PRAGMA {pragma} = {value}")
        connection.commit()
        if in_the_log:
            path = as_killed(changed, tmp_path / "left")  # as by a process that was killed
    if not in_the_log:
        path = as_killed(changed, tmp_path / "left")
    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    assert len(before) == 1 + in_the_log
    with pytest.raises(StorageFormatError):
        SyncJobEngine(path)
    after = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    assert after.items() >= before.items()
    assert after.keys() - before.keys() <= {"jobs.db-lock", "jobs.db-shm"}
