"""The cost of a scenario."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """The cost of one operation; less is better."""

    wall: float
    cpu: float | None = None
    """None if the scenario does not measure time."""
    unit: str = "µs"


class Stopwatch:
    """Starts when it is made, after collecting earlier garbage."""

    def __init__(self) -> None:
        gc.collect()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def per(self, operations: int) -> Figure:
        """Return the time since the start, divided by so many operations."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Figure(1e6 * wall / operations, 1e6 * cpu / operations)
