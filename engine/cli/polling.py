"""Polling: looks at a place again and again, whether an engine has it or not."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic, sleep
from typing import Final

from engine.storage.inspection import Place, View

PAUSE_SECONDS: Final = 0.5
"""Between two looks: a look takes a millisecond in a file, and a connection to a database."""


def looks(place: Place, seconds: float | None = None) -> Iterator[View]:
    """Give the state of a place, a new one each time, for so long or without an end.

    Raises:
        StorageError: It can't be read, or is no engine's.
    """
    end = None if seconds is None else monotonic() + seconds
    while True:
        with place.reading() as view:
            yield view
        left = PAUSE_SECONDS if end is None else min(PAUSE_SECONDS, end - monotonic())
        if left <= 0:
            return
        sleep(left)
