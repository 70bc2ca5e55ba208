"""Rights: who may use a database, and the files that are made beside it.

A new database is for its owner alone, unless the program gives access to the group. A file beside a
database gets the database's mode, and its owner and group as far as the process may give them.
SQLite does so for the log. Otherwise root, who opens the file once, would lock out its owner; and a
database that its group may write could be used by one member only.

Someone else who may write to the folder may plant a link under the name of such a file, and so aim
at any file that the engine's user may write. So only regular files with one name are opened here,
and no link is followed. The database itself may be a link.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from engine.domain.exceptions import InvalidValueError, StorageError, shown
from engine.storage.sqlite.paths import beside

GroupAccess: TypeAlias = Literal["read", "write"]
"""What the members of its group may do with a new database."""

PRIVATE: Final = 0o600
_MODE_FOR: Final = {None: PRIVATE, "read": 0o640, "write": 0o660}
_NEVER_FOLLOW: Final = (
    os.O_RDWR
    | getattr(os, "O_NOFOLLOW", 0)  # Windows has none of these
    | getattr(os, "O_NONBLOCK", 0)  # a pipe would block
    | getattr(os, "O_CLOEXEC", 0)
)


class Rights(NamedTuple):
    """The rights of a file. An owner or a group of -1 is the one that the system gives."""

    mode: int
    owner: int = -1
    group: int = -1


def new_mode(group_access: object) -> int:
    """Return the mode of a new database.

    Raises:
        InvalidValueError: It is neither None nor "read" nor "write".
    """
    if not (group_access is None or group_access in ("read", "write")):
        problem = f'must be None, "read" or "write", not {shown(group_access)}'
        raise InvalidValueError("group_access", problem)
    return _MODE_FOR[group_access]


def rights_beside(path: Path, mode: int = PRIVATE) -> Rights:
    """Return the rights of the files beside a database. Their owner may always write them.

    Args:
        path: The database.
        mode: That of a new one, if it is missing.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return Rights(mode)
    return Rights(stat.S_IMODE(status.st_mode) & 0o777 | PRIVATE, status.st_uid, status.st_gid)


def open_regular(path: Path, flags: int = 0) -> int:
    """Open a regular file for reading and writing, and return its descriptor.

    Args:
        path: The file.
        flags: Further ones of `os.open`, such as ``os.O_CREAT``; a new file is private.

    Raises:
        OSError: It can't be opened.
        StorageError: It is a link or no regular file, or has two names.
    """
    try:
        descriptor = os.open(path, _NEVER_FOLLOW | flags, PRIVATE)
    except OSError:
        if path.is_symlink() and not flags & os.O_EXCL:
            raise StorageError(f"{path} is a link, and must be a file: remove it") from None
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        problem = "has other names (hard links)" if status.st_nlink > 1 else "is no regular file"
        raise StorageError(f"{path} {problem}: remove it")
    return descriptor


def make_file(path: Path, rights: Rights) -> int:
    """Make a file with these rights, and return its descriptor. The caller closes it.

    Raises:
        OSError: It is there already, as a link or another thing, or can't be made.
    """
    descriptor = open_regular(path, os.O_CREAT | os.O_EXCL)
    give(descriptor, rights)
    return descriptor


def give(file: int | Path, rights: Rights) -> None:
    """Give a file these rights, as far as the process may.

    If the file can't get the group, its own group gets no more than everyone.

    Args:
        file: Its descriptor, or a name of it that nobody else can aim at another file.
        rights: Those of the database.
    """
    if sys.platform == "win32" or os.geteuid() not in {0, _status(file).st_uid}:
        return
    # One by one: in a container, root may know the group and not the owner, or neither.
    with suppress(OSError):
        os.chown(file, -1, rights.group)
    if os.geteuid() == 0:
        with suppress(OSError):
            os.chown(file, rights.owner, -1)
    mode = rights.mode
    if rights.group not in {-1, _status(file).st_gid}:
        mode = mode & ~0o070 | (mode & 0o007) << 3
    with suppress(OSError):
        os.chmod(file, mode)  # noqa: PTH101 - a descriptor, too; the process's mask does not count


def _status(file: int | Path) -> os.stat_result:
    return os.fstat(file) if isinstance(file, int) else file.stat()


def give_to_socket(path: Path, rights: Rights) -> os.stat_result:
    """Give a socket beside a database these rights; return what the system tells of it.

    A socket can't be opened, and its path may be a link by now. Linux opens what the path names
    without using it; elsewhere the socket is for its maker alone.

    Raises:
        OSError: It is not there.
        StorageError: Someone has replaced it by something else.
    """
    if sys.platform != "linux":
        path.chmod(PRIVATE, follow_symlinks=False)
        return path.lstat()
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise StorageError(f"{path} was replaced while it was made: someone else writes there")
        give(Path(f"/proc/self/fd/{descriptor}"), rights)
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def give_group_to_log(path: Path) -> None:
    """Give the log of an open database and its index the database's group.

    SQLite gives them the mode, and as root the owner. This calls them by their names: opening and
    closing them would end SQLite's locks (https://www.sqlite.org/howtocorrupt.html, 2.2).
    """
    if sys.platform == "win32":
        return
    with suppress(OSError):
        group = path.stat().st_gid
        for file in (beside(path, "-wal"), beside(path, "-shm")):
            if file.lstat().st_gid != group:
                os.chown(file, -1, group, follow_symlinks=False)
