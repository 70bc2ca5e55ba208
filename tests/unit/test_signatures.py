"""The two facades have the same calls."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from engine import JobEngine, SyncJobEngine

ONLY_BLOCKING = {"close"}
LIMITED = {"result", "wait"}  # by a timeout in both
ITERATED = {"watch"}  # not awaited, and without a timeout


def _calls(facade: type[Any]) -> dict[str, Callable[..., Any]]:
    return {
        name: call
        for name, call in inspect.getmembers(facade, inspect.isfunction)
        if not name.startswith("_")
    }


CALLS = sorted(_calls(JobEngine))


def test_the_calls_are_those_that_are_promised() -> None:
    assert CALLS == [
        "attempts",
        "audit",
        "backfill",
        "backup",
        "cancel",
        "count",
        "create",
        "create_many",
        "disable_rule",
        "drain",
        "enable_rule",
        "extend",
        "find",
        "follow_up",
        "follow_ups",
        "get",
        "get_many",
        "history",
        "list_jobs",
        "pause",
        "paused",
        "provide_input",
        "prune",
        "remove_rule",
        "repeat",
        "result",
        "resume",
        "retry",
        "rules",
        "start",
        "statistics",
        "transition",
        "transition_many",
        "wait",
        "watch",
    ]


def test_both_facades_have_the_same_calls() -> None:
    assert sorted(_calls(SyncJobEngine)) == sorted({*CALLS, *ONLY_BLOCKING})


@pytest.mark.parametrize("name", sorted({*CALLS} - ITERATED))
def test_a_call_differs_in_its_timeout_alone(name: str) -> None:
    awaited = inspect.signature(_calls(JobEngine)[name])
    blocking = inspect.signature(_calls(SyncJobEngine)[name])
    timeout = blocking.parameters["timeout"]
    assert (timeout.kind, timeout.default) == (inspect.Parameter.KEYWORD_ONLY, None)
    assert timeout.annotation == "float | None"
    common = [each for each in blocking.parameters.values() if name in LIMITED or each != timeout]
    assert common == list(awaited.parameters.values())
    assert blocking.return_annotation == awaited.return_annotation


@pytest.mark.parametrize("name", sorted(ITERATED))
def test_what_is_iterated_differs_in_its_iterator_alone(name: str) -> None:
    awaited = inspect.signature(_calls(JobEngine)[name])
    blocking = inspect.signature(_calls(SyncJobEngine)[name])
    assert "timeout" not in blocking.parameters
    assert list(blocking.parameters.values()) == list(awaited.parameters.values())
    assert awaited.return_annotation == f"Async{blocking.return_annotation}"
    assert not inspect.iscoroutinefunction(_calls(JobEngine)[name])


@pytest.mark.parametrize("name", sorted({*CALLS} - ITERATED))
def test_every_call_is_awaited_in_one_facade_and_not_in_the_other(name: str) -> None:
    assert inspect.iscoroutinefunction(_calls(JobEngine)[name])
    assert not inspect.iscoroutinefunction(_calls(SyncJobEngine)[name])


@pytest.mark.parametrize("name", CALLS)
def test_the_summaries_are_the_same(name: str) -> None:
    awaited, blocking = (str(inspect.getdoc(_calls(f)[name])) for f in (JobEngine, SyncJobEngine))
    assert awaited.splitlines()[0] == blocking.splitlines()[0]


def test_both_facades_are_made_with_the_same_arguments() -> None:
    awaited, blocking = (inspect.signature(each).parameters for each in (JobEngine, SyncJobEngine))
    assert {*blocking} - {*awaited} == {"may_block_event_loop"}
    assert [blocking[name] for name in awaited] == list(awaited.values())
