"""Checks of callers' arguments, and their limits; a refused call is never queued.

Every check costs the same for a text of 1 GB as for one of 1 kB, because it looks at the size
first. A text may hold any characters except two kinds, which some storages would change or cut: NUL
(PostgreSQL refuses it, SQLite's shell cuts at it) and lone surrogates (they have no UTF-8 form, RFC
3629).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from typing import Any, Final, TypeGuard, TypeVar

from engine.domain.exceptions import EngineError, InvalidValueError, shown

Item = TypeVar("Item")
Checked = TypeVar("Checked")

MAX_INPUT_HASH_CHARACTERS: Final = 256
MAX_IDENTIFIER_CHARACTERS: Final = 256  # blockchain identifiers, idempotency keys, job ids
MAX_RESULT_CHARACTERS: Final = 1_048_576
MAX_ERROR_CHARACTERS: Final = 65_536
MAX_LAST_ERROR_CHARACTERS: Final = 4_000  # of a failed attempt
MAX_INPUT_CHARACTERS: Final = 262_144  # of an input as JSON
MAX_ANSWER_CHARACTERS: Final = 262_144  # of an answer to a prompt, as JSON
MAX_ANSWERS_CHARACTERS: Final = 1_048_576  # of all answers of a job
MAX_REASON_CHARACTERS: Final = 4_096
MAX_BY_CHARACTERS: Final = 256
MAX_PRIORITY: Final = 1_000_000  # the lowest is -MAX_PRIORITY
MAX_BULK_ITEMS: Final = 10_000
MAX_PAGE_JOBS: Final = 1_000
MAX_PAGE_LINES: Final = 1_000  # of the audit, and of transitions
# Of the long texts of all jobs in one answer: sixteen jobs with the longest results.
MAX_READ_CHARACTERS: Final = 16 * MAX_RESULT_CHARACTERS
MAX_INTEGER: Final = 2**63 - 1  # the largest of SQLite and PostgreSQL


def check_text(field: str, value: object, longest: int, *, shortest: int = 1) -> str:
    """Return the value if it is a text that every storage keeps unchanged.

    Raises:
        InvalidValueError: It is not a str, too long or too short, or has a NUL or a lone surrogate.
    """
    if type(value) is str and shortest <= len(value) <= longest:
        if value.isascii() and "\0" not in value:
            return value  # nearly always
    elif not isinstance(value, str):
        raise InvalidValueError(field, f"must be a str, not {_kind(value)}: {shown(value)}")
    # Only the plain text of a subclass, such as an enum member, is kept: nothing can change it, and
    # the garbage collector does not track it.
    value = str.__str__(value)
    if not shortest <= len(value) <= longest:
        raise InvalidValueError(
            field, f"must have {shortest} to {longest} characters, and has {len(value)}"
        )
    if "\0" in value:
        raise InvalidValueError(field, f"must not have a NUL character: {shown(value)}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidValueError(
                field, f"must not have a lone surrogate: {shown(value)}"
            ) from None
    return value


def check_optional_text(
    field: str, value: object, longest: int, *, shortest: int = 1
) -> str | None:
    """Return the value if it is None or passes `check_text`."""
    return None if value is None else check_text(field, value, longest, shortest=shortest)


def kept_text(text: str, longest: int) -> str:
    """Return the beginning of any text, without what `check_text` refuses: for texts of errors."""
    text = text[:longest].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode(errors="replace").decode()


def check_integer(field: str, value: object, smallest: int, largest: int = MAX_INTEGER) -> int:
    """Return the value if it is an int in the range; of a subclass, the plain int.

    Raises:
        InvalidValueError: It is not an int, or a bool, or out of the range.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidValueError(field, f"must be an int, not {_kind(value)}: {shown(value)}")
    value = int.__int__(value)
    if not smallest <= value <= largest:
        raise InvalidValueError(field, f"must be {smallest} to {largest}, and is {shown(value)}")
    return value


def check_number(
    field: str, value: object, smallest: float = -math.inf, largest: float = math.inf
) -> float:
    """Return the value if it is a finite number in the range; of a subclass, the plain number.

    Raises:
        InvalidValueError: It is not a number, or a bool, NaN, infinite, or out of the range.
    """
    value = _plain(value)
    if not _is_finite(value) or not smallest <= value <= largest:
        if smallest == -math.inf and largest == math.inf:
            raise InvalidValueError(field, f"must be a finite number, not {shown(value)}")
        raise InvalidValueError(
            field, f"must be a number from {smallest} to {largest}, not {shown(value)}"
        )
    return value


def check_seconds(field: str, value: object, *, above_zero: bool = False) -> float:
    """Return the value if it is a finite duration in seconds; of a subclass, the plain number.

    Raises:
        InvalidValueError: It is not a finite number, or below zero, or zero with ``above_zero``.
    """
    value = _plain(value)
    if not _is_finite(value) or value < 0 or (above_zero and not value):
        least = "above 0" if above_zero else "0 or more"
        raise InvalidValueError(field, f"must be seconds, {least}, not {shown(value)}")
    return value


def check_timeout(value: object) -> float | None:
    """Return the timeout of a call in seconds; None for no limit.

    Accepts infinity and ints of any size, and returns the largest float for them.

    Raises:
        InvalidValueError: It is not a number, or below zero.
    """
    if value is None:
        return None
    value = _plain(value)
    if not _is_number(value) or not value >= 0:
        raise InvalidValueError("timeout", f"must be seconds, 0 or more, not {shown(value)}")
    return float(min(value, sys.float_info.max))


def check_flag(field: str, value: object) -> bool:
    """Return the value if it is a bool.

    Raises:
        InvalidValueError: It is not a bool, such as 1 or an empty list.
    """
    if not isinstance(value, bool):
        raise InvalidValueError(field, f"must be True or False, not {shown(value)}")
    return value


def is_async_function(function: object) -> bool:
    """Return whether calling this returns a coroutine.

    True for an async function, also as a bound method or in `functools.partial`; for an object with
    an async ``__call__``; and for a function marked by `inspect.markcoroutinefunction`. False for a
    plain function that returns a coroutine: nothing marks it.
    """
    while isinstance(function, partial):
        function = function.func
    return iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)


def is_generator_function(function: object) -> bool:
    """Return whether calling this returns a generator, of either kind; see `is_async_function`."""
    while isinstance(function, partial):
        function = function.func
    return any(
        isgeneratorfunction(each) or isasyncgenfunction(each)
        for each in (function, type(function).__call__)
    )


def takes(function: Callable[..., Any], count: int) -> bool:
    """Return whether a function takes so many positional arguments.

    True for a function without a signature, as some in C are.
    """
    try:
        parameters = signature(function)
    except (TypeError, ValueError):
        return True
    try:
        parameters.bind(*range(count))
    except TypeError:
        return False
    return True


def plain_time(value: datetime) -> datetime:
    """Return an aware time in UTC; of a subclass, such as pandas' `Timestamp`, the plain datetime.

    Raises:
        OverflowError: It is outside the calendar in UTC.
    """
    if type(value) is datetime:
        return value if value.tzinfo is UTC else value.astimezone(UTC)
    utc = value.astimezone(UTC)
    date, time = (utc.year, utc.month, utc.day), (utc.hour, utc.minute, utc.second)
    return datetime(*date, *time, utc.microsecond, tzinfo=UTC)


def plain_duration(value: timedelta) -> timedelta:
    """Return a duration; of a subclass, such as pandas' `Timedelta`, the plain timedelta."""
    if type(value) is timedelta:
        return value
    return timedelta(value.days, value.seconds, value.microseconds)


def _plain(value: object) -> object:
    """Return the plain number of a subclass, such as an enum member: nothing can change it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__int__(value)
    return float.__float__(value) if isinstance(value, float) else value


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: object) -> TypeGuard[float]:
    try:
        return _is_number(value) and math.isfinite(value)
    except OverflowError:  # an integer past 1.8e308, the largest float
        return False


def check_job_id(value: object) -> str:
    """Return the value if it can be the id of a job; see `check_text`."""
    return check_text("job_id", value, MAX_IDENTIFIER_CHARACTERS)


def check_each(
    items: Iterable[Item], kind: type[Item], check: Callable[[Item], Checked]
) -> list[Checked]:
    """Check the items of a bulk call; the error has the number of the wrong item.

    Raises:
        InvalidValueError: An item has the wrong type or fails the check; or there are more than
            10,000 items.
    """
    checked: list[Checked] = []
    if not isinstance(items, Iterable):
        raise InvalidValueError("items", f"must be an iterable, not {shown(items)}")
    try:
        for item in items:
            if not isinstance(item, kind):
                raise InvalidValueError("item", f"must be a {kind.__name__}, not {shown(item)}")
            if len(checked) == MAX_BULK_ITEMS:
                raise InvalidValueError(
                    "item",
                    f"is one too many; a call may have {MAX_BULK_ITEMS:,} items at most: split it",
                )
            checked.append(check(item))
    except EngineError as error:
        error.item = len(checked)
        raise
    return checked


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
