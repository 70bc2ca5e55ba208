"""Numbers and flags: every public argument of these types accepts just the right values.

The arguments are found in the signatures, so this test fails for a new argument without a case.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any, Final, TypeAlias

import anyio
import pytest

from engine import (
    EngineError,
    FollowUp,
    Gate,
    InvalidValueError,
    Job,
    JobEngine,
    JobStatus,
    Move,
    NewJob,
    Retention,
    Retry,
    SyncJobEngine,
    Worker,
)

pytestmark = pytest.mark.anyio

Given: TypeAlias = Any
Call: TypeAlias = Callable[[Given], object]
Arguments: TypeAlias = dict[str, tuple[set[str], Call]]
"""Arguments that accept some of the `VALUES`, each with a call that passes one."""


class One(IntEnum):
    ONE = 1


class Measured(float):
    """A float subclass, such as numpy.float64."""

    __slots__ = ()


class Scalar:
    """A number by its methods but not by its class, such as numpy.float32 and numpy.int64."""

    def __float__(self) -> float:
        return 1.0

    def __int__(self) -> int:
        return 1

    def __index__(self) -> int:
        return 1


VALUES: Final[dict[str, Given]] = {
    "NaN": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "an integer past all floats": 10**400,
    "a negative integer past all floats": -(10**400),
    "-1": -1,
    "1": 1,
    "1.0": 1.0,
    "a subclass of int": One.ONE,
    "a subclass of float": Measured(1.0),
    "True": True,
    "a text": "1",
    "bytes": b"1",
    "None": None,
    "a list": [],
    "a Decimal": Decimal(1),
    "a Fraction": Fraction(1),
    "a complex number": 1 + 0j,
    "a number by its methods": Scalar(),
}
INTEGER: Final = {"1", "a subclass of int"}
NUMBER: Final = INTEGER | {"1.0", "a subclass of float"}
ANY_NUMBER: Final = NUMBER | {"-1"}
TIMEOUT: Final = NUMBER | {"None", "infinity", "an integer past all floats"}
FLAG: Final = {"True"}
TEXT: Final = {"a text"}  # of a number
NONE: Final = {"None"}


async def _handle(job: Job) -> None:
    raise AssertionError(job)


async def _check(_: object) -> list[str]:
    return []


def _made() -> Arguments:
    """Return the arguments that are checked when an object is made."""
    awaited = JobEngine()
    return {
        "Worker concurrency": (
            INTEGER,
            lambda value: Worker(awaited, _handle, concurrency=value),
        ),
        "Worker wait_for_threads": (
            FLAG,
            lambda value: Worker(awaited, _handle, wait_for_threads=value),
        ),
        "Worker max_deaths": (INTEGER, lambda value: Worker(awaited, _handle, max_deaths=value)),
        "Worker timeout_seconds": (
            NUMBER | NONE,
            lambda value: Worker(awaited, _handle, timeout_seconds=value),
        ),
        "Worker grace_seconds": (
            NUMBER,
            lambda value: Worker(awaited, _handle, grace_seconds=value),
        ),
        "Worker idempotent": (FLAG, lambda value: Worker(awaited, _handle, idempotent=value)),
        "Worker processes": (FLAG, lambda value: Worker(awaited, abs, processes=value)),
        "Gate interval_seconds": (
            NUMBER,
            lambda value: Gate(awaited, _check, interval_seconds=value),
        ),
        "Gate timeout_seconds": (
            NUMBER,
            lambda value: Gate(awaited, _check, timeout_seconds=value),
        ),
        "Retry max_attempts": (INTEGER, lambda value: Retry(max_attempts=value)),
        "Retry first_delay_seconds": (NUMBER, lambda value: Retry(first_delay_seconds=value)),
        "Retry factor": (NUMBER, lambda value: Retry(factor=value)),
        "Retry max_delay_seconds": (NUMBER | NONE, lambda value: Retry(max_delay_seconds=value)),
        "Retry jitter": (NUMBER, lambda value: Retry(jitter=value)),
        "Retention max_jobs": (
            INTEGER | NONE,
            lambda value: Retention(timedelta(1), max_jobs=value),
        ),
        "Retention interval_seconds": (
            NUMBER,
            lambda value: Retention(timedelta(1), interval_seconds=value),
        ),
        "JobEngine max_waiting": (INTEGER, lambda value: JobEngine(max_waiting=value)),
        "JobEngine max_batch": (INTEGER, lambda value: JobEngine(max_batch=value)),
        "JobEngine control": (FLAG, lambda value: JobEngine(control=value)),
        "SyncJobEngine control": (
            FLAG,
            lambda value: SyncJobEngine(control=value, may_block_event_loop=True).close(),
        ),
        "SyncJobEngine max_waiting": (
            INTEGER,
            lambda value: SyncJobEngine(max_waiting=value, may_block_event_loop=True).close(),
        ),
        "SyncJobEngine max_batch": (
            INTEGER,
            lambda value: SyncJobEngine(max_batch=value, may_block_event_loop=True).close(),
        ),
        "SyncJobEngine may_block_event_loop": (
            FLAG,
            lambda value: SyncJobEngine(may_block_event_loop=value).close(),
        ),
    }


def _called(engine: Any, name: str) -> Arguments:  # noqa: ANN401 - either facade
    """Return the arguments that are checked by the calls of both facades."""
    return {
        f"{name}.create priority": (
            INTEGER | {"-1"},
            lambda value: engine.create("hash", priority=value),
        ),
        f"{name}.create start": (FLAG, lambda value: engine.create("hash", start=value)),
        f"{name}.create_many start": (
            FLAG,
            lambda value: engine.create_many([NewJob("hash", start=value)]),
        ),
        f"{name}.create_many priority": (
            INTEGER | {"-1"},
            lambda value: engine.create_many([NewJob("hash", priority=value)]),
        ),
        f"{name}.transition expected_version": (
            INTEGER | NONE,
            lambda value: engine.transition("?", JobStatus.RUNNING, expected_version=value),
        ),
        f"{name}.transition_many expected_version": (
            INTEGER | NONE,
            lambda value: engine.transition_many(
                [Move("?", JobStatus.RUNNING, expected_version=value)]
            ),
        ),
        f"{name}.list_jobs limit": (INTEGER, lambda value: engine.list_jobs(limit=value)),
        f"{name}.audit limit": (INTEGER, lambda value: engine.audit(limit=value)),
        f"{name}.audit before": (INTEGER | NONE, lambda value: engine.audit(before=value)),
        f"{name}.prune keep": (
            INTEGER | NONE,
            lambda value: engine.prune(older_than=timedelta(1), keep=value),
        ),
        f"{name}.drain engine_id": (
            NONE,  # no engine in memory has a number
            lambda value: engine.drain(value, undo=True),
        ),
        f"{name}.drain undo": (FLAG, lambda value: engine.drain(undo=value)),
        f"{name}.list_jobs newest_first": (
            FLAG,
            lambda value: engine.list_jobs(newest_first=value),
        ),
        f"{name}.list_jobs follow_ups": (FLAG, lambda value: engine.list_jobs(follow_ups=value)),
        f"{name}.count follow_ups": (FLAG, lambda value: engine.count(follow_ups=value)),
        f"{name}.wait follow_ups": (FLAG, lambda value: engine.wait("?", follow_ups=value)),
        f"{name}.count at_most": (INTEGER | NONE, lambda value: engine.count(at_most=value)),
        f"{name}.watch after": (INTEGER | NONE | TEXT, lambda value: engine.watch(after=value)),
        f"{name}.watch progress": (FLAG, lambda value: engine.watch(progress=value)),
        f"{name}.wait timeout": (TIMEOUT, lambda value: engine.wait("?", timeout=value)),
        f"{name}.result timeout": (TIMEOUT, lambda value: engine.result("?", timeout=value)),
    }


CALLED_BY_WORKERS: Final = ("Retry.delay_seconds", "Retry.is_for")
BULK: Final = ("create_many", "transition_many")
TIMED: dict[str, Callable[[SyncJobEngine, Given], object]] = {
    "create": lambda engine, value: engine.create("hash", timeout=value),
    "create_many": lambda engine, value: engine.create_many([], timeout=value),
    "find": lambda engine, value: engine.find(payment_id="?", timeout=value),
    "get": lambda engine, value: engine.get("?", timeout=value),
    "get_many": lambda engine, value: engine.get_many([], timeout=value),
    "transition": lambda engine, value: engine.transition("?", JobStatus.RUNNING, timeout=value),
    "transition_many": lambda engine, value: engine.transition_many([], timeout=value),
    "start": lambda engine, value: engine.start("?", timeout=value),
    "cancel": lambda engine, value: engine.cancel("?", timeout=value),
    "extend": lambda engine, value: engine.extend("?", JobStatus.RUNNING, None, timeout=value),
    "repeat": lambda engine, value: engine.repeat("?", timeout=value),
    "retry": lambda engine, value: engine.retry("?", timeout=value),
    "provide_input": lambda engine, value: engine.provide_input("?", "?", 1, timeout=value),
    "count": lambda engine, value: engine.count(timeout=value),
    "list_jobs": lambda engine, value: engine.list_jobs(timeout=value),
    "history": lambda engine, value: engine.history("?", timeout=value),
    "attempts": lambda engine, value: engine.attempts("?", timeout=value),
    "follow_up": lambda engine, value: engine.follow_up("?", "refund", timeout=value),
    "follow_ups": lambda engine, value: engine.follow_ups("?", timeout=value),
    "backfill": lambda engine, value: engine.backfill("refund", timeout=value),
    "rules": lambda engine, value: engine.rules(timeout=value),
    "remove_rule": lambda engine, value: engine.remove_rule("other", timeout=value),
    "disable_rule": lambda engine, value: engine.disable_rule("other", timeout=value),
    "enable_rule": lambda engine, value: engine.enable_rule("other", timeout=value),
    "pause": lambda engine, value: engine.pause("other", timeout=value),
    "resume": lambda engine, value: engine.resume("other", timeout=value),
    "paused": lambda engine, value: engine.paused(timeout=value),
    "drain": lambda engine, value: engine.drain(undo=True, timeout=value),
    "backup": lambda engine, value: engine.backup("copy.db", timeout=value),
    "prune": lambda engine, value: engine.prune(keep=1, timeout=value),
    "audit": lambda engine, value: engine.audit(timeout=value),
    "statistics": lambda engine, value: engine.statistics(timeout=value),
}


def _timed(engine: SyncJobEngine) -> Arguments:
    return {
        f"SyncJobEngine.{name} timeout": (TIMEOUT, lambda value, call=call: call(engine, value))  # type: ignore[misc]
        for name, call in TIMED.items()
    }


async def _check_all(arguments: Arguments) -> None:
    for name, (accepts, call) in arguments.items():
        accepted = {
            label for label, value in VALUES.items() if await _is_accepted(name, call, value)
        }
        assert (name, accepted) == (name, accepts)


async def _is_accepted(name: str, call: Call, value: Given) -> bool:
    """Return whether a value is accepted; if not, check that the error names the argument."""
    try:
        outcome = call(value)
        if isinstance(outcome, Awaitable):
            await outcome
    except InvalidValueError as error:
        if error.field != name.split()[1]:
            raise
        return False
    except EngineError:  # there is no such job, say
        return True
    return True


async def test_what_objects_are_made_of() -> None:
    await _check_all(_made())


async def test_what_both_engines_are_called_with() -> None:
    async with JobEngine() as awaited:
        await _check_all(_called(awaited, "JobEngine"))
    with SyncJobEngine(may_block_event_loop=True) as blocking:
        await _check_all(_called(blocking, "SyncJobEngine"))


def test_how_long_threads_wait() -> None:
    rule = FollowUp("refund", to={JobStatus.FAILED})
    with SyncJobEngine(may_block_event_loop=True, follow_ups=[rule]) as engine:
        anyio.run(_check_all, _timed(engine))


def test_no_argument_is_missed() -> None:
    """Return every parameter of the public classes with a number or flag in its annotation."""
    with SyncJobEngine() as engine:
        checked = {*_made(), *_timed(engine)}
        for name in ("JobEngine", "SyncJobEngine"):
            checked |= {*_called(engine, name)}
    found = set()
    for kind in (Worker, Gate, Retry, Retention, JobEngine, SyncJobEngine):
        for name, call in inspect.getmembers(kind, inspect.isfunction):
            if name == "__init__" or not name.startswith("_"):
                owner = kind.__name__ if name == "__init__" else f"{kind.__name__}.{name}"
                found |= {f"{owner} {each}" for each in _numbers_of(call)}
    found = {each for each in found if not each.startswith(CALLED_BY_WORKERS)}
    # These have them in their items.
    items = {f"{name}.{call}" for name in ("JobEngine", "SyncJobEngine") for call in BULK}
    assert found == {name for name in checked if name.split()[0] not in items or "timeout" in name}


def _numbers_of(call: Callable[..., Any]) -> Iterator[str]:
    for name, parameter in inspect.signature(call).parameters.items():
        if re.search(r"\b(int|float|bool)\b", str(parameter.annotation)):
            yield name
