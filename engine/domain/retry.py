"""Retrying: how often a job is tried, how long it rests before that, and which errors count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.validation import check_integer, check_number

MAX_ATTEMPTS: Final = 1_000
MAX_FACTOR: Final = 1_000
MAX_DELAY_SECONDS: Final = 31_622_400  # 366 days: any time it is added to can be written down


@dataclass(frozen=True, slots=True)
class Retry:
    """A rule: a failed attempt is followed by another one after a delay that grows.

    The delay after the n-th failure is ``first_delay_seconds * factor ** (n - 1)``, but not above
    ``max_delay_seconds``, and then spread evenly by ``jitter`` to both sides: with 0.2 it is
    80 to 120 % of that. It is the rule of gRPC's connections ("GRPC Connection Backoff Protocol",
    ``doc/connection-backoff.md`` of grpc/grpc), with its jitter. Why the delays of many jobs that
    failed at once have to differ: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture
    Blog, 2015.

    An error can refuse, too: one whose attribute ``retryable`` is False is never retried.

    Attributes:
        max_attempts: How many attempts a job has in all: 1 to 1,000; 3 by default. 1: no retries.
        first_delay_seconds: The delay after the first failure: 0 to 366 days; 1 by default.
        factor: How much longer each delay is than the one before: 1 to 1,000; 2 by default.
        max_delay_seconds: What the delays grow to, before they are spread: from the first delay
            to 366 days; 300 by default.
        jitter: How far a delay is spread, as a part of it: 0 to 1; 0.2 by default.
        retry_on: The errors after which to try again: a class derived from Exception, or a tuple
            of such; every Exception by default. An empty tuple: none.

    Raises:
        InvalidValueError: A value is of the wrong type or out of its range.
    """

    max_attempts: int = 3
    first_delay_seconds: float = 1.0
    factor: float = 2.0
    max_delay_seconds: float = 300.0
    jitter: float = 0.2
    retry_on: type[Exception] | tuple[type[Exception], ...] = (Exception,)

    def __post_init__(self) -> None:
        """Check the values."""
        check_integer("max_attempts", self.max_attempts, 1, MAX_ATTEMPTS)
        check_number("first_delay_seconds", self.first_delay_seconds, 0, MAX_DELAY_SECONDS)
        check_number("factor", self.factor, 1, MAX_FACTOR)
        smallest = self.first_delay_seconds
        check_number("max_delay_seconds", self.max_delay_seconds, smallest, MAX_DELAY_SECONDS)
        check_number("jitter", self.jitter, 0, 1)
        kinds: object = self.retry_on
        for kind in kinds if isinstance(kinds, tuple) else (kinds,):
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                raise InvalidValueError(
                    "retry_on", f"must be classes derived from Exception, not {shown(kind)}"
                )

    def delay_seconds(self, failures: int, random: float) -> float:
        """Return how long to rest after a failed attempt.

        Args:
            failures: How many attempts have failed, this one included: 1 or more.
            random: A number from 0 to below 1 that was drawn for this delay alone.
        """
        try:
            grown = self.first_delay_seconds * float(self.factor) ** (failures - 1)
        except OverflowError:  # past 1.8e308
            grown = self.max_delay_seconds if self.first_delay_seconds else 0.0
        delay = min(grown, self.max_delay_seconds)
        return delay * (1.0 + self.jitter * (2.0 * random - 1.0))

    def may_retry(self, error: BaseException, failures: int) -> bool:
        """Tell whether there is another attempt after this error.

        Args:
            error: What ended the attempt.
            failures: How many attempts have failed, this one included.
        """
        if failures >= self.max_attempts or not isinstance(error, self.retry_on):
            return False
        try:
            return getattr(error, "retryable", True) is not False
        except Exception:  # noqa: BLE001 - a broken attribute must not hide that the handler failed
            return True
