"""Retries: the number of attempts, the delays between them, and the errors that allow them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.domain.exceptions import HandlerError, InvalidValueError, shown
from engine.domain.interrupts import foreign_attribute
from engine.domain.validation import check_integer, check_number, check_seconds

MAX_ATTEMPTS: Final = 1_000
MAX_FACTOR: Final = 1_000
MAX_DELAY_SECONDS: Final = 31_622_400  # 366 days: now plus a delay stays in the calendar
_LONGEST_DELAY_SECONDS: Final = 300.0
_UNREADABLE: Final = object()


@dataclass(frozen=True, slots=True)
class Retry:
    """Retries failed attempts, each after a longer delay.

    The delay after the n-th failure is ``first_delay_seconds * factor ** (n - 1)``, at most
    `longest_delay_seconds`. ``jitter`` then spreads it evenly to both sides: 0.2 gives 80 to 120 %.
    This is the rule of gRPC's connections ("GRPC Connection Backoff Protocol",
    ``doc/connection-backoff.md`` of grpc/grpc), with its jitter. Marc Brooker, "Exponential Backoff
    And Jitter", AWS Architecture Blog, 2015, shows why jobs that failed together should not be
    retried together.

    An error whose attribute ``retryable`` is False is never retried: the job fails, whatever the
    lifecycle's ``exhausted_to`` is. So does an error that ``retry_on`` doesn't name. An error may
    say itself when to try again, as paid APIs do: its attribute ``retry_after_seconds``, a finite
    number, 0 or more, replaces the delay. It is cut to `longest_delay_seconds` and gets no jitter.
    Any other value is ignored, and logged, and so is one that can't be read. Attempts that died
    with their process rest for the same delays, but do not count here: see `engine.domain.deaths`.

    Attributes:
        max_attempts: A job fails when so many of its attempts have failed, or waits in the
            lifecycle's ``exhausted_to``, if it has one: 1 to 1,000; 3 by default. 1: no retries.
        first_delay_seconds: The delay after the first failure: 0 to 366 days; 1 s by default.
        factor: The ratio of each delay to the one before: 1 to 1,000; 2 by default.
        max_delay_seconds: The longest delay before jitter: from the first delay to 366 days; by
            default the larger of 300 s and the first delay.
        jitter: The part of a delay by which it may be longer or shorter: 0 to 1; 0.2 by default.
        retry_on: The errors that are retried: a class derived from Exception, or a tuple of such
            classes; every Exception by default. An empty tuple: no error. An error that a handler
            raised in a process is found by the names of its classes.

    Raises:
        InvalidValueError: A value has the wrong type or is out of its range.
    """

    max_attempts: int = 3
    first_delay_seconds: float = 1.0
    factor: float = 2.0
    max_delay_seconds: float | None = None
    jitter: float = 0.2
    retry_on: type[Exception] | tuple[type[Exception], ...] = (Exception,)

    def __post_init__(self) -> None:
        """Check the values."""
        check_integer("max_attempts", self.max_attempts, 1, MAX_ATTEMPTS)
        check_number("first_delay_seconds", self.first_delay_seconds, 0, MAX_DELAY_SECONDS)
        check_number("factor", self.factor, 1, MAX_FACTOR)
        if self.max_delay_seconds is not None:
            smallest = self.first_delay_seconds
            check_number("max_delay_seconds", self.max_delay_seconds, smallest, MAX_DELAY_SECONDS)
        check_number("jitter", self.jitter, 0, 1)
        kinds: object = self.retry_on
        for kind in kinds if isinstance(kinds, tuple) else (kinds,):
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                raise InvalidValueError(
                    "retry_on", f"must be classes derived from Exception, not {shown(kind)}"
                )

    @property
    def longest_delay_seconds(self) -> float:
        """The longest delay before jitter: ``max_delay_seconds``, or its default."""
        if self.max_delay_seconds is not None:
            return self.max_delay_seconds
        return max(_LONGEST_DELAY_SECONDS, self.first_delay_seconds)

    def delay_seconds(self, failures: int, random: float) -> float:
        """Return the delay after a failed attempt.

        Args:
            failures: The number of failed attempts, this one included: 1 or more.
            random: A random number for this delay: 0 or more, below 1.
        """
        try:
            grown = self.first_delay_seconds * float(self.factor) ** (failures - 1)
        except OverflowError:  # past 1.8e308
            grown = self.longest_delay_seconds if self.first_delay_seconds else 0.0
        delay = min(grown, self.longest_delay_seconds)
        return delay * (1.0 + self.jitter * (2.0 * random - 1.0))

    def is_for(self, error: BaseException) -> bool:
        """Return whether an attempt that this error ended is worth another one."""
        return self._names(error) and is_retryable(error)

    def _names(self, error: BaseException) -> bool:
        """Return whether the rule names the class of an error, or a base class of it."""
        if not isinstance(error, HandlerError):
            return isinstance(error, self.retry_on)
        kinds = self.retry_on if isinstance(self.retry_on, tuple) else (self.retry_on,)
        return any(f"{kind.__module__}.{kind.__qualname__}" in error.kinds for kind in kinds)


NO_RETRY: Final = Retry(max_attempts=1)


def retry_after_seconds(error: BaseException) -> float | None:
    """Return an error's own delay before the next attempt; None without one.

    Raises:
        InvalidValueError: It can't be read, or is no finite number of 0 or more.
    """
    seconds = foreign_attribute(error, "retry_after_seconds", default=None, broken=_UNREADABLE)
    if seconds is _UNREADABLE:
        raise InvalidValueError("retry_after_seconds", "can't be read")
    return None if seconds is None else float(check_seconds("retry_after_seconds", seconds))


def is_retryable(error: BaseException) -> bool:
    """Return whether an error's own attribute ``retryable`` allows another attempt."""
    return foreign_attribute(error, "retryable", default=True, broken=True) is not False
