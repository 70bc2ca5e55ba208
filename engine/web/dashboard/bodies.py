"""Bodies: the forms and the JSON that requests bring, up to a size."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from msgspec import MsgspecError
from msgspec.json import decode
from starlette.requests import Request

from engine.domain.exceptions import InvalidValueError
from engine.domain.json_values import check_values

_MAX_BYTES: Final = 4 * 1024 * 1024  # the largest answer to a prompt, whatever it is escaped as
_MAX_FIELDS: Final = 2_000


class Form(Mapping[str, str]):
    """The fields of a form; of several with one name the first, and `all_of` has the others."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields
        self._first = dict(reversed(fields))

    def __getitem__(self, name: str) -> str:
        return self._first[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)

    def all_of(self, name: str) -> list[str]:
        """Return the values of all fields with a name."""
        return [value for each, value in self._fields if each == name]

    def filled(self, name: str) -> str | None:
        """Return the value of a field, without white space around it; None if nothing is left."""
        return self.get(name, "").strip() or None


async def form_of(request: Request, at_most: int = _MAX_BYTES) -> Form:
    """Return the form that a request brings, of up to so many bytes.

    Raises:
        InvalidValueError: It is too large.
    """
    text = (await body_of(request, at_most)).decode("utf-8", "replace")
    try:
        return Form(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:
        raise InvalidValueError("form", f"may have {_MAX_FIELDS:,} fields") from None


async def object_of(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request brings.

    Raises:
        InvalidValueError: It is too large, has very many values, or is no JSON object.
    """
    body = await body_of(request)
    check_values("body", body)
    try:
        return decode(body, type=dict[str, Any])
    except (MsgspecError, ValueError, RecursionError) as error:
        raise InvalidValueError("body", f"must be a JSON object: {error}") from None


async def body_of(request: Request, at_most: int = _MAX_BYTES) -> bytes:
    """Return the body of a request, of up to so many bytes.

    Raises:
        InvalidValueError: It is too large.
    """
    parts, size = list[bytes](), 0
    async with aclosing(request.stream()) as stream:
        async for part in stream:
            parts.append(part)
            size += len(part)
            if size > at_most:
                raise InvalidValueError("body", f"may have {at_most:,} bytes")
    return b"".join(parts)


def parts_of(token: str) -> list[Any]:
    """Return the values in a word that `token` has made.

    Raises:
        InvalidValueError: It is no such word.
    """
    try:
        parts = json.loads(unquote(token))
    except (ValueError, RecursionError):
        parts = None
    if not isinstance(parts, list):
        raise InvalidValueError("form", "has a field that this page has not made; open it anew")
    return parts
