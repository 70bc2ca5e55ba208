"""Exceptions of handlers, in a module that processes can import."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

AS_IT_SHOULD = "as it should"


class OwnError(BaseException):
    """An exception that no program would catch."""


class ExitingError(Exception):
    """An exception that exits or interrupts when it is shown."""

    def __init__(self, raised: type[BaseException] = SystemExit) -> None:
        self._raised = raised

    def __str__(self) -> str:
        raise self._raised

    @property
    def retryable(self) -> bool:
        raise SystemExit


def _group() -> BaseException:
    return ExceptionGroup("two", [ValueError("one"), OSError("other")])


def _group_of_exits() -> BaseException:
    inner = BaseExceptionGroup("inner", [KeyboardInterrupt(), GeneratorExit()])
    return BaseExceptionGroup("outer", [SystemExit(3), inner, ValueError()])


KINDS: dict[str, Callable[[], BaseException]] = {
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "CancelledError": asyncio.CancelledError,
    "GeneratorExit": GeneratorExit,
    "StopIteration": lambda: StopIteration("a value"),
    "StopAsyncIteration": StopAsyncIteration,
    "OwnError": OwnError,
    "ExitingError": ExitingError,
    "interrupting error": lambda: ExitingError(KeyboardInterrupt),
    "ExceptionGroup": _group,
    "BaseExceptionGroup": _group_of_exits,
}


def raise_in_process(job: Any) -> str:  # noqa: ANN401
    """Raise the exception that the job's input names, or end the process."""
    if job.input is None:
        return AS_IT_SHOULD
    if job.input == "os._exit":
        os._exit(3)
    error = KINDS[job.input]()
    raise error
