"""The rights of a database and of the files beside it: who may use them, and no planted link."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from engine import (
    InvalidValueError,
    SQLiteStorage,
    StorageError,
    StorageInUseError,
    StorageReadOnlyError,
    SyncJobEngine,
)
from engine.storage.sqlite.backup import back_up
from engine.storage.sqlite.file import connect_reader
from engine.storage.sqlite.rights import GroupAccess
from tests.systems import (
    needs_named_pipes,
    needs_proc,
    needs_superuser,
    skip_without_permissions,
)
from tests.unit.storage.sqlite.privileges import in_child

SUFFIXES = ["", "-lock", "-wal", "-shm", "-control"]
OWNER, MEMBER, STRANGER, TEAM = 20_001, 20_002, 20_003, 20_500


@pytest.fixture(autouse=True)
def _modes() -> None:
    skip_without_permissions()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def mask() -> Iterator[Callable[[int], int]]:
    """Return a function that sets the process's mask until the end of the test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def used(path: Path, group_access: GroupAccess | None = None) -> dict[str, int]:
    """Use an engine on a file; return the modes of its files meanwhile."""
    with SyncJobEngine(SQLiteStorage(path, group_access=group_access)) as engine:
        engine.create("hash")
        return {suffix: mode(beside(path, suffix)) for suffix in SUFFIXES}


# New and existing files.


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0o600),
        ({"group_access": None}, 0o600),
        ({"group_access": "read"}, 0o640),
        ({"group_access": "write"}, 0o660),
    ],
)
def test_a_new_file_is_its_owners_unless_the_group_is_let_in(
    path: Path,
    mask: Callable[[int], int],
    umask: int,
    options: dict[str, GroupAccess | None],
    expected: int,
) -> None:
    mask(umask)
    assert used(path, **options) == dict.fromkeys(SUFFIXES, expected)


@pytest.mark.parametrize("wrong", ["", "all", 0o660, True, ["read"]])
def test_another_access_is_refused(path: Path, wrong: object) -> None:
    with pytest.raises(InvalidValueError, match='group_access must be None, "read" or "write"'):
        SQLiteStorage(path, group_access=cast("GroupAccess", wrong))


@pytest.mark.parametrize("emptied", [False, True])
@pytest.mark.parametrize("given", [0o600, 0o640, 0o664])
def test_an_existing_file_keeps_its_mode_and_gives_it_to_those_beside_it(
    path: Path, mask: Callable[[int], int], given: int, *, emptied: bool
) -> None:
    used(path)
    if emptied:
        os.truncate(path, 0)
    path.chmod(given)
    mask(0o077)
    assert used(path, group_access="write") == dict.fromkeys(SUFFIXES, given)


def test_the_lock_of_a_file_that_could_only_be_read_can_be_had_later(path: Path) -> None:
    used(path)
    path.chmod(0o400)
    with SyncJobEngine(path) if os.geteuid() == 0 else pytest.raises(StorageReadOnlyError):
        pass
    assert mode(beside(path, "-lock")) == 0o600


# Other users.


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return the path of a file in a folder where everyone may make files."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name) / "jobs.db"


def opened(path: Path) -> SyncJobEngine:
    engine = SyncJobEngine(path)
    engine.create("hash")
    return engine


def count(path: Path) -> int:
    with closing(connect_reader(path)) as connection:
        [number] = connection.execute("SELECT count(*) FROM jobs").fetchone()
    return int(number)


def leave(path: Path, access: GroupAccess | None, owner: int, group: int) -> None:
    """Make a file with a job, and give it to a user and a group."""
    used(path, group_access=access)
    os.chown(path, owner, group)
    beside(path, "-lock").unlink()


@needs_superuser
def test_what_root_has_opened_first_its_owner_can_open(shared: Path) -> None:
    leave(shared, None, OWNER, OWNER)
    with in_child(lambda: opened(shared), 0, 0):
        assert {beside(shared, suffix).stat().st_uid for suffix in SUFFIXES} == {OWNER}
    with in_child(lambda: opened(shared), OWNER, OWNER):
        assert count(shared) == 3


_IN_A_CONTAINER = """
import sys
from pathlib import Path
from engine import SyncJobEngine
with SyncJobEngine(sys.argv[1]) as engine:
    engine.create("hash")
    engine.backup(sys.argv[1] + ".copy")
names = [str(each.resolve()) for each in Path("/proc/self/fd").iterdir()]
assert not [name for name in names if name.endswith("-lock")]
"""


@pytest.mark.thorough
@needs_superuser
@needs_proc
def test_root_of_a_container_uses_a_file_whose_owner_it_does_not_know(shared: Path) -> None:
    """The system answers EINVAL, not EPERM: it can't name the owner there."""
    alone = ["unshare", "--user", "--map-root-user"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("this system lets nobody make a container")
    leave(shared, "write", OWNER, OWNER)
    shared.chmod(0o666)
    subprocess.run([*alone, sys.executable, "-c", _IN_A_CONTAINER, str(shared)], check=True)
    assert count(shared) == 2


@needs_proc
def test_an_engine_that_is_refused_keeps_no_descriptor(path: Path) -> None:
    with SyncJobEngine(path):
        before = len([*Path("/proc/self/fd").iterdir()])
        for _ in range(3):
            with pytest.raises(StorageInUseError):
                SyncJobEngine(path)
        assert len([*Path("/proc/self/fd").iterdir()]) <= before


@needs_superuser
def test_an_empty_file_of_a_user_stays_the_users_though_root_makes_it(shared: Path) -> None:
    shared.touch()
    os.chown(shared, OWNER, TEAM)
    with in_child(lambda: opened(shared), 0, 0):
        stats = [beside(shared, suffix).stat() for suffix in SUFFIXES]
        assert {(each.st_uid, each.st_gid) for each in stats} == {(OWNER, TEAM)}


@needs_superuser
def test_a_file_that_its_group_may_write_is_used_by_each_member(shared: Path) -> None:
    """Also after a member's engine was killed, though new files get each member's own group."""
    leave(shared, "write", OWNER, TEAM)
    with in_child(lambda: opened(shared), OWNER, OWNER, TEAM, living=True):
        with in_child(lambda: _equals(count(shared), 2), MEMBER, MEMBER, TEAM):
            pass
        with in_child(lambda: _refused(shared, StorageError), STRANGER, STRANGER):
            pass
    assert beside(shared, "-wal").stat().st_size
    with in_child(lambda: opened(shared), MEMBER, MEMBER, TEAM):
        assert count(shared) == 3
    with in_child(lambda: opened(shared), OWNER, OWNER, TEAM):
        assert count(shared) == 4


@pytest.mark.thorough
@needs_superuser
def test_a_file_that_its_group_may_read_is_read_by_a_member_and_no_one_else(shared: Path) -> None:
    leave(shared, "read", OWNER, TEAM)
    with in_child(lambda: opened(shared), OWNER, OWNER, TEAM, living=True):
        with in_child(lambda: _equals(count(shared), 2), MEMBER, TEAM):
            pass
        with in_child(lambda: _refused(shared, StorageReadOnlyError), MEMBER, TEAM):
            pass
        with in_child(lambda: _unreadable(shared), STRANGER, STRANGER):
            pass


@needs_superuser
@pytest.mark.parametrize("access", ["read", "write"])
def test_a_member_who_has_only_read_a_closed_file_locks_out_no_one(
    shared: Path, access: GroupAccess
) -> None:
    leave(shared, access, OWNER, TEAM)
    with in_child(lambda: _equals(count(shared), 1), MEMBER, MEMBER, TEAM):
        pass
    with in_child(lambda: opened(shared), OWNER, OWNER, TEAM):
        assert count(shared) == 2


@pytest.mark.thorough
@needs_superuser
def test_a_group_that_a_copy_can_not_get_is_replaced_by_none(shared: Path) -> None:
    leave(shared, "read", OWNER, TEAM)
    copies = [beside(shared, f"-{number}") for number in (1, 2)]
    for copy, groups in zip(copies, ([MEMBER, TEAM], [TEAM, MEMBER]), strict=True):
        with in_child(lambda copy=copy: _copied(shared, copy), MEMBER, *groups):  # type: ignore[misc]
            assert (copy.stat().st_gid, mode(copy)) == (TEAM, 0o640)
    shared.chmod(0o644)
    copy = beside(shared, "-3")
    with in_child(lambda: _copied(shared, copy), STRANGER, STRANGER):
        assert (copy.stat().st_gid, mode(copy)) == (STRANGER, 0o644)
    shared.chmod(0o640)
    os.chown(shared, STRANGER, TEAM)
    copy = beside(shared, "-4")
    with in_child(lambda: _copied(shared, copy), STRANGER, STRANGER):
        assert (copy.stat().st_gid, mode(copy)) == (STRANGER, 0o600)


def _copied(path: Path, copy: Path) -> None:
    back_up(path, copy, lambda _done, _of: None)


def _equals(found: int, expected: int) -> None:
    assert found == expected


def _refused(path: Path, kind: type[StorageError]) -> None:
    with pytest.raises(kind):
        SyncJobEngine(path)


def _unreadable(path: Path) -> None:
    with pytest.raises(StorageError, match="can't be read: Permission denied"):
        connect_reader(path)


# Planted names.


def a_link(victim: Path, planted: Path) -> None:
    planted.symlink_to(victim)


def a_second_name(victim: Path, planted: Path) -> None:
    planted.hardlink_to(victim)


def a_pipe(_victim: Path, planted: Path) -> None:
    os.mkfifo(planted)


def a_folder(_victim: Path, planted: Path) -> None:
    planted.mkdir()


PLANTED = [a_link, a_second_name, pytest.param(a_pipe, marks=needs_named_pipes), a_folder]


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o604)
    return victim


@pytest.mark.parametrize("plant", PLANTED)
def test_a_lock_that_is_no_file_of_its_own_is_refused(
    path: Path, victim: Path, plant: Callable[[Path, Path], None]
) -> None:
    plant(victim, beside(path, "-lock"))
    with pytest.raises(StorageError, match=r"jobs\.db-lock"):
        SyncJobEngine(path)
    assert (victim.read_text(), mode(victim)) == ("precious", 0o604)


def test_a_lock_that_leads_nowhere_is_refused(path: Path) -> None:
    beside(path, "-lock").symlink_to(path.parent / "nothing")
    with pytest.raises(
        StorageError, match=r"jobs\.db-lock is a link, and must be a file: remove it"
    ):
        SyncJobEngine(path)
    assert not (path.parent / "nothing").exists()


@pytest.mark.parametrize("plant", [a_link, a_second_name])
def test_a_new_file_is_made_in_the_place_of_a_planted_one(
    path: Path, victim: Path, plant: Callable[[Path, Path], None]
) -> None:
    for suffix in ("-new", "-new-journal"):
        plant(victim, beside(path, suffix))
    used(path)
    assert (victim.read_text(), mode(victim), path.is_symlink()) == ("precious", 0o604, False)


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_log_that_is_a_link_is_refused(path: Path, victim: Path, suffix: str) -> None:
    used(path)
    a_link(victim, beside(path, suffix))
    with pytest.raises(StorageError):
        SyncJobEngine(path)
    assert (victim.read_text(), mode(victim)) == ("precious", 0o604)


@needs_superuser
def test_a_file_that_is_replaced_by_a_link_while_it_is_made_is_left_alone(
    path: Path, victim: Path
) -> None:
    victim.write_bytes(b"")

    def plant(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "sqlite3.connect" and str(arguments[0]).endswith("-new"):
            beside(path, "-new").unlink()
            a_link(victim, beside(path, "-new"))

    def race() -> None:
        sys.addaudithook(plant)  # of the child alone: nothing can remove it
        with pytest.raises(StorageError, match="was replaced while it was made"):
            SyncJobEngine(path)

    with in_child(race, 0, 0):
        assert victim.read_bytes() == b""


def test_the_database_itself_may_be_a_link(path: Path) -> None:
    real = path.parent / "folder" / "real.db"
    real.parent.mkdir()
    path.symlink_to(real)
    with SyncJobEngine(path) as engine:
        engine.create("hash")
    assert {each.name for each in real.parent.iterdir()} == {"real.db", "real.db-lock"}
    assert {*path.parent.iterdir()} == {path, real.parent}


@needs_superuser
def test_a_reader_finds_the_log_beside_the_file_and_not_beside_the_link(shared: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        link = Path(name) / "link.db"
        link.symlink_to(shared)
        with (
            in_child(lambda: opened(shared), OWNER, OWNER, living=True),
            in_child(lambda: _equals(count(link), 1), OWNER, OWNER),
        ):
            pass
