"""Row 5: truncated and foreign files, and logs without their file.

They are refused and left unchanged, byte for byte.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from engine import StorageError, StorageFormatError, SyncJobEngine
from engine.storage.sqlite.schema import APPLICATION_ID
from tests.files import as_killed
from tests.reliability.examination import (
    HEADER,
    PAGE,
    Examination,
    Sound,
    make_sound,
    reported,
)
from tests.tries import report, seeded, tries

FULL_TRUNCATIONS = 300


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    return make_sound(tmp_path_factory.mktemp("sound") / "jobs.db")


def _content(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder, except the lock and the log's index, which hold no data."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if not path.name.endswith(("-lock", "-shm"))
    }


def _refused(path: Path, kind: type[StorageError]) -> StorageError:
    """Check that a file is refused, and that nothing in its folder changes."""
    before = _content(path.parent)
    with pytest.raises(kind) as refused:
        SyncJobEngine(path)
    assert str(path) in str(refused.value)
    assert _content(path.parent) == before
    return refused.value


def test_a_truncated_file_is_refused_and_left_as_it_is(sound: Sound, tmp_path: Path) -> None:
    random, count = seeded("truncated files"), tries(FULL_TRUNCATIONS)
    for number in range(count):
        path = _truncated(sound, tmp_path / str(number), random, 1, sound.size - PAGE)
        _refused(path, StorageError)
    report(f"{count} files without one or more of their pages")


def test_a_file_without_the_end_of_a_page_is_refused_or_reported(
    sound: Sound, tmp_path: Path
) -> None:
    random, count = seeded("truncated pages"), tries(FULL_TRUNCATIONS)
    opened = 0
    for number in range(count):
        path = _truncated(sound, tmp_path / str(number), random, sound.size - PAGE, sound.size)
        truncated = path.read_bytes()
        found = Examination(sound, path)
        opened += found.opened
        assert found.wrong == []
        path.write_bytes(truncated)
        assert reported(path)
    report(f"{count} files without a part of a page, of which {opened} could be opened")


def _truncated(sound: Sound, folder: Path, random: Random, shortest: int, longest: int) -> Path:
    """Return the path of a truncated copy, of less than so many bytes; some are only a header."""
    path = sound.copy(folder)
    end = longest if random.random() < 0.8 else max(shortest + 1, HEADER)
    with path.open("r+b") as file:
        file.truncate(random.randrange(shortest, end))
    return path


def _text(path: Path) -> None:
    path.write_text("To whom it may concern\n" * 100)


def _short_text(path: Path) -> None:
    path.write_text("jobs = {}\n")


def _start_of_a_header(path: Path) -> None:
    path.write_bytes(b"SQLite format 3")


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(PAGE))


def _other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE jobs (job_id TEXT, status TEXT)")
        connection.execute("INSERT INTO jobs VALUES ('1', 'running')")


def _other_database_with_a_log(path: Path) -> None:
    """A file as a killed process leaves it."""
    original = path.parent / "original" / path.name
    original.parent.mkdir()
    with closing(sqlite3.connect(original)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE jobs (job_id TEXT, status TEXT)")
        as_killed(original, path.parent)


def _with_our_id_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("CREATE TABLE something (else_altogether)")


NO_DATABASES = [_text, _short_text, _start_of_a_header, _zeros]
OTHER_DATABASES = [_other_database, _other_database_with_a_log]


@pytest.mark.parametrize("make", [*NO_DATABASES, *OTHER_DATABASES, _with_our_id_alone])
def test_a_foreign_file_is_refused_and_left_as_it_is(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "jobs.db"
    make(path)
    _refused(path, StorageError)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        *((make, "not a database") for make in NO_DATABASES),
        *((make, "an SQLite database, but no engine's") for make in OTHER_DATABASES),
    ],
)
def test_a_foreign_file_is_called_so(
    make: Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    make(tmp_path / "jobs.db")
    with pytest.raises(StorageFormatError, match=told):
        SyncJobEngine(tmp_path / "jobs.db")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").mkdir()
    assert "folder" in str(_refused(tmp_path / "jobs.db", StorageError))


@pytest.mark.parametrize("emptied", [False, True])
def test_a_log_without_its_file_is_not_taken_for_a_new_files(
    tmp_path: Path, *, emptied: bool
) -> None:
    path = tmp_path / "jobs.db"
    with SyncJobEngine(tmp_path / "original.db") as engine:
        engine.create("in the log")
        shutil.copy(tmp_path / "original.db-wal", f"{path}-wal")
    if emptied:
        path.touch()
    _refused(path, StorageError)
