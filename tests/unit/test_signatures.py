"""The two facades have the same calls, so that they can't drift apart."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from engine import JobEngine, SyncJobEngine

ONLY_BLOCKING = {"close"}


def _calls(facade: type[Any]) -> dict[str, Callable[..., Any]]:
    return {
        name: call
        for name, call in inspect.getmembers(facade, inspect.isfunction)
        if not name.startswith("_")
    }


CALLS = sorted(_calls(JobEngine))


def test_the_calls_are_those_that_are_promised() -> None:
    assert CALLS == [
        "backup",
        "count",
        "create",
        "create_many",
        "get",
        "get_many",
        "history",
        "list_jobs",
        "statistics",
        "transition",
        "transition_many",
    ]


def test_both_facades_have_the_same_calls() -> None:
    assert sorted(_calls(SyncJobEngine)) == sorted({*CALLS, *ONLY_BLOCKING})


@pytest.mark.parametrize("name", CALLS)
def test_a_call_differs_in_its_timeout_alone(name: str) -> None:
    awaited = inspect.signature(_calls(JobEngine)[name])
    blocking = inspect.signature(_calls(SyncJobEngine)[name])
    parameters = dict(blocking.parameters)
    timeout = parameters.pop("timeout")
    assert (timeout.kind, timeout.default) == (inspect.Parameter.KEYWORD_ONLY, None)
    assert timeout.annotation == "float | None"
    assert list(parameters.values()) == list(awaited.parameters.values())
    assert blocking.return_annotation == awaited.return_annotation


@pytest.mark.parametrize("name", CALLS)
def test_every_call_is_awaited_in_one_facade_and_not_in_the_other(name: str) -> None:
    assert inspect.iscoroutinefunction(_calls(JobEngine)[name])
    assert not inspect.iscoroutinefunction(_calls(SyncJobEngine)[name])


@pytest.mark.parametrize("name", CALLS)
def test_the_summaries_are_the_same(name: str) -> None:
    awaited, blocking = (str(inspect.getdoc(_calls(f)[name])) for f in (JobEngine, SyncJobEngine))
    assert awaited.splitlines()[0] == blocking.splitlines()[0]


def test_both_facades_are_made_with_the_same_arguments() -> None:
    assert inspect.signature(JobEngine) == inspect.signature(SyncJobEngine)
