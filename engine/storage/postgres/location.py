"""Locations: the URL of a database, and the form of it that may be shown."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import zip_longest
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

from engine.domain.exceptions import InvalidValueError
from engine.domain.validation import check_text
from engine.storage.postgres.planner import OF_CONNECTIONS

_FORM: Final = "postgresql://user@host:5432/database"
# libpq would take the rest of a password with a plain @ or / for the host or the database.
_URL: Final = re.compile(r"postgres(ql)?://([^@/?\0]*@)?[^@?\0]*(\?[^\0]*)?")
_SCHEMA: Final = "engine"
_LONGEST_NAME: Final = 63  # PostgreSQL cuts longer names of schemas
_PARAMETER: Final = "schema="
_BEFORE_QUERY: Final = re.compile(r"\w+://(?:[^@/]*@)?[^?]*")  # libpq finds the user so, too
_SECRETS: Final = frozenset({"password", "sslpassword"})
_IN_THE_URL_ITSELF: Final = frozenset({"user", "host", "port", "dbname"})
_SECONDS: Final = 10  # of a connection attempt, for each host
_STATEMENT_MILLISECONDS: Final = 10_000
_LOCK_MILLISECONDS: Final = 5_000

# A stranger's settings of a database or a role must not change what a statement means, or a commit.
_SETTINGS: Final = {
    "synchronous_commit": "on",
    "search_path": "pg_catalog",
    "timezone": "UTC",
    "default_transaction_isolation": r"read\ committed",
    "statement_timeout": str(_STATEMENT_MILLISECONDS),
    "lock_timeout": str(_LOCK_MILLISECONDS),
    **OF_CONNECTIONS,
}
# What a URL may say instead, because it is stricter.
_STRICTER: Final = re.compile(r"(-c\s*|--)synchronous[_-]commit\s*=\s*remote_apply(?!\S)")
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
        url: Such as ``postgresql://user@host:5432/database``, with libpq's parameters, and with
            ``schema``: the name of the schema, which is ``engine`` by default.

    Attributes:
        parameters: Those of a connection. They may have the password.
        schema: The name of the schema.
        name: The URL without its passwords.

    Raises:
        InvalidValueError: It is no such URL, or can't be the name of a schema.
    """

    def __init__(self, url: str) -> None:
        url, self.schema = _without_schema(url)
        given = _parameters(url)
        self.name = _name(given, self.schema)
        defaults = dict(_DEFAULTS)
        if "," in str(given.get("host", "")):
            defaults["target_session_attrs"] = "read-write"
        options = given.pop("options", None) or ""
        stricter = [match[0] for match in _STRICTER.finditer(options)]
        settings = (f"-c {name}={value}" for name, value in _SETTINGS.items())
        options = " ".join((options, *settings, *stricter)).strip()
        self.parameters: dict[str, Any] = {**defaults, **given, "options": options, **_FIXED}

    def __repr__(self) -> str:
        return f"<Location {self}>"

    def __str__(self) -> str:
        """Return the URL without the user, the password and the parameters."""
        return f"postgresql://{_hosts(self.parameters)}/{self.parameters.get('dbname') or ''}"


def schema_name(name: str) -> str:
    """Return the name of a schema.

    Raises:
        InvalidValueError: It is no text, or too long, or has a percent sign.
    """
    check_text("schema", name, _LONGEST_NAME)
    if len(name.encode()) > _LONGEST_NAME:
        raise InvalidValueError("schema", f"must have at most {_LONGEST_NAME} bytes, not {name!r}")
    if "%" in name:
        raise InvalidValueError("schema", f"must have no percent sign, not {name!r}")
    return name


def _without_schema(url: object) -> tuple[str, str]:
    """Return a URL without the parameter that libpq does not know, and the name of the schema."""
    if not isinstance(url, str):
        return "", _SCHEMA
    found = _BEFORE_QUERY.match(url)
    before, query = (found[0], url[found.end() + 1 :]) if found else (url, "")
    parts = query.split("&")
    names = [each.removeprefix(_PARAMETER) for each in parts if each.startswith(_PARAMETER)]
    if not names:
        return url, _SCHEMA
    rest = "&".join(each for each in parts if not each.startswith(_PARAMETER))
    return f"{before}?{rest}" if rest else before, schema_name(unquote(names[-1]))


def _parameters(url: str) -> dict[str, Any]:
    """Return the parameters in a URL.

    Raises:
        InvalidValueError: It is none. The error doesn't show it, nor what libpq says of it: either
            may have the password.
    """
    if _URL.fullmatch(url):
        with suppress(psycopg.Error, UnicodeEncodeError):
            return conninfo_to_dict(url)
    raise InvalidValueError(
        "storage",
        f"must be a URL such as {_FORM}, with libpq's parameters, and with %40 for each @ in a "
        "password, %2F for each /",
    )


def _name(given: dict[str, Any], schema: str) -> str:
    """Return the URL of these parameters, without passwords."""
    user, dbname = (quote(given.get(each) or "", safe="") for each in ("user", "dbname"))
    others = {
        name: value
        for name, value in given.items()
        if name not in _SECRETS and name not in _IN_THE_URL_ITSELF
    }
    if schema != _SCHEMA:
        others["schema"] = schema
    query = urlencode(others, quote_via=quote)
    return (
        f"postgresql://{user}{'@' if user else ''}{_hosts(given)}/{dbname}"
        f"{'?' if query else ''}{query}"
    )


def _hosts(given: dict[str, Any]) -> str:
    hosts, ports = (str(given.get(each) or "").split(",") for each in ("host", "port"))
    pairs = zip_longest(hosts, ports, fillvalue=ports[-1] if len(ports) == 1 else "")
    return ",".join(
        f"{f'[{host}]' if ':' in host else quote(host, safe='')}{f':{port}' if port else ''}"
        for host, port in pairs
    )
