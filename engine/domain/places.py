"""Places: where in a caller's value something is, for error messages."""

from __future__ import annotations

from typing import Final, TypeAlias

from engine.domain.exceptions import shown

Place: TypeAlias = "tuple[Place, str | int] | None"
"""The container's place, and the key in it; None for the whole value."""

_HALF_PATH: Final = 100
_LONGEST_KEY: Final = 40


def path_of(root: str, place: Place) -> str:
    """Return the path from a root to a place, such as ``input.files[3]``, cut if it is long."""
    steps: list[str] = []
    while place is not None:
        place, key = place
        steps.append(_step(key))
    path = root + "".join(reversed(steps))
    if len(path) > 2 * _HALF_PATH:
        return f"{path[:_HALF_PATH]}…{path[-_HALF_PATH:]}"
    return path


def _step(key: str | int) -> str:
    if isinstance(key, str) and len(key) <= _LONGEST_KEY and key.isidentifier():
        return f".{key}"
    return f"[{shown(key)}]"
