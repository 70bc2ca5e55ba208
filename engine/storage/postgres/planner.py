"""Planner: the settings with which functions run.

A function keeps a plan that was made while a table was small, and that is the wrong one for a large
table. So the ways that are right for small tables alone are closed to the planner. It would think
that compiling the rest pays off; that is off, too.
"""

from __future__ import annotations

from typing import Final

PLAIN: Final = "SET search_path FROM CURRENT SET jit = off"
BY_INDEX: Final = (
    f"{PLAIN} SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off"
)
IN_ORDER_OF_INDEX: Final = (
    f"{PLAIN} SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off"
)
