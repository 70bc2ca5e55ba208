"""Interrupts: exceptions that a signal's handler raises in code that has no part in them.

Python runs the handler of a signal between any two steps of the main thread. What it raises, such
as the exit of ``signal.signal(SIGTERM, lambda *_: sys.exit())``, comes out of the code that was
running: of a job's handler, or of the text of an error. There it would pass for the job's own
failure, or be swallowed, and the program would carry on. A Ctrl-C is one of these: outside of
`engine.portal.signals`, asyncio's runner cancels the main task at the first one, and at the second
raises in the task that is running; trio raises at the first, in the running task or, if none runs,
in the main task.
"""

from __future__ import annotations

import inspect
import signal
from collections.abc import Iterator
from functools import partial
from types import CodeType, FrameType, FunctionType, MethodType, TracebackType
from typing import Any, Final, NamedTuple


class _Installed(NamedTuple):
    """A function that is a signal's handler, and the object that it is called with first."""

    code: CodeType
    owner: object


_NOBODY: Final = object()


def raised_by_signal(error: BaseException) -> BaseException | None:
    """Return the exception that a signal's handler raised: this error, or one in this group.

    Returns:
        None if there is none. The traceback shows it: one of its frames is that of a function that
        is a signal's handler now, or was called as one. What a handler in C raises goes unnoticed,
        as C code has no frame: the `KeyboardInterrupt` of Python's own handler, for example, under
        an asyncio loop without a runner.
    """
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(raised_by_signal, error.exceptions)), None)
    return error if _has_handler(error.__traceback__) else None


def must_pass(error: BaseException) -> bool:
    """Return whether code that swallows what foreign code raises has to let this go on.

    A `KeyboardInterrupt` does, whoever has raised it: there is no telling Python's own.
    """
    return isinstance(error, KeyboardInterrupt) or raised_by_signal(error) is not None


def foreign_attribute(owner: object, name: str, *, default: object, broken: object) -> Any:  # noqa: ANN401
    """Return an attribute of an object that isn't the engine's.

    Args:
        owner: The object.
        name: The attribute's.
        default: Returned if there is none.
        broken: Returned if reading it fails.
    """
    try:
        return getattr(owner, name, default)
    except BaseException as error:
        if must_pass(error):
            raise
        return broken


def _has_handler(trace: TracebackType | None) -> bool:
    """Return whether a frame of a traceback is that of a signal's handler."""
    installed = list(_installed())
    before: FrameType | None = None
    while trace is not None:
        frame = trace.tb_frame
        if any(_runs(frame, each) for each in installed) or (before and _was_given(frame, before)):
            return True
        before, trace = frame, trace.tb_next
    return False


def _runs(frame: FrameType, handler: _Installed) -> bool:
    """Return whether a frame is that of a handler, and of no other object of its class."""
    if frame.f_code is not handler.code:
        return False
    first = frame.f_code.co_varnames[:1]
    return handler.owner is _NOBODY or any(
        frame.f_locals.get(name, handler.owner) is handler.owner for name in first
    )


def _was_given(frame: FrameType, before: FrameType) -> bool:
    """Return whether a function was called with its caller's frame and the number of a signal.

    So does the interpreter call a signal's handler, and hardly anything else.
    """
    arguments = inspect.getargvalues(frame)
    values = [arguments.locals.get(name) for name in arguments.args]
    rest = arguments.locals.get(arguments.varargs or "", ())
    if type(rest) is tuple:  # else the function has given its name to another value
        values += rest
    signals = signal.valid_signals()
    return any(each is before for each in values) and any(
        type(each) is int and each in signals for each in values
    )


def _installed() -> Iterator[_Installed]:
    """Yield each function that is a signal's handler now. Asks no handler for its attributes."""
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        while isinstance(handler, partial):
            handler = handler.func
        owner = _NOBODY
        if isinstance(handler, MethodType):
            owner, handler = handler.__self__, handler.__func__
        elif callable(handler) and not isinstance(handler, FunctionType):
            owner, handler = handler, type(handler).__call__
        if isinstance(handler, FunctionType):
            yield _Installed(handler.__code__, owner)
