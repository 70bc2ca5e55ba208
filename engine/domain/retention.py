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
        if self.max_age is not None:
            object.__setattr__(self, "max_age", checked_age("max_age", self.max_age))
        if self.max_jobs is not None:
            check_integer("max_jobs", self.max_jobs, 0)
        check_seconds("interval_seconds", self.interval_seconds, above_zero=True)


def checked_age(field: str, age: object) -> timedelta:
    """Return an age, as a plain timedelta.

    Raises:
        InvalidValueError: It is no timedelta, or below 0.
    """
    if not (isinstance(age, timedelta) and age >= timedelta(0)):
        raise InvalidValueError(field, f"must be a timedelta, 0 or more, not {shown(age)}")
    return plain_duration(age)


def pruned_by(older_than: timedelta | None, keep: int | None) -> Retention:
    """Return the rule of `JobEngine.prune`.

    Raises:
        InvalidValueError: A value has the wrong type or is out of its range, or neither is given.
    """
    if older_than is None and keep is None:
        raise InvalidValueError("older_than", "is missing, and so is keep: give one of them")
    return Retention(
        None if older_than is None else checked_age("older_than", older_than),
        None if keep is None else check_integer("keep", keep, 0),
    )
