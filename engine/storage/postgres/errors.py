"""Errors: psycopg's become the engine's. None has a password, or names another customer's data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from engine.domain.exceptions import (
    LeaseLostError,
    StorageDamagedError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
)

FENCED: Final = "P0F01"
"""The engine's batch has another number, or the engine is dead."""
TAKEN: Final = "P0F02"
"""Another job has a name that the batch gives to one."""
OTHER_RULES: Final = "P0F04"
"""The batch was decided by other rules of follow-ups than those that are kept."""
NOT_READ_COMMITTED: Final = "P0F03"

_READ_ONLY: Final = "25006"
# By SQLSTATE, or by its class.
_KIND_OF: Final[dict[str, type[StorageError]]] = {
    _READ_ONLY: StorageReadOnlyError,
    "53100": StorageFullError,
    "XX001": StorageDamagedError,
    "XX002": StorageDamagedError,
    # Every statement of ours can be executed on a sound schema.
    "42P01": StorageDamagedError,
    "42703": StorageDamagedError,
    "42883": StorageDamagedError,
    "23": StorageDamagedError,
}


def storage_error(subject: str, error: psycopg.Error) -> StorageError:
    """Return the engine's error for one of psycopg's.

    Args:
        subject: The database; begins the message.
        error: psycopg's error.
    """
    state = error.sqlstate or ""
    if state == FENCED:
        translated: StorageError = LeaseLostError(subject)
    else:
        kind = _KIND_OF.get(state) or _KIND_OF.get(state[:2], StorageError)
        text = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
        translated = kind(f"{subject}: {text}{f' ({state})' if state else ''}")
    translated.__cause__ = error
    return translated


@contextmanager
def translated_errors(subject: str) -> Iterator[None]:
    """Raise the engine's errors instead of psycopg's.

    Raises:
        StorageError: psycopg's error, see `storage_error`.
        psycopg.Error: A bug.
    """
    try:
        yield
    except psycopg.Error as error:
        if is_bug(error):
            raise
        raise storage_error(subject, error) from error


def is_bug(error: psycopg.Error) -> bool:
    """Return whether psycopg itself refused a call, before the server had it."""
    return error.sqlstate is None and not isinstance(
        error, psycopg.OperationalError | psycopg.InterfaceError
    )


def is_definite(error: psycopg.Error) -> bool:
    """Return whether the server itself says that it applied nothing, and goes on."""
    return error.diag.severity_nonlocalized == "ERROR"


def ends_connection(error: psycopg.Error) -> bool:
    """Return whether the connection is of no use any more: it is lost, or only for reading."""
    return not is_definite(error) or error.sqlstate == _READ_ONLY
