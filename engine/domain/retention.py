"""Retention: the rule that says which ended jobs are removed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.validation import check_integer, check_seconds, plain_duration


@dataclass(frozen=True, slots=True)
class Retention:
    """Removes ended jobs past a limit, with their histories and follow-ups, oldest end first.

    A job and its follow-ups, and theirs, leave together: once all of them have ended, and by age
    once all are old enough.

    A removed job is gone: its id is unknown, and its idempotency key and its payment are free
    again. So keep jobs for longer than a client may repeat a request, and for longer than the
    payment service may deliver a payment again: else it could pay for a second job. Live jobs are
    always kept.

    Attributes:
        max_age: Remove jobs that ended longer ago than this, by the engine's clock: one that ended
            while the clock was ahead stays for longer. None: no limit.
        max_jobs: Keep at most this many ended jobs, beside those that wait for the end of a
            follow-up. None: no limit.
        interval_seconds: The time between two searches for jobs to remove: above 0; 10 by default.

    Raises:
        InvalidValueError: A value has the wrong type or is out of its range, or neither limit is
            given.
    """

    max_age: timedelta | None = None
    max_jobs: int | None = None
    interval_seconds: float = 10.0

    def __post_init__(self) -> None:
        """Check the values."""
        if self.max_age is None and self.max_jobs is None:
            raise InvalidValueError("retention", "needs a max_age or a max_jobs")
        age: object = self.max_age
        if age is not None and not (isinstance(age, timedelta) and age >= timedelta(0)):
            raise InvalidValueError("max_age", f"must be a timedelta, 0 or more, not {shown(age)}")
        if age is not None:
            object.__setattr__(self, "max_age", plain_duration(age))
        if self.max_jobs is not None:
            check_integer("max_jobs", self.max_jobs, 0)
        check_seconds("interval_seconds", self.interval_seconds, above_zero=True)
