"""Interrupts: what a signal's handler raises is told from what the interrupted code raises."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any
from unittest.mock import Mock

import pytest

from engine import InvalidValueError
from engine.domain.exceptions import message_of, shown
from engine.domain.interrupts import raised_by_signal
from engine.domain.retry import is_retryable, retry_after_seconds
from tests.systems import needs_interrupts

pytestmark = needs_interrupts

NUMBER = signal.SIGTERM


class StopError(Exception):
    """A program's own."""


def stops(_number: int, _frame: FrameType | None) -> None:
    raise StopError


def stops_by_any_arguments(*_: object) -> None:
    stops_by_itself()


def stops_by_itself() -> None:
    raise StopError


def uninstalls_itself(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise StopError


def forgets_its_arguments(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise StopError


def exits(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


class Stopper:
    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        raise StopError

    def method(self, _number: int, _frame: FrameType | None) -> None:
        raise StopError


@contextmanager
def _installed(handler: Callable[..., Any]) -> Iterator[None]:
    former = signal.signal(NUMBER, handler)
    try:
        yield
    finally:
        signal.signal(NUMBER, former)


def _interrupted() -> BaseException:
    """Return what comes out of code in which the signal comes."""
    try:
        signal.raise_signal(NUMBER)
    except BaseException as error:  # noqa: BLE001 - any
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "handler",
    [
        stops,
        stops_by_any_arguments,
        uninstalls_itself,
        forgets_its_arguments,
        exits,
        Stopper(),
        Stopper().method,
        partial(lambda _text, *arguments: stops(*arguments), "bound"),
    ],
)
def test_what_a_handler_of_a_signal_raises_is_known(handler: Callable[..., Any]) -> None:
    with _installed(handler):
        error = _interrupted()
        assert raised_by_signal(error) is error
        group = BaseExceptionGroup("two", [ValueError(), error])
        assert raised_by_signal(group) is error


def test_what_code_raises_itself_is_not() -> None:
    with _installed(stops):
        for kind in (SystemExit, KeyboardInterrupt, StopError):
            with pytest.raises(kind) as raised:
                raise kind
            assert raised_by_signal(raised.value) is None
            assert raised_by_signal(kind()) is None


def test_a_function_that_takes_a_frame_is_no_handler() -> None:
    def looks_at(frame: FrameType, number: int) -> None:
        raise StopError(frame, number)

    with pytest.raises(StopError) as raised:
        looks_at(sys._getframe(), 100_000)  # noqa: SLF001 - as tracers do
    assert raised_by_signal(raised.value) is None


class Anything:
    """Has any attribute that is asked for, as a mock has, or breaks by asking."""

    def __init__(self, *, breaks: bool = False) -> None:
        self._breaks = breaks

    def __getattr__(self, name: str) -> object:
        if self._breaks:
            raise ZeroDivisionError(name)
        return Anything()

    def __call__(self, *_: object) -> None:
        raise StopError


@pytest.mark.parametrize("handler", [Mock(), Anything(), Anything(breaks=True)], ids=str)
def test_no_handler_of_a_signal_is_asked_for_its_attributes(handler: Callable[..., Any]) -> None:
    with _installed(handler):
        assert raised_by_signal(StopError()) is None
        with pytest.raises(StopError) as raised:
            raise StopError
        assert raised_by_signal(raised.value) is None
        if isinstance(handler, Anything):
            error = _interrupted()
            assert raised_by_signal(error) is error


def test_another_object_of_the_same_class_is_no_handler() -> None:
    handler = Stopper()
    for installed in (handler, handler.method):
        with _installed(installed):
            for other in (Stopper(), Stopper().method):
                with pytest.raises(StopError) as raised:
                    other(0, None)
                assert raised_by_signal(raised.value) is None


class Foreign(Exception):  # noqa: N818 - an error of somebody else's
    """Gets a signal wherever it is asked for anything."""

    def _come(self) -> Any:  # noqa: ANN401 - it raises
        signal.raise_signal(NUMBER)

    retryable = retry_after_seconds = property(_come)
    __str__ = __repr__ = _come


@pytest.mark.parametrize("ask", [shown, message_of, is_retryable, retry_after_seconds])
def test_no_question_to_a_foreign_error_swallows_an_interrupt(ask: Callable[..., Any]) -> None:
    with _installed(exits), pytest.raises(SystemExit):
        ask(Foreign())


class Broken(Exception):  # noqa: N818 - as above
    """Ends the program wherever it is asked for anything."""

    def _exit(self) -> Any:  # noqa: ANN401 - it raises
        sys.exit("its own")

    retryable = retry_after_seconds = property(_exit)
    __str__ = __repr__ = _exit


@pytest.mark.parametrize("ask", [shown, message_of, is_retryable, retry_after_seconds])
def test_an_exit_of_the_error_itself_ends_nothing(ask: Callable[..., Any]) -> None:
    with suppress(InvalidValueError):
        ask(Broken())


def _naming_anew(*rest: object) -> None:
    rest = 5  # type: ignore[assignment]
    raise ValueError(rest)


def test_a_function_that_gives_its_arguments_name_to_another_value_is_no_handler() -> None:
    with pytest.raises(ValueError, match="5") as raised:
        _naming_anew(NUMBER, None)
    assert raised_by_signal(raised.value) is None
