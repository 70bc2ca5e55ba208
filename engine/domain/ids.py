"""Job ids: UUID7 as text, by default; and UUID8 for the jobs that the engine derives."""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from os import urandom
from time import time_ns
from typing import Final, TypeAlias

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.validation import check_job_id

IdSource: TypeAlias = Callable[[], str]

_VARIANT_OF: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


_UUID_CHARACTERS: Final = 36
_DERIVED: Final = re.compile(
    "[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)


def new_job_id() -> str:
    """Return a new UUID7 as text (RFC 9562, section 5.7): the time in milliseconds, and 74 bits.

    The bits come from the system's random source. Ids that grow with time go to the end of a
    storage's index; with UUID4 each job of a batch would change another page of the index.
    """
    time = f"{time_ns() // 1_000_000:012x}"
    random = urandom(10).hex()
    variant = _VARIANT_OF[random[3]]
    return f"{time[:8]}-{time[8:]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:19]}"


def derived_id(*parts: str) -> str:
    """Return the id of a job that stems from these parts: always the same one.

    It is a UUID8 (RFC 9562, section 5.8) of their SHA-256.
    """
    digits = sha256("\0".join(parts).encode()).hexdigest()
    variant = _VARIANT_OF[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def checked_id(value: object) -> str:
    """Return the id of a new job, as an id source has returned it.

    Raises:
        InvalidValueError: It is no text of 1 to 256 characters, or has the form of derived ids.
    """
    job_id = check_job_id(value)
    if len(job_id) == _UUID_CHARACTERS and job_id[14] == "8" and _DERIVED.fullmatch(job_id):
        raise InvalidValueError(
            "job_id", f"must be no UUID of version 8, as derived jobs have: {shown(job_id)}"
        )
    return job_id
