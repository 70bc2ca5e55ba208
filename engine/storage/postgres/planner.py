"""Planner: the settings with which statements and functions run.

The server keeps the plans of functions and of prepared statements. One that was made while a table
was small is the wrong one for a large table. So the ways that are right for small tables alone are
closed to the planner. It would think that compiling the rest pays off; that is off, too.
"""

from __future__ import annotations

from typing import Final

_OFF_BY_INDEX: Final = ("jit", "enable_seqscan", "enable_hashjoin", "enable_mergejoin")
_OFF_IN_ORDER: Final = ("jit", "enable_seqscan", "enable_bitmapscan", "enable_sort")

# Else the server may plan anew each time, which takes longer than the rest.
_ONCE: Final = {"plan_cache_mode": "force_generic_plan"}


def _settings(*off: str) -> dict[str, str]:
    return dict.fromkeys(off, "off") | _ONCE


def _function(*off: str) -> str:
    settings = (f"SET {name} = {value}" for name, value in _settings(*off).items())
    return " ".join(["SET search_path FROM CURRENT", *settings])


OF_CONNECTIONS: Final = _settings(*_OFF_BY_INDEX, "enable_bitmapscan")
"""For the statements of a connection."""
PLAIN: Final = _function("jit")
"""For functions: with no more than their own search path."""
BY_INDEX: Final = _function(*_OFF_BY_INDEX)
IN_ORDER_OF_INDEX: Final = _function(*_OFF_IN_ORDER)
