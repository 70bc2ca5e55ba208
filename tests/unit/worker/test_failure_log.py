"""The log of failed attempts: a line for each, and one traceback, of the program's own code."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import AttemptTimeoutError, Context, InvalidValueError, Retry
from engine.domain.own_frames import forget_own_frames
from tests.tries import trio_later
from tests.unit.claiming import AgentJob
from tests.unit.processes.handlers import run_case
from tests.unit.worker.at_work import ONCE, ended, working

pytestmark = pytest.mark.anyio

PACKAGE = str(Path(engine.__file__).parent)


def _refused(context: Context[Any]) -> InvalidValueError:
    """Return an error that comes out of the engine's code."""
    try:
        context.request_input({"$ref": "elsewhere"})
    except InvalidValueError as error:
        return error
    raise AssertionError("it was not refused")


def _parse(_job: AgentJob, context: Context[Any]) -> None:
    """Fail in many ways at once: inside of the engine's code, in the program's and in Python's."""
    try:
        json.loads("{")
    except ValueError as wrong:
        wrong.__cause__ = _refused(context)
        errors = [OSError("one"), ExceptionGroup("inner", [_refused(context)])]
        raise ExceptionGroup("no\n  input", errors)  # noqa: B904 - the context is enough


async def _awaited(job: AgentJob, context: Context[Any]) -> None:
    _parse(job, context)


def _logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return the level and the text of each line about an attempt, as a file would have it."""
    lines = [each for each in caplog.records if each.name == "engine.worker"]
    return [(each.levelname, logging.Formatter().format(each)) for each in lines]


@pytest.mark.parametrize("handler", [_parse, _awaited])
async def test_each_attempt_has_one_line_and_only_the_last_a_traceback(
    handler: Any,  # noqa: ANN401 - of either kind
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with working(handler, retry=Retry(3, 0)) as opened:
        job = await ended(opened)
    *retried, (level, text) = _logged(caplog)
    what = "and another one follows: ExceptionGroup: no input (2 sub-exceptions); OSError: one; "
    for number, (each, line) in enumerate(retried, start=1):
        assert each == "WARNING"
        assert line.startswith(f"attempt {number} of job {job.job_id} failed, {what}")
        assert len(line.splitlines()) == 1
    assert len(retried) == 2
    assert level == "ERROR"
    assert text.startswith(f"attempt 3 of job {job.job_id} failed, and no other one follows\n")
    assert f'File "{__file__}"' in text
    assert "JSONDecodeError" in text
    assert "InvalidValueError" in text
    assert PACKAGE not in text


async def test_a_long_error_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(_job: AgentJob) -> None:
        raise ValueError("x" * 100_000)

    async with working(handle, retry=Retry(2, 0)) as opened:
        await ended(opened)
    (_, line), _ = _logged(caplog)
    assert len(line) < 500
    assert line.endswith("…")


async def test_an_error_of_the_engine_alone_has_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handle(given: int) -> int:
        return given

    async with working(handle, retry=ONCE) as opened:
        await ended(opened, "no number")
    [(level, text)] = _logged(caplog)
    assert level == "ERROR"
    assert "InvalidValueError: input doesn't fit" in text
    assert "Traceback" not in text


@trio_later
async def test_a_handler_in_a_process_is_logged_alike(caplog: pytest.LogCaptureFixture) -> None:
    async with working(run_case, processes=True, retry=Retry(2, 0)) as opened:
        await ended(opened, "odd")
    (first, line), (last, text) = _logged(caplog)
    assert (first, last, len(line.splitlines())) == ("WARNING", "ERROR", 1)
    assert "handlers.py" in text
    assert PACKAGE not in text


class _BrokenError(Exception):
    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401
        raise RuntimeError(name)


def test_errors_may_refer_to_each_other_or_to_nothing_that_can_be_read() -> None:
    one, other = AttemptTimeoutError(1), _BrokenError()
    one.__cause__, one.__context__ = other, one
    other.__cause__ = one
    forget_own_frames(one)
    forget_own_frames(other)
