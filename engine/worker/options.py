"""Options: the arguments that a handler and its worker share, checked, and the rules they make."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeAlias

from engine.domain.deaths import DeathRule
from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.follow_ups import FOLLOW_UP_RETRY
from engine.domain.retry import NO_RETRY, Retry
from engine.domain.validation import check_flag, check_integer, check_seconds
from engine.owner.acts import worker_act
from engine.storage.record import Act, Record
from engine.worker.context import Context
from engine.worker.processes import Processes

MAX_CONCURRENCY: Final = 10_000
MAX_DEATHS: Final = 1_000

Middleware: TypeAlias = Callable[[Context[Any]], AbstractContextManager[object]]
"""Returns a context manager to enter before an attempt's handler runs, and to leave after it."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a handler."""

    concurrency: int
    deaths: DeathRule
    follow_up_retry: Retry
    """Instead of that of ``deaths``, for jobs that are follow-ups."""
    timeout_seconds: float | None
    holds_back: bool
    """Whether a thread that outlives its attempt holds the job back."""
    processes: Processes | None
    middleware: Sequence[Middleware]
    act: Act
    """Who makes the transitions of the attempts: the worker."""

    def retry_of(self, record: Record) -> Retry:
        """Return the rule after a failed attempt of a job."""
        return self.deaths.retry if record.parent_id is None else self.follow_up_retry


@dataclass(frozen=True, slots=True)
class Options:
    """What a `Handler` or a `Worker` was given; both document it. None: it was not.

    Raises:
        InvalidValueError: A value is of the wrong type or out of its range.
    """

    concurrency: int | None = None
    retry: Retry | None = None
    timeout_seconds: float | None = None
    idempotent: bool | None = None
    max_deaths: int | None = None
    wait_for_threads: bool | None = None
    processes: bool | Processes | None = None
    middleware: Sequence[Middleware] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if not isinstance(self.retry, Retry | None):
            raise InvalidValueError("retry", f"must be a Retry, not {shown(self.retry)}")
        checks: tuple[tuple[str, Callable[[str, Any], object]], ...] = (
            ("concurrency", lambda name, value: check_integer(name, value, 1, MAX_CONCURRENCY)),
            ("timeout_seconds", lambda name, value: check_seconds(name, value, above_zero=True)),
            ("idempotent", check_flag),
            ("max_deaths", lambda name, value: check_integer(name, value, 1, MAX_DEATHS)),
            ("wait_for_threads", check_flag),
            ("processes", lambda _, value: _checked_processes(value)),
            ("middleware", lambda _, value: _checked_middleware(value)),
        )
        for name, check in checks:
            if (value := getattr(self, name)) is not None:
                check(name, value)

    def over(self, others: Options) -> Options:
        """Return these options, and the others where these were not given."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(
            others, **{name: value for name, value in given.items() if value is not None}
        )

    def rules(self, own_retry: Retry | None) -> Rules:
        """Return the rules, which need all of these options but a retry and a timeout.

        Args:
            own_retry: That of the handler itself, and not of its worker; None without one.

        Raises:
            InvalidValueError: One is missing.
        """
        idempotent = check_flag("idempotent", self.idempotent)
        max_deaths = check_integer("max_deaths", self.max_deaths, 1, MAX_DEATHS)
        retry = self.retry or (Retry() if idempotent else NO_RETRY)
        of_follow_ups = own_retry or (FOLLOW_UP_RETRY if idempotent else NO_RETRY)
        return Rules(
            check_integer("concurrency", self.concurrency, 1, MAX_CONCURRENCY),
            DeathRule(max_deaths, idempotent, retry),
            of_follow_ups,
            self.timeout_seconds,
            check_flag("wait_for_threads", self.wait_for_threads),
            _checked_processes(self.processes),
            _checked_middleware(self.middleware),
            worker_act(),
        )


def _checked_middleware(given: object) -> Sequence[Middleware]:
    if not isinstance(given, list | tuple) or not all(map(callable, given)):
        raise InvalidValueError("middleware", f"must be a list of functions, not {shown(given)}")
    return tuple(given)


def _checked_processes(given: object) -> Processes | None:
    """Return the rules of processes; None for a handler without them.

    Raises:
        InvalidValueError: These are no rules, or this system has no process groups.
    """
    if given is False:
        return None
    rules = Processes() if given is True else given
    if not isinstance(rules, Processes):
        raise InvalidValueError(
            "processes", f"must be True, False or a Processes, not {shown(given)}"
        )
    if getattr(sys, "frozen", False) or not sys.executable:
        raise InvalidValueError(
            "processes", "need a Python interpreter, and this program was frozen into one file"
        )
    if not hasattr(os, "killpg"):
        raise InvalidValueError("processes", "need a system with process groups, such as Linux")
    return rules
