"""Types that are costly to read: shared by tests."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, create_model


class Left(BaseModel):
    """One of two that are alike: each level of a value doubles the time to read it."""

    inner: Left | Right | None = None
    left: int = 0


class Right(BaseModel):
    """The other one."""

    inner: Left | Right | None = None
    right: int = 0


def nested(levels: int, core: object = None) -> Any:  # noqa: ANN401 - JSON
    """Return JSON that fits both, so many levels deep."""
    for _ in range(levels):
        core = {"inner": core}
    return core


FIELDS: Final = [f"field_{number}" for number in range(200)]
WIDE: Final[Any] = create_model("Wide", **dict.fromkeys(FIELDS, (int, 0)))  # type: ignore[call-overload]
"""A model of 200 fields, none of which is needed."""
ROWS: Final[list[dict[str, int]]] = [{}] * 21_000
"""Rows of it that judging takes for cheap, and reading for costly."""
