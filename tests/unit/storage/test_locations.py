"""The locations that users give an engine, and the storages at them."""

import os
from pathlib import Path
from typing import Any

import pytest

from engine import InvalidValueError, MemoryStorage, SQLiteStorage, StorageError, SyncJobEngine
from engine.storage.locations import Location
from engine.storage.sqlite.paths import check_usable, path_at
from engine.testing.facades import FACADES, opened_engine
from tests.systems import needs_named_pipes


class _Bytes(os.PathLike[Any]):
    def __fspath__(self) -> bytes:
        return b"jobs.db"


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("jobs.db", "jobs.db"),
        ("/var/jobs.db", "/var/jobs.db"),
        (Path("folder/jobs.db"), "folder/jobs.db"),
        ("sqlite:///jobs.db", "jobs.db"),
        ("sqlite:///folder/jobs.db", "folder/jobs.db"),
        ("sqlite:////var/jobs.db", "/var/jobs.db"),
        ("C:\\jobs.db", "C:\\jobs.db"),
        ("12:30 jobs?#%20.db", "12:30 jobs?#%20.db"),
        (Path("sqlite:///x"), "sqlite:/x"),
    ],
)
def test_a_location_of_a_file_gives_its_path(location: Any, path: str) -> None:  # noqa: ANN401 - anything may be given
    assert str(path_at(location)) == path


@pytest.mark.parametrize(
    "location",
    [
        "",
        "a\0b",
        7,
        b"jobs.db",
        _Bytes(),
        ":memory:",
        "file:jobs.db",
        "file:jobs.db?mode=memory",
        "sqlite://jobs.db",
        "sqlite:///jobs.db?timeout=5",
        "postgresql://host/jobs",
        "postgresql+psycopg://host/jobs",
    ],
)
def test_what_is_no_location_is_refused(location: Any) -> None:  # noqa: ANN401 - anything may be given
    with pytest.raises(InvalidValueError, match="storage"):
        SQLiteStorage(location)


@pytest.mark.parametrize("end", ["", "\0", "\ud800"], ids=["plain", "NUL", "surrogate"])
@pytest.mark.parametrize("secret", ["secret", "sec@ret", "sec/ret", "x" * 100])
def test_an_error_shows_no_password(secret: str, end: str) -> None:
    with pytest.raises(InvalidValueError, match="://…@host/jobs") as caught:
        SQLiteStorage(f"postgresql://someone:{secret}@host/jobs{end}")
    assert "someone" not in str(caught.value)
    assert "ret" not in str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize("facade", FACADES)
@pytest.mark.parametrize("location", [None, ":memory:", "sqlite://", "sqlite:///:memory:"])
async def test_jobs_may_be_kept_in_memory(
    facade: type[Any], location: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened_engine(facade, location) as engine:
        await engine.create("hash")
        with pytest.raises(StorageError, match="in memory"):
            await engine.backup(tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
@pytest.mark.parametrize("facade", FACADES)
@pytest.mark.parametrize("form", ["relative", "absolute", "path", "url", "storage"])
async def test_jobs_may_be_kept_in_a_file(
    facade: type[Any], form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a job's ? #1 %41.db"
    locations: dict[str, Location] = {
        "relative": path.name,
        "absolute": str(path),
        "path": path,
        "url": "sqlite:///" + str(path).replace("?", "!"),
        "storage": SQLiteStorage(path),
    }
    location = locations[form]
    async with opened_engine(facade, location) as engine:
        job = await engine.create("hash")
    async with opened_engine(facade, location) as engine:
        assert await engine.get(job.job_id) == job


def test_a_storage_that_lacks_a_call_is_refused() -> None:
    class Incomplete:
        commit = MemoryStorage.commit

    with pytest.raises(InvalidValueError, match=r"storage .* has no aclose, attempts, audit, b"):
        SyncJobEngine(Incomplete())  # type: ignore[call-overload]


@needs_named_pipes
def test_what_is_wrong_with_a_place_is_said(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "again").hardlink_to(file)
    os.mkfifo(tmp_path / "pipe")
    for path, problem in {
        tmp_path / "missing" / "jobs.db": "there is no folder",
        file / "jobs.db": "there is no folder",
        tmp_path: "is a folder",
        tmp_path / "pipe": "no regular file",
        file: "hard links",
        tmp_path / ("x" * 300): "File name too long",
    }.items():
        with pytest.raises(StorageError, match=problem) as caught:
            check_usable(path)
        assert str(path) in str(caught.value)
