"""Locations: the URL of a database, and the form of it that may be shown."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from engine.domain.exceptions import InvalidValueError
from engine.storage.postgres.planner import OF_CONNECTIONS

_FORM: Final = "postgresql://user@host:5432/database"
# libpq would take the rest of a password with a plain @ or / for the host or the database.
_URL: Final = re.compile(r"postgres(ql)?://([^@/?\0]*@)?[^@?\0]*(\?[^\0]*)?")
_SECONDS: Final = 10  # of a connection attempt, for each host
_STATEMENT_MILLISECONDS: Final = 10_000
_LOCK_MILLISECONDS: Final = 5_000

# A stranger's settings of a database or a role must not change what a statement means.
_SETTINGS: Final = {
    "search_path": "pg_catalog",
    "timezone": "UTC",
    "default_transaction_isolation": r"read\ committed",
    "statement_timeout": str(_STATEMENT_MILLISECONDS),
    "lock_timeout": str(_LOCK_MILLISECONDS),
    **OF_CONNECTIONS,
}
_FIXED: Final = {"client_encoding": "UTF8"}
# The network is noticed to be gone after 10 s, whatever the kernel's own settings are.
_DEFAULTS: Final[dict[str, Any]] = {
    "connect_timeout": _SECONDS,
    "application_name": "engine",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class Location:
    """A database, by its URL. What the URL lacks comes from libpq's environment and files.

    Args:
        url: Such as ``postgresql://user@host:5432/database``, with libpq's parameters.

    Attributes:
        parameters: Those of a connection. They may have the password.

    Raises:
        InvalidValueError: It is no such URL.
    """

    def __init__(self, url: str) -> None:
        given = _parameters(url)
        defaults = dict(_DEFAULTS)
        if "," in str(given.get("host", "")):
            defaults["target_session_attrs"] = "read-write"
        settings = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
        options = f"{given.pop('options', None) or ''} {settings}".strip()
        self.parameters: dict[str, Any] = {**defaults, **given, "options": options, **_FIXED}

    def __repr__(self) -> str:
        return f"<Location {self}>"

    def __str__(self) -> str:
        """Return the URL without the user, the password and the parameters."""
        host, port = (self.parameters.get(name) or "" for name in ("host", "port"))
        place = f"{host}:{port}" if port else host
        return f"postgresql://{place}/{self.parameters.get('dbname') or ''}"


def _parameters(url: object) -> dict[str, Any]:
    """Return the parameters in a URL.

    Raises:
        InvalidValueError: It is none. The error doesn't show it, nor what libpq says of it: either
            may have the password.
    """
    if isinstance(url, str) and _URL.fullmatch(url):
        with suppress(psycopg.Error, UnicodeEncodeError):
            return conninfo_to_dict(url)
    raise InvalidValueError(
        "storage",
        f"must be a URL such as {_FORM}, with libpq's parameters, and with %40 for each @ in a "
        "password, %2F for each /",
    )
