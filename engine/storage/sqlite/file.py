"""The file: made complete or not at all, inspected before it is touched, migrated in one step.

A new file is made under another name, ``jobs.db-new``, and then renamed: a file with the right name
is whole, whenever the process was killed. A file that is no engine's, or of a newer version, stays
as it is, byte for byte.

SQLite before 3.51.3 may damage a file in which one connection writes while another checkpoints
(https://www.sqlite.org/wal.html#walresetbug). So one connection does both; `connect_reader` makes
all others, which can do neither.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Final

from engine.domain.exceptions import (
    StorageDamagedError,
    StorageError,
    StorageFormatError,
    StorageReadOnlyError,
)
from engine.portal.logs import TaskLogger
from engine.storage.sqlite.connection import make_durable, sync_folder
from engine.storage.sqlite.errors import translate_os_errors, translate_sqlite_errors
from engine.storage.sqlite.paths import beside
from engine.storage.sqlite.rights import (
    PRIVATE,
    Rights,
    give_group_to_log,
    make_file,
    rights_beside,
)
from engine.storage.sqlite.schema import APPLICATION_ID, STEPS, Step

logger: Final = TaskLogger("engine")

OLDEST_SQLITE: Final = (3, 35, 0)
_BUSY_SECONDS: Final = 5.0
_STATEMENTS: Final = 512  # more than there are different ones; see `engine.storage.sqlite.writing`


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open an existing file; ``mode`` is ``rw`` or ``ro``, as in SQLite's URIs."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        cached_statements=_STATEMENTS,
        check_same_thread=False,  # the storage makes its calls one after the other
    )
    # A damaged text need not be UTF-8: let the checksum find it, and not a failing query.
    connection.text_factory = _text
    return connection


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open a file for reading, even while an engine has it. The caller closes it.

    Raises:
        StorageError: It can't be read.
        StorageFormatError: It is no engine's, or of another version.
    """
    path = Path(os.path.realpath(path))  # the log is beside the file, not beside a link to it
    check_version(path)
    # Looking for a log, SQLite makes one. Where it may not, or where that would be a log which the
    # file's owner could not write, there is none to find.
    may_make = _allowed(path.parent, os.W_OK) and _allowed(path, os.W_OK)
    with translate_sqlite_errors(path):
        if not (may_make or has_log(path)):
            return connect(path, "ro&immutable=1")
        return _with_log(path, connect(path, "ro"))


def check_version(path: Path) -> None:
    """Check that a file is there and of this program's version, without touching it.

    Raises:
        StorageError: It can't be read.
        StorageFormatError: It is no engine's, or of another version.
    """
    version = _inspect(path, ())
    if version != len(STEPS):
        raise StorageFormatError(
            f"{path} has version {version} of the schema, and this program reads {len(STEPS)}: "
            "open it with an engine first, which migrates it"
        )


def check_writable(path: Path) -> None:
    """Check that this process may write a file.

    Raises:
        StorageReadOnlyError: It may not.
    """
    if not _allowed(path, os.W_OK):
        raise StorageReadOnlyError(
            f"{path} can't be written; `engine list` and `engine show` only read"
        )


def _with_log(path: Path, connection: sqlite3.Connection) -> sqlite3.Connection:
    """Let a connection make the log, which the file's group may use as it may use the file."""
    try:
        connection.execute("PRAGMA user_version").fetchone()
    except BaseException:
        connection.close()
        raise
    give_group_to_log(path)
    return connection


def prepare(path: Path, steps: Sequence[Step], mode: int = PRIVATE) -> None:
    """Make the file if it is missing; migrate it if it is of an older version.

    Args:
        path: The file. An empty one keeps its owner, group and mode.
        steps: Those of the schema.
        mode: That of a new file.

    Raises:
        StorageError: It can't be made, read or written.
        StorageFormatError: It is no engine's, or of a newer version. It is left as it was.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StorageError(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 is needed")
    if not path.exists() or path.stat().st_size == 0:
        _check_no_log(path)
        with translate_os_errors(f"{path} can't be made"):
            _make(path, steps, rights_beside(path, mode))
        return
    version = _inspect(path, steps)
    check_writable(path)
    if version > len(steps):
        raise StorageFormatError(
            f"{path} has version {version} of the schema, and this engine knows up to "
            f"{len(steps)}: use a newer engine"
        )
    if version < len(steps):
        _migrate(path, version, steps)


def _inspect(path: Path, steps: Sequence[Step]) -> int:
    """Return the version of an existing file's schema, without touching the file.

    Reads only through SQLite: opening and closing the file by other means would end the locks that
    the process has on it (https://www.sqlite.org/howtocorrupt.html, 2.2). ``immutable`` keeps
    SQLite from making files beside it, but also from reading a log.

    Raises:
        StorageError: It can't be read.
        StorageFormatError: It is no engine's.
    """
    _check_readable(path)
    if path.stat().st_size == 0:
        raise StorageFormatError(f"{path} is empty: it becomes an engine's file when one opens it")
    mode = "ro" if has_log(path) else "ro&immutable=1"
    with translate_sqlite_errors(path), closing(connect(path, mode)) as connection:
        version = _version(path, connection)
        if version <= len(steps):
            _check_schema(path, connection, steps[:version])
    return version


def _check_readable(path: Path) -> None:
    """Check that a file can be read: SQLite itself gives no reason.

    Raises:
        StorageError: It is missing, is a folder, or may not be read.
    """
    try:
        problem = os.strerror(errno.EISDIR) if stat.S_ISDIR(path.stat().st_mode) else None
    except OSError as error:
        problem = error.strerror
    if problem is None and not _allowed(path, os.R_OK):
        problem = os.strerror(errno.EACCES)
    if problem is not None:
        raise StorageError(f"{path} can't be read: {problem}")


def _allowed(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _version(path: Path, connection: sqlite3.Connection) -> int:
    """Return the version of the schema.

    Raises:
        StorageFormatError: The file is no engine's.
    """
    [application_id] = connection.execute("PRAGMA application_id").fetchone()
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        raise StorageFormatError(
            f"{path} is an SQLite database, but no engine's: its application id is "
            f"{application_id}, not {APPLICATION_ID}"
        )
    return int(version)


def _check_schema(path: Path, connection: sqlite3.Connection, steps: Sequence[Step]) -> None:
    """Check that the tables and indexes of these steps are there; others may stand beside them.

    Raises:
        StorageDamagedError: One is missing or different.
    """
    with new_database(steps) as model:
        missing = definitions(model).items() - definitions(connection).items()
    if missing or not steps:
        names = ", ".join(sorted(name for name, _ in missing)) or "all tables"
        raise StorageDamagedError(f"{path}: missing or not as its version defines them: {names}")


@contextmanager
def new_database(steps: Sequence[Step] = STEPS) -> Iterator[sqlite3.Connection]:
    """Give a database in memory that equals a new file."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as model:
        for statement in chain.from_iterable(steps):
            model.execute(statement)
        yield model


def definitions(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the definitions of tables and indexes by name, without SQLite's own statistics."""
    return {
        f"{kind} {name}": f"of {table}: {sql}"
        for kind, name, table, sql in connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat_'"
        )
    }


def _check_no_log(path: Path) -> None:
    """Check that no log is there, which SQLite would take for the new file's.

    Raises:
        StorageError: There is the log of a file that was deleted, moved or emptied.
    """
    for suffix in ("-wal", "-journal"):
        if has_log(path, suffix):
            log = beside(path, suffix)
            raise StorageError(f"{path} is missing or empty, and its log {log} is not: restore it")


def has_log(path: Path, suffix: str = "-wal") -> bool:
    """Return whether a database has a log with something in it."""
    log = beside(path, suffix)
    return log.exists() and log.stat().st_size > 0


def _make(path: Path, steps: Sequence[Step], rights: Rights) -> None:
    new = beside(path, "-new")
    for leftover in (new, beside(new, "-journal")):
        leftover.unlink(missing_ok=True)
    with translate_sqlite_errors(path), closing(_connect_new(new, rights)) as connection:
        make_durable(connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        take_steps(connection, 0, steps)
        connection.execute("PRAGMA journal_mode = WAL")
    new.replace(path)
    sync_folder(path.parent)


def _connect_new(new: Path, rights: Rights) -> sqlite3.Connection:
    """Make an empty file and open it. SQLite alone would follow a link that was just planted.

    Raises:
        StorageError: Someone replaced it meanwhile.
    """
    descriptor = make_file(new, rights)
    try:
        connection = sqlite3.connect(new, isolation_level=None)
        if not os.path.samestat(new.lstat(), os.fstat(descriptor)):
            connection.close()
            raise StorageError(f"{new} was replaced while it was made: someone else writes there")
    finally:
        os.close(descriptor)  # before SQLite locks the file: it would end the locks
    return connection


def _migrate(path: Path, version: int, steps: Sequence[Step]) -> None:
    logger.warning("migrating %s from version %s to %s", path, version, len(steps))
    with translate_sqlite_errors(path), closing(connect(path, "rw")) as connection:
        make_durable(connection)
        take_steps(connection, version, steps)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def take_steps(connection: sqlite3.Connection, version: int, steps: Sequence[Step]) -> None:
    """Take the steps from a version on, all or none."""
    connection.execute("BEGIN EXCLUSIVE")
    for step in steps[version:]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(steps)}")
    connection.execute("COMMIT")
