"""The input hash: names a job's input, if its submitter gives no other name."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import rfc8785

from engine.domain.exceptions import InvalidValueError
from engine.domain.json_text import value_of

_HASH_OF_NULL: Final = sha256(b"null").hexdigest()


def hash_of(text: str | None) -> str:
    """Return the SHA-256 of an input in its canonical form (RFC 8785), as 64 hexadecimal digits.

    Args:
        text: The input as JSON; None for no input, whose hash is that of ``null``.

    Raises:
        InvalidValueError: The input has an integer beyond 2**53 - 1, whose canonical form would be
            that of another integer, too.
    """
    if text is None:
        return _HASH_OF_NULL
    try:
        return sha256(rfc8785.dumps(value_of(text))).hexdigest()
    except rfc8785.IntegerDomainError as error:
        raise InvalidValueError(
            "input",
            f"has an integer beyond 2**53 - 1, which RFC 8785 can't tell from others ({error}): "
            "give an input_hash, or the integer as a text",
        ) from None
