"""The file of the control socket: where it is, whose, and what it never replaces."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import JobEngine, SQLiteStorage, SyncJobEngine
from engine.control import server
from engine.control.client import SocketDesk, engine_listening_at
from engine.testing.facades import FACADES, opened_engine
from tests.reliability.alive import descriptors
from tests.systems import needs_fork, needs_proc
from tests.unit.control.clients import ask, control
from tests.unit.worker.at_work import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


async def test_it_is_there_while_the_engine_is_open_and_backups_have_none(path: Path) -> None:
    async with JobEngine(path) as engine:
        assert control(path).is_socket()
        await engine.backup(path.with_name("copy.db"))
    assert {each.name for each in path.parent.iterdir()} == {"jobs.db", "jobs.db-lock", "copy.db"}


@pytest.mark.parametrize("facade", FACADES)
async def test_an_engine_may_go_without(path: Path, facade: Any) -> None:  # noqa: ANN401
    async with opened_engine(facade, path, control=False) as engine:
        await engine.create("hash")
        assert not control(path).exists()
        assert await engine_listening_at(path) is None


@pytest.mark.parametrize("facade", FACADES)
async def test_only_an_engine_on_a_file_has_one(
    facade: Any,  # noqa: ANN401
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened_engine(facade) as engine:
        await engine.create("hash")
    assert not [*tmp_path.iterdir()]


async def test_two_engines_have_two(tmp_path: Path) -> None:
    async with JobEngine(tmp_path / "a.db") as one, JobEngine(tmp_path / "b.db") as other:
        made = await one.create("one")
        async with SocketDesk(tmp_path / "a.db") as a, SocketDesk(tmp_path / "b.db") as b:
            assert [job["job_id"] for job in (await a.do("jobs", {}))["jobs"]] == [made.job_id]
            assert (await b.do("jobs", {}))["jobs"] == []
        assert await other.count() == 0
        with pytest.raises(OSError, match="in use by another engine"):
            async with JobEngine(tmp_path / "a.db"):
                pass
        assert await engine_listening_at(tmp_path / "a.db"), "the refused one has left it alone"


async def test_it_is_beside_the_file_and_not_beside_a_link_to_it(tmp_path: Path) -> None:
    real = tmp_path / "folder" / "real.db"
    real.parent.mkdir()
    (tmp_path / "link.db").symlink_to(real)
    async with JobEngine(tmp_path / "link.db"):
        assert control(real).is_socket()
        hello = await engine_listening_at(tmp_path / "link.db")
        assert hello is not None
        assert hello.place == os.path.realpath(real)


def _file(place: Path) -> None:
    place.write_text("precious")


def _link(place: Path) -> None:
    place.symlink_to(place.with_name("elsewhere"))


def _link_to_a_socket(place: Path) -> None:
    other = place.with_name("other")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.fspath(other))
    place.symlink_to(other)


@pytest.mark.parametrize("plant", [_file, Path.mkdir, os.mkfifo, _link, _link_to_a_socket])
async def test_anything_else_in_its_place_stays_there_with_a_warning(
    path: Path, plant: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    plant(control(path))
    before = control(path).lstat()
    async with JobEngine(path) as engine:
        assert (await engine.create("hash")).version == 1
        assert await engine_listening_at(path) is None
    after = control(path).lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert after.st_mtime_ns == before.st_mtime_ns
    assert "goes without its control socket" in caplog.text
    assert "jobs.db-control is no socket: remove it" in caplog.text


async def test_what_others_have_put_in_its_place_meanwhile_stays_there(path: Path) -> None:
    async with JobEngine(path):
        control(path).unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(os.fspath(control(path)))
    assert control(path).is_socket()


@pytest.mark.parametrize("length", [60, 150])
async def test_a_long_path_has_a_short_name(tmp_path: Path, length: int) -> None:
    path = tmp_path / ("folder" * 30)[:length] / "jobs.db"
    path.parent.mkdir()
    before = descriptors()
    async with JobEngine(path) as engine, SocketDesk(path) as desk:
        await engine.create("hash")
        assert len((await desk.do("jobs", {}))["jobs"]) == 1
    assert descriptors() <= before
    assert not control(path).exists()


async def test_a_name_that_is_too_long_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"{'jobs' * 25}.db"
    async with JobEngine(path) as engine:
        assert (await engine.create("hash")).version == 1
        assert await engine_listening_at(path) is None
    assert "AF_UNIX path too long" in caplog.text


async def test_a_system_without_such_sockets_is_no_matter(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("engine.control.server.HAS_SOCKETS", False)
    monkeypatch.setattr("engine.control.wire.HAS_SOCKETS", False)
    async with JobEngine(path):
        assert await engine_listening_at(path) is None
    assert (control(path).exists(), caplog.text) == (False, "")


@needs_proc
@pytest.mark.parametrize("facade", FACADES)
async def test_an_engine_that_has_ended_keeps_no_descriptor(path: Path, facade: Any) -> None:  # noqa: ANN401
    async def once() -> None:
        async with opened_engine(facade, path), SocketDesk(path) as desk:
            await desk.do("about", {})

    await once()
    first = descriptors()
    for _ in range(3):
        await once()
    await until(lambda: descriptors() <= first)  # another thread may close the last one


@needs_fork
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_no_part_in_it(path: Path) -> None:
    """Else callers would wait for ever for a child that never answers."""
    with socket.socket(socket.AF_UNIX) as client, SyncJobEngine(path) as engine:
        client.settimeout(30)
        client.connect(os.fspath(control(path)))
        lines = client.makefile("rb")
        assert lines.readline()
        os.link(control(path), path.with_name("second name"))
        child = os.fork()
        if not child:
            with suppress(BaseException):
                signal.pause()
            os._exit(0)
        try:
            assert ask(path, "about")["answer"]["process"] == os.getpid()
            engine.close()
            assert lines.read() == b"", "the child holds the connection"
            with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
                late.settimeout(30)
                late.connect(os.fspath(path.with_name("second name")))
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            lines.close()


@needs_fork
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_that_ends_leaves_it_to_its_parent(path: Path) -> None:
    with SyncJobEngine(path):
        child = os.fork()
        if not child:
            try:
                anyio.run(_in_the_child, path)
            except BaseException:  # noqa: BLE001 - told by the exit code
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert ask(path, "about")["answer"]["process"] == os.getpid()


@needs_fork
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_that_leaves_the_engine_leaves_the_file_to_its_parent(path: Path) -> None:
    with SyncJobEngine(path):
        [ours] = [each for each in server._open_servers if each._file._path == control(path)]  # noqa: SLF001 - two loops on one selector would wait for each other
        child = os.fork()
        if not child:
            ours._file.remove()  # noqa: SLF001 - as the end of the engine does
            os._exit(0)
        os.waitpid(child, 0)
        assert ask(path, "about")["answer"]["process"] == os.getpid()
    assert not control(path).exists(), "the parent removes it"


async def _in_the_child(path: Path) -> None:
    async with JobEngine(path.with_name("other.db")):
        for each in (path, path.with_name("other.db")):
            async with SocketDesk(each) as desk:
                ours = (await desk.do("about", {}))["process"] == os.getpid()
                assert ours is (each != path)


@pytest.mark.parametrize("facade", FACADES)
async def test_it_has_the_rights_of_the_file(path: Path, facade: Any) -> None:  # noqa: ANN401
    """`tests/unit/storage/sqlite/test_rights.py` tries all modes and owners."""
    async with opened_engine(facade, SQLiteStorage(path, group_access="write")):
        assert control(path).stat().st_mode & 0o777 == 0o660
