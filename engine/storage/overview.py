"""Overviews: what a program that is no engine tells of a place as a whole."""

from __future__ import annotations

from typing import Final

from msgspec import DecodeError, Struct
from msgspec.json import Decoder


class Statuses(Struct, frozen=True):
    """The statuses of a lifecycle, as `engine.domain.lifecycle.description` has them."""

    statuses: tuple[str, ...]
    running: str
    success: tuple[str, ...]
    failure: tuple[str, ...]

    @property
    def live(self) -> tuple[str, ...]:
        """Those of jobs that have not ended."""
        ends = {*self.success, *self.failure}
        return tuple(status for status in self.statuses if status not in ends)

    @classmethod
    def of(cls, description: str | None) -> Statuses | None:
        """Return those of a description; None for none, and for one that can't be read."""
        try:
            return None if description is None else _decoder.decode(description)
        except DecodeError:  # also for other JSON
            return None


_decoder: Final = Decoder(Statuses)
