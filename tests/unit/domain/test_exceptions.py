"""Errors: the docstring draws the tree of the classes, and every error can be pickled."""

import copy
import pickle
import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

import engine
from engine.domain import exceptions
from engine.domain.exceptions import EngineError, StorageError, shown
from engine.domain.outcomes import Outcome
from tests.reliability.programs.raising import ExitingError

EXAMPLES: dict[str, tuple[Any, ...]] = {
    "EngineError": ("message",),
    "JobNotFoundError": ("job-1",),
    "InvalidStateTransitionError": ("running", "awaiting_payment", ("completed",), "job-1"),
    "VersionConflictError": ("job-1", 1, 2),
    "StatusConflictError": ("job-1", "running", "completed"),
    "AttemptConflictError": ("job-1", 1, 2),
    "DeadlineConflictError": ("job-1", "running", None, "2026-11-30T12:00:00Z"),
    "JobClaimedError": ("job-1", 2),
    "StaleAttemptError": ("job-1", 2),
    "StalePromptError": ("job-1", "prompt-1", "prompt-2"),
    "JobEndedError": ("job-1", "completed", Outcome.SUCCEEDED),
    "NotRetryableError": ("job-1", "running", "it is ready"),
    "JobFailedError": ("job-1", "failed", "no paper"),
    "AttemptTimeoutError": (60.0,),
    "HandlerProcessError": ("the process 7 of the handler ended with exit code 3",),
    "HandlerError": ("ValueError: no paper", ["builtins.ValueError", "builtins.Exception"]),
    "IdempotencyConflictError": ("key-1", "job-1", "input_hash"),
    "PaymentInUseError": ("payment-1",),
    "KindInUseError": ("report",),
    "PaymentConflictError": ("job-1", "payment-1"),
    "DuplicateJobIdError": ("job-1",),
    "UnknownCursorError": (7, 5),
    "CursorExpiredError": (3, 5),
    "InvalidValueError": ("limit", "must be 1"),
    "LifecycleError": ("message",),
    "OverloadedError": (11, 10),
    "StorageError": (28, "no space left"),
    "StorageInUseError": ("jobs.db", "process 17"),
    "StorageFullError": ("jobs.db is full",),
    "StorageReadOnlyError": ("jobs.db can't be written",),
    "StorageFormatError": ("jobs.db is something else",),
    "CommitsLostError": ("postgresql://db.example/jobs",),
    "LeaseLostError": ("postgresql://db.example/jobs",),
    "StorageDamagedError": ("jobs.db is malformed",),
    "JobDamagedError": ("job-1", "its checksum is wrong"),
    "CallTimeoutError": (1.5,),
    "OutcomeUnknownError": ("message",),
    "WriteTimeoutError": (1.5,),
    "EngineUnavailableError": ("message",),
    "EngineNotStartedError": (),
    "EngineStartedError": (),
    "EngineClosedError": (),
    "EngineForkedError": (),
    "WrongLoopError": ("message",),
    "EngineCrashedError": (KeyError("cause"),),
    "CommitUnknownError": (StorageError("disk I/O error"),),
    "CommitCrashedError": (KeyError("cause"),),
}

ERRORS: dict[str, type[EngineError]] = {
    name: value
    for name, value in vars(exceptions).items()
    if isinstance(value, type) and issubclass(value, EngineError)
}


def _drawn_tree() -> dict[str, set[str]]:
    """Read the tree in the docstring: each error, with its bases."""
    bases: dict[str, set[str]] = {}
    path: list[str] = []
    for line in str(exceptions.__doc__).splitlines():
        drawn = re.match(r"    ([│ ├└─]*)(\w+Error)(?: \((\w+)\))?(?:  |$)", line)
        if drawn is None:
            continue
        depth = len(drawn[1]) // 4
        path[depth:] = [drawn[2]]
        bases.setdefault(drawn[2], set()).update(path[depth - 1 : depth] if depth else [])
        bases[drawn[2]].update([drawn[3]] if drawn[3] else [])
    return bases


def _made(name: str) -> EngineError:
    error = ERRORS[name](*EXAMPLES[name])
    error.item = 3
    return error


def test_the_docstring_draws_the_classes_and_their_bases() -> None:
    defined = {name: {base.__name__ for base in kind.__bases__} for name, kind in ERRORS.items()}
    defined["EngineError"] = set()
    assert _drawn_tree() == defined


def test_every_error_is_exported_at_the_top() -> None:
    assert set(engine.__all__) >= set(ERRORS)
    assert all(getattr(engine, name) is kind for name, kind in ERRORS.items())


def test_every_error_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(ERRORS)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_the_message_and_every_attribute(name: str, protocol: int) -> None:
    error = _made(name)
    other = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert other.args == error.args
    assert vars(other) == vars(error)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copying_keeps_the_message_and_every_attribute(
    name: str, copied: Callable[[EngineError], EngineError]
) -> None:
    error = _made(name)
    other = copied(error)
    assert other is not error
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_message_is_one_line_of_text_that_names_what_it_was_given(name: str) -> None:
    error = ERRORS[name](*EXAMPLES[name])
    message = str(error)
    assert message
    assert "\n" not in message
    assert not message.startswith("item ")
    assert all(arg in message for arg in error.args if isinstance(arg, str))


def test_only_a_bulk_error_names_its_item() -> None:
    error = EngineError("message")
    assert error.item is None
    assert str(error) == "message"
    error.item = 0
    assert str(error) == "item 0: message"


def test_a_storage_error_keeps_the_number_of_the_system_error() -> None:
    error = StorageError(28, "no space left")
    assert (error.errno, error.strerror) == (28, "no space left")
    assert copy.copy(error).errno == 28


@pytest.mark.parametrize("name", ["EngineCrashedError", "CommitCrashedError"])
def test_a_crash_has_its_bug_as_cause(name: str) -> None:
    error = ERRORS[name](KeyError("planted"))
    assert isinstance(error.__cause__, KeyError)
    assert "KeyError" in str(error)


@pytest.mark.parametrize("name", ["EngineCrashedError", "CommitCrashedError"])
def test_a_crash_is_told_even_if_its_bug_cannot_be_shown(name: str) -> None:
    error = ERRORS[name](ExitingError())
    assert "ExitingError: an error without a message" in str(error)


def test_outcome_unknown_is_told_apart_from_not_applied() -> None:
    unknown = {
        name for name, kind in ERRORS.items() if issubclass(kind, ERRORS["OutcomeUnknownError"])
    }
    assert unknown == {
        "OutcomeUnknownError",
        "WriteTimeoutError",
        "CommitUnknownError",
        "CommitCrashedError",
    }


class _Broken:
    def __repr__(self) -> str:
        raise KeyError("planted")


class _Exiting:
    def __repr__(self) -> str:
        raise SystemExit


def test_a_short_value_is_shown_as_its_repr() -> None:
    assert shown("short") == "'short'"
    assert shown(["a", 1]) == "<list of 2 items>"


@pytest.mark.parametrize(
    "value", [_Broken(), _Exiting(), 10**5000], ids=["broken", "exits", "too many digits"]
)
def test_a_value_without_a_repr_is_named_by_its_type(value: object) -> None:
    assert shown(value) == f"<{type(value).__name__} without a repr>"


LONG = {
    "a text": "x" * 10**6,
    "bytes": b"x" * 10**6,
    "a bytearray": bytearray(10**6),
    "a list": list(range(10**5)),
    "a dict": dict.fromkeys(range(10**5)),
    "a list of long texts": ["x" * 10**6] * 3,
}


@pytest.mark.parametrize("kind", LONG)
def test_a_long_value_is_cut(kind: str) -> None:
    assert len(shown(LONG[kind])) < 120


@pytest.mark.parametrize("kind", LONG)
def test_a_long_value_is_cut_before_it_is_quoted(kind: str) -> None:
    tracemalloc.start()
    try:
        shown(LONG[kind])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
