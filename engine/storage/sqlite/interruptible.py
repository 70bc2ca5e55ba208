"""Interruptible statements: SQLite may work on one for minutes, and hears no Ctrl-C meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_STEP_INSTRUCTIONS: Final = 1_000_000  # of SQLite's machine; about 20 steps a second


@contextmanager
def interruptible(connection: sqlite3.Connection, call: Callable[[], None]) -> Iterator[None]:
    """Call a function now and then while SQLite works; raise the exception that it raises.

    SQLite by itself would only say that it was interrupted.
    """
    raised: list[BaseException] = []

    def step() -> int:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is raised below
            raised.append(error)
        return len(raised)

    connection.set_progress_handler(step, _STEP_INSTRUCTIONS)
    try:
        yield
    except sqlite3.OperationalError as error:
        for reason in raised:
            raise reason from None
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            # A signal raised it before `step` had begun; nothing else interrupts.
            raise KeyboardInterrupt from None
        raise
    finally:
        connection.set_progress_handler(None, 0)
