"""Job ids: UUID7 as text, by default."""

from __future__ import annotations

from collections.abc import Callable
from os import urandom
from time import time_ns
from typing import Final, TypeAlias

IdSource: TypeAlias = Callable[[], str]

_VARIANT_OF: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def new_job_id() -> str:
    """Return a new UUID7 as text (RFC 9562, section 5.7): the time in milliseconds, and 74 bits.

    The bits come from the system's random source. Ids that grow with time go to the end of a
    storage's index; with UUID4 each job of a batch would change another page of the index.
    """
    time = f"{time_ns() // 1_000_000:012x}"
    random = urandom(10).hex()
    variant = _VARIANT_OF[random[3]]
    return f"{time[:8]}-{time[8:]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:19]}"
