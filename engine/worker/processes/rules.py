"""The rules for the processes of a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.domain.validation import check_integer, check_seconds

MAX_IDLE: Final = 10_000
MAX_JOBS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Processes:
    """Says how a worker keeps the processes that run its handler.

    A process starts when a job has none, and stays for the next job. `Worker` has the limit of
    their number, its ``concurrency``.

    Attributes:
        max_idle: The most processes that stay without a job: 0 to 10,000. None, the default: as
            many as the machine has processors.
        max_jobs: A process ends after so many jobs, against leaks of memory: 1 to 1,000,000,000;
            1,000 by default. 1: each job has a process of its own.
        start_seconds: How long a process may take to start and to load the handler: above 0; 60 by
            default. It does not count against the worker's ``timeout_seconds``.

    Raises:
        InvalidValueError: A value has the wrong type or is out of its range.
    """

    max_idle: int | None = None
    max_jobs: int = 1_000
    start_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Check the values."""
        if self.max_idle is not None:
            check_integer("max_idle", self.max_idle, 0, MAX_IDLE)
        check_integer("max_jobs", self.max_jobs, 1, MAX_JOBS)
        check_seconds("start_seconds", self.start_seconds, above_zero=True)
