"""Measure work in function calls, which don't depend on the speed of the machine."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable


async def calls_during(act: Callable[[], Awaitable[object]]) -> int:
    """Return the number of function calls during some work."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        await act()
    finally:
        sys.setprofile(before)
    return calls
