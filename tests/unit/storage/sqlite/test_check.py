"""The check: it passes an engine's file, and finds any change in it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from itertools import groupby
from pathlib import Path

import pytest

from engine import (
    JobStatus,
    NewJob,
    SQLiteStorage,
    StorageError,
    StorageFormatError,
    SyncJobEngine,
)
from engine.storage.findings import Report
from engine.storage.sqlite import audit, check, interruptible
from engine.storage.sqlite.check import check_file
from engine.testing.values import TEXTS
from tests.unit.storage.sqlite.checking import checked, findings, make_file, sealed, written


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("made"))


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path))


def test_what_an_engine_wrote_and_removed_is_sound(path: Path) -> None:
    assert checked(path) == Report(jobs=7, transitions=13, problems=0, findings=())


def test_a_file_without_jobs_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SyncJobEngine(SQLiteStorage(path)):
        pass
    assert checked(path) == Report(jobs=0, transitions=0, problems=0, findings=())


def test_sealing_a_sound_file_changes_nothing(path: Path) -> None:
    sealed(path)
    assert findings(path) == []


def test_a_changed_value_of_a_job_is_found(path: Path) -> None:
    written(path, "UPDATE jobs SET result = 'another' WHERE job_id = 'job-6'")
    [finding] = findings(path)
    assert finding.startswith("job job-6: its checksum is ")


def test_a_changed_value_of_the_audit_is_found(path: Path) -> None:
    written(path, "UPDATE audit SET by = 'them' WHERE number = 3")
    [finding] = findings(path)
    assert finding.startswith("line 3 of the audit: its checksum is ")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "DELETE FROM audit WHERE number = 3",
            "line 4 of the audit: the line before it is missing",
        ),
        (
            "UPDATE audit SET arguments = '[]' WHERE number = 3",
            "line 3 of the audit: its arguments can't be '[]'",
        ),
        (
            "UPDATE audit SET arguments = '{' WHERE number = 3",
            "line 3 of the audit: its arguments can't be '{'",
        ),
        (
            "UPDATE audit SET at = 'noon' WHERE number = 3",
            "line 3 of the audit: a value can't be: Invalid RFC3339 encoded datetime",
        ),
        (
            "UPDATE audit SET by = x'00' WHERE number = 3",
            "line 3 of the audit: a value can't be: Expected `str`, got `bytes` - at `by`",
        ),
    ],
)
def test_what_no_engine_writes_into_the_audit_is_found(
    path: Path, statement: str, expected: str
) -> None:
    written(path, statement)
    sealed(path)
    [finding] = findings(path)
    assert finding.startswith(expected)


def test_too_many_lines_of_the_audit_are_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "KEPT_AUDIT_LINES", 100)  # sealing 100,000 takes long
    written(
        path,
        "WITH RECURSIVE more (number) AS (SELECT 7 UNION ALL SELECT number + 1 FROM more "
        "WHERE number < 101) INSERT INTO audit SELECT more.number, at, by, action, job_id, "
        "reason, arguments, 0 FROM more, (SELECT * FROM audit LIMIT 1) AS line",
    )
    sealed(path)
    assert findings(path) == ["the audit: it has 101 lines, and not 100 at most"]


def test_a_changed_value_of_a_transition_is_found(path: Path) -> None:
    written(path, "UPDATE transitions SET to_status = 'running' WHERE sequence = 22")
    assert [finding.partition(" is ")[0] for finding in findings(path)] == [
        "transition 22: its checksum",
        "job job-10: its version",  # is 1, and it has 0 sound transitions
    ]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "UPDATE jobs SET version = 4 WHERE job_id = 'job-6'",
            ["job job-6: its version is 4, and it has 3 sound transitions"],
        ),
        (
            "UPDATE jobs SET status = 'failed' WHERE job_id = 'job-6'",
            ["job job-6: its status is failed, and its history ends with completed"],
        ),
        (
            "UPDATE jobs SET updated_at = '2999-01-01T00:00:00.000000Z' WHERE job_id = 'job-10'",
            ["job job-10: it changed at 2999-01-01T00:00:00.000000Z, and its history ends at "],
        ),
        (
            "UPDATE jobs SET ended_at = '2999-01-01' WHERE job_id = 'job-6'",
            ["job job-6: it ended at 2999-01-01, and changed at "],
        ),
        (
            "UPDATE jobs SET created_at = '1999-01-01T00:00:00.000000Z' WHERE job_id = 'job-10'",
            ["job job-10: it was created at 1999-01-01T00:00:00.000000Z, and its history"],
        ),
        (
            "UPDATE transitions SET at = '1999-01-01T00:00:00.000000Z' WHERE sequence = 13",
            [
                "job job-6: its transition 13 is of 1999-01-01T00:00:00.000000Z, which is before ",
                "job job-6: it started at 2",  # and no transition of it is of that time
            ],
        ),
        (
            "UPDATE transitions SET from_status = 'failed' WHERE sequence = 13",
            ["job job-6: its transition 13 is from failed, not from awaiting_payment"],
        ),
        (
            "UPDATE transitions SET from_status = 'failed' WHERE sequence = 12",
            ["job job-6: its transition 12 is from failed, not from None"],
        ),
        (
            "DELETE FROM transitions WHERE sequence = 22",
            ["job job-10: its version is 1, and it has 0 sound transitions"],
        ),
        (
            "DELETE FROM transitions WHERE sequence = 14",
            [
                "job job-6: its version is 3, and it has 2 sound transitions",
                "transition 15: the transition before it is missing",
            ],
        ),
        (
            "DELETE FROM transitions WHERE sequence = 12",
            [
                "job job-6: its transition 13 is from awaiting_payment, not from None",
                "job job-6: it was created at ",
                "job job-6: its version is 3, and it has 2 sound transitions",
                "transition 13: the transition before it is missing",
            ],
        ),
        (
            "UPDATE transitions SET position = 77 WHERE sequence = 22",
            [
                "job job-10: its version is 1, and it has 0 sound transitions",
                "transition 22: there is no job with its position 77",
            ],
        ),
        (
            "DELETE FROM jobs WHERE job_id = 'job-10'",
            ["transition 22: there is no job with its position 10"],
        ),
        (
            "DELETE FROM jobs WHERE position = 4",
            ["transition 8: there is no job with its position 4"],
        ),
        (
            "UPDATE engine SET value = -1 WHERE name = 'failed_commits'",
            ["note failed_commits: it can't be -1"],
        ),
        (
            "UPDATE engine SET value = 'x' WHERE name = 'failed_commits'",
            ["note failed_commits: it can't be 'x'"],
        ),
        (
            "UPDATE engine SET value = 12 WHERE name = 'last_sequence'",
            ["the notes: transition 12 is there, and was to be removed"],
        ),
        (
            "UPDATE engine SET value = 2 WHERE name = 'last_sequence'",
            [
                "transition 8: the transition before it is missing",
                "transition 12: the transition before",
            ],
        ),
        (
            "UPDATE engine SET value = 0 WHERE name = 'last_position'",
            [
                "the notes: only one of last_sequence and last_position is 0",
                "job 4: the job before it is missing",
                "job 6: the job before it is missing",
            ],
        ),
        (
            "UPDATE engine SET value = '[' WHERE name = 'final_statuses'",
            ["note final_statuses: it can't be '['"],
        ),
        (
            "UPDATE jobs SET ended_at = NULL WHERE job_id = 'job-6'",
            ["job job-6: its status completed is a final one, and its end is None"],
        ),
        (
            "UPDATE jobs SET ended_at = updated_at WHERE job_id = 'job-10'",
            ["job job-10: its status awaiting_payment is no final one, and its end is 2"],
        ),
        (
            "UPDATE jobs SET outcome = NULL WHERE job_id = 'job-6'",
            ["job job-6: its outcome is None, and its end is 2"],
        ),
        (
            "UPDATE jobs SET outcome = 'died' WHERE job_id = 'job-10'",
            ["job job-10: its outcome is died, and its end is None"],
        ),
        (
            "UPDATE jobs SET outcome = 'lost' WHERE job_id = 'job-10'",
            ["job job-10: a value can't be: Invalid enum value 'lost' - at `outcome`"],
        ),
        (
            "UPDATE jobs SET started_at = '2999-01-01T00:00:00.000000Z' WHERE job_id = 'job-6'",
            ["job job-6: it started at 2999-01-01T00:00:00.000000Z, and no transition of it is "],
        ),
        (
            "UPDATE transitions SET by = printf('%257s', 'x') WHERE sequence = 22",
            ["transition 22: a value can't be: ", "job job-10: its version is 1, and it has 0 "],
        ),
        (
            f"UPDATE transitions SET reason = '{'x' * 4_097}' WHERE sequence = 22",  # noqa: S608
            ["transition 22: a value can't be: ", "job job-10: its version is 1, and it has 0 "],
        ),
        (
            "UPDATE jobs SET input = '{' WHERE job_id = 'job-10'",
            ["job job-10: its input can't be '{'"],
        ),
        (
            "UPDATE jobs SET attempt = 1 WHERE job_id = 'job-10'",
            [
                "job job-10: it has an execution without priority",
                "job job-10: it has an execution without fa",
                "job job-10: it has never started, and its newest attempt is 1",
            ],
        ),
        (
            "UPDATE jobs SET cancel_reason = 'x' WHERE job_id = 'job-10'",
            ["job job-10: it has no execution, and its cancel_reason is 'x'"],
        ),
        (
            "DELETE FROM engine WHERE name = 'failed_commits'",
            ["note failed_commits: it is missing or damaged"],
        ),
    ],
)
def test_what_does_not_belong_together_is_found(
    path: Path, statement: str, expected: list[str]
) -> None:
    written(path, statement)
    sealed(path)
    found = findings(path)
    assert len(found) == len(expected), found
    for finding, start in zip(found, expected, strict=True):
        assert finding.startswith(start)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("prompt = 'x'", ["job job-6: its prompt can't be 'x'"]),
        ("answers = ''", ["job job-6: its answers can't be ''"]),
        ("deadlines = ']'", ["job job-6: its deadlines can't be ']'"]),
        (
            "started_at = NULL",
            ["job job-6: it has never started, and its newest attempt is 1"],
        ),
        ("token = 't'", ["job job-6: it has ended, and an attempt has it: 't'"]),
        ("prompt = '{}'", ["job job-6: its prompt can't be '{}'"]),
        ("answers = '[]'", ["job job-6: its answers can't be '[]'"]),
        (
            "deadlines = '{\"running\":-1}'",
            ["job job-6: its deadlines can't be '{\"running\":-1}'"],
        ),
        ("answers = '{}', deadlines = '{\"running\":1}', input = 'null', attempt = 2", []),
    ],
)
def test_an_execution_that_can_not_be_is_found(
    path: Path, values: str, expected: list[str]
) -> None:
    written(path, "UPDATE jobs SET priority = -1, attempt = 1, failures = 0 WHERE position = 6")
    written(path, f"UPDATE jobs SET {values} WHERE position = 6")  # noqa: S608 - from above
    sealed(path)
    assert findings(path) == expected


@pytest.fixture
def with_attempts(path: Path) -> Path:
    """Return the file with two failed attempts of a job."""
    error = "'no paper'"
    values = f"priority = 0, attempt = 3, failures = 2, last_error = {error}"
    time = "'2026-01-01T00:00:00.000000Z'"
    rows = ", ".join(f"(6, {number}, {time}, {time}, 'failed', {error}, 0)" for number in (1, 3))
    written(
        path,
        f"UPDATE jobs SET {values} WHERE position = 6",  # noqa: S608 - from above
        f"INSERT INTO attempts VALUES {rows}",  # noqa: S608 - from above
    )
    sealed(path)
    assert findings(path) == []
    return path


def test_a_changed_value_of_a_failed_attempt_is_found(with_attempts: Path) -> None:
    written(with_attempts, "UPDATE attempts SET error = 'no ink' WHERE number = 1")
    [finding] = findings(with_attempts)
    assert finding.startswith("attempt 1 of job job-6: its checksum is ")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "UPDATE attempts SET outcome = 'ended' WHERE number = 1",
            ["attempt 1 of job job-6: a value can't be: Invalid enum value 'ended' - at `outcome`"],
        ),
        (
            "UPDATE attempts SET began_at = 'today' WHERE number = 1",
            ["attempt 1 of job job-6: a value can't be: "],
        ),
        (
            f"UPDATE attempts SET error = '{'x' * 4_001}' WHERE number = 1",  # noqa: S608
            ["attempt 1 of job job-6: a value can't be: "],
        ),
        (
            "UPDATE attempts SET number = 4 WHERE number = 3",
            ["attempt 4 of job job-6: the newest attempt of its job is 3"],
        ),
        (
            "UPDATE attempts SET position = 77 WHERE number = 1",
            ["attempt 1 of the job with position 77: there is no such job"],
        ),
        (
            "UPDATE attempts SET position = 10 WHERE number = 1",
            [
                "attempt 1 of job job-10: the newest attempt of its job is None",
                "job job-10: its last error is None, and that of its attempts is 'no paper'",
            ],
        ),
        (
            "UPDATE attempts SET error = 'no ink' WHERE number = 3",
            ["job job-6: its last error is 'no paper', and that of its attempts is 'no ink'"],
        ),
        (
            "DELETE FROM attempts",
            ["job job-6: its last error is 'no paper', and that of its attempts is None"],
        ),
    ],
)
def test_failed_attempts_that_can_not_be_are_found(
    with_attempts: Path, statement: str, expected: list[str]
) -> None:
    written(with_attempts, statement)
    sealed(with_attempts)
    found = findings(with_attempts)
    assert len(found) == len(expected), found
    for finding, start in zip(found, expected, strict=True):
        assert finding.startswith(start)


def test_too_many_failed_attempts_are_found(with_attempts: Path) -> None:
    time = "'2026-01-01T00:00:00.000000Z'"
    rows = ", ".join(f"(6, {n}, {time}, {time}, 'failed', 'no ink', 0)" for n in range(4, 23))
    written(
        with_attempts,
        f"INSERT INTO attempts VALUES {rows}",  # noqa: S608 - from above
        "UPDATE jobs SET attempt = 22, last_error = 'no ink' WHERE position = 6",
    )
    sealed(with_attempts)
    assert findings(with_attempts) == [
        "job job-6: 21 of its failed attempts are kept, and not 20 at most"
    ]


def test_a_job_that_is_gone_with_its_history_is_found(path: Path) -> None:
    written(
        path, "DELETE FROM jobs WHERE position = 8", "DELETE FROM transitions WHERE position = 8"
    )
    assert findings(path) == [
        "job 9: the job before it is missing",
        "transition 19: the transition before it is missing",
    ]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DROP INDEX jobs_by_end", "the schema: index jobs_by_end: it is missing"),
        (
            "CREATE TRIGGER t AFTER INSERT ON jobs BEGIN DELETE FROM jobs; END",
            "the schema: trigger t: no engine has made it",
        ),
        (
            "ALTER TABLE jobs ADD COLUMN more TEXT",
            "the schema: table jobs: it has changed: ",
        ),
    ],
)
def test_a_changed_schema_is_found(path: Path, statement: str, expected: str) -> None:
    written(path, statement)
    [finding] = findings(path)
    assert finding.startswith(expected)


def test_a_column_that_has_another_name_is_found(path: Path) -> None:
    written(path, "ALTER TABLE jobs RENAME COLUMN result TO ending")
    assert [finding.partition(": ")[0] for finding in findings(path)] == ["the schema", "the file"]


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Return a file with two jobs that have labels: all odd texts are a name and a value."""
    path = tmp_path / "labelled.db"
    ids = iter(("one", "other", *map("odd-{}".format, range(len(TEXTS)))))
    with SyncJobEngine(SQLiteStorage(path), new_id=lambda: next(ids)) as engine:
        engine.create("hash", labels={"customer": "c1", "region": "eu"})
        engine.create("hash", labels={"customer": "c2"})
        engine.create_many(
            NewJob("hash", labels={text[:64].replace("=", ":"): text, f"{number}": TEXTS[-number]})
            for number, text in enumerate(TEXTS)
        )
    return path


def test_labels_of_any_texts_are_sound(labelled: Path) -> None:
    assert findings(labelled) == []


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "DELETE FROM labels WHERE value = 'eu'",
            ["job one: it can't be found by its label 'region': 'eu'"],
        ),
        (
            "INSERT INTO labels VALUES ('customer', 'c1', 2)",
            ["job other: it is found by the label 'customer': 'c1', which it doesn't have"],
        ),
        (
            "UPDATE labels SET value = 'c3' WHERE position = 2",
            [
                "job other: it can't be found by its label 'customer': 'c2'",
                "job other: it is found by the label 'customer': 'c3', which it doesn't have",
            ],
        ),
        (
            "INSERT INTO labels VALUES ('customer', 'c1', 777)",
            ["the labels: the label 'customer': 'c1' is of position 777, which has no job"],
        ),
        (
            "UPDATE jobs SET labels = NULL WHERE job_id = 'other'",
            [
                "job other: it is found by the label 'customer': 'c2', which it doesn't have",
            ],
        ),
        (
            "UPDATE jobs SET labels = '{' WHERE job_id = 'other'",
            ["job other: its labels can't be '{'"],
        ),
    ],
)
def test_labels_that_do_not_fit_their_jobs_are_found(
    labelled: Path, statement: str, expected: list[str]
) -> None:
    written(labelled, statement)
    sealed(labelled)
    assert findings(labelled) == expected


def test_a_damaged_label_shows_no_job_to_a_wrong_customer(labelled: Path) -> None:
    written(labelled, "UPDATE labels SET value = 'c1' WHERE value = 'c2'")
    with SyncJobEngine(SQLiteStorage(labelled)) as engine:
        page = engine.list_jobs(labels={"customer": "c1"}, limit=1)
        assert [job.job_id for job in page.jobs] == ["one"]
        assert (page.next_cursor, page.damaged) == (None, ())
        assert engine.list_jobs(labels={"customer": "c2"}).jobs == ()


def test_a_damaged_job_with_labels_is_named(labelled: Path) -> None:
    written(labelled, "UPDATE jobs SET input_hash = 'x' WHERE job_id = 'other'")
    with SyncJobEngine(SQLiteStorage(labelled)) as engine:
        for kind in (None, "default"):
            page = engine.list_jobs(labels={"customer": "c2"}, kind=kind)
            assert (page.jobs, page.damaged) == ((), ("other",))


def test_statistics_that_sqlite_gathers_are_no_change(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ANALYZE")
    assert findings(path) == []


def test_what_is_wrong_in_an_index_alone_is_found(path: Path) -> None:
    data = bytearray(path.read_bytes())
    places = [at for at in range(len(data)) if data.startswith(b"key 10", at)]
    assert len(places) >= 2, "in the table and in the index"
    for place in places:
        damaged = data.copy()
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert findings(path) != []


def test_a_row_that_seems_to_be_there_twice_is_found(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        [[page]] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'jobs'")
        [[size]] = connection.execute("PRAGMA page_size")
    data = bytearray(path.read_bytes())
    pointers = (page - 1) * size + 8  # where the rows of a page are, 2 bytes for each
    data[pointers + 4 : pointers + 6] = data[pointers + 6 : pointers + 8]
    path.write_bytes(data)
    found = checked(path)
    assert found.jobs == 7
    assert found.problems > 0


def test_the_first_thousand_problems_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SyncJobEngine(SQLiteStorage(path)) as engine:
        engine.create_many(NewJob(f"input {number}") for number in range(1_100))
    written(path, "UPDATE jobs SET error = 'none'")
    found = checked(path)
    assert (found.jobs, found.problems, len(found.findings)) == (1_100, 1_100, 1_000)


@pytest.fixture
def _often_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the check report its progress after each row, and each instruction of SQLite."""
    monkeypatch.setattr(check, "_STEP_ROWS", 1)
    monkeypatch.setattr(interruptible, "_STEP_INSTRUCTIONS", 1)


@pytest.mark.usefixtures("_often_told")
def test_a_check_sees_one_state_while_an_engine_writes(path: Path) -> None:
    with SyncJobEngine(SQLiteStorage(path)) as engine:
        for written_at in (0, 1, 19):
            before, told = engine.count(), 0

            def write(done: int, _of: int, written_at: int = written_at) -> None:
                nonlocal told
                told += done == written_at
                if done == written_at and told == 1:
                    job = engine.create("input")
                    engine.transition(job.job_id, JobStatus.RUNNING)

            found = check_file(path, write)
            assert (found.jobs, found.findings) == (before, ())
            assert engine.count() == before + 1, "nothing was written meanwhile"


@pytest.mark.usefixtures("_often_told")
def test_progress_is_told_and_may_end_the_check(path: Path) -> None:
    told: list[tuple[int, int]] = []
    check_file(path, lambda done, of: told.append((done, of)))
    assert told[0] == (0, 20)
    assert [done for done, _ in groupby(told)] == [(done, 20) for done in range(21)]

    for end in (0, 7, 20):

        def stop(done: int, _of: int, end: int = end) -> None:
            if done == end:
                raise StopAsyncIteration

        with pytest.raises(StopAsyncIteration):
            check_file(path, stop)


@pytest.mark.usefixtures("_often_told")
def test_progress_is_told_in_every_check_that_may_take_long(with_attempts: Path) -> None:
    told: list[tuple[int, int]] = []
    check_file(with_attempts, lambda done, of: told.append((done, of)))
    assert told.count((0, 20)) > 100, "pages"
    assert told.count((20, 20)) > 100, "attempts, labels and numbers"


def test_what_is_no_file_of_an_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        checked(tmp_path / "none.db")
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE other (column)")
    with pytest.raises(StorageFormatError):
        checked(other)
