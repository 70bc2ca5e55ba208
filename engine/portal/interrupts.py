"""Interrupts: exceptions that a signal's handler raises in code that has no part in them.

Python runs the handler of a signal between any two steps of the main thread. What it raises, such
as the exit of ``signal.signal(SIGTERM, lambda *_: sys.exit())``, comes out of the code that was
running: of a job's handler, perhaps. There it would pass for the job's own failure, and the program
would carry on. A Ctrl-C is one of these: outside of `engine.portal.signals`, asyncio's runner
cancels the main task at the first one, and at the second raises in the task that is running; trio
raises at the first, in the running task or, if none runs, in the main task.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType, TracebackType
from typing import Any, TypeVar

from anyio.lowlevel import current_token

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def protect(function: AnyFunction) -> AnyFunction:
    """Leave a Ctrl-C to the main task while this function, or one that it calls, is running.

    To be called on the event loop that will run the function; the effect lasts. Does nothing on
    asyncio, which has no means for it, nor for other tasks that the function starts.
    """
    if not isinstance(current_token().native_token, asyncio.AbstractEventLoop):
        sys.modules["trio"].lowlevel.enable_ki_protection(function)
    return function


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


def _has_handler(trace: TracebackType | None) -> bool:
    """Return whether a frame of a traceback is that of a signal's handler."""
    installed = set(_installed())
    before: FrameType | None = None
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code in installed or (before and _was_given(frame, before)):
            return True
        before, trace = frame, trace.tb_next
    return False


def _was_given(frame: FrameType, before: FrameType) -> bool:
    """Return whether a function was called with its caller's frame and the number of a signal.

    So does the interpreter call a signal's handler, and hardly anything else.
    """
    arguments = inspect.getargvalues(frame)
    values = [arguments.locals.get(name) for name in arguments.args]
    if arguments.varargs is not None:
        values += arguments.locals.get(arguments.varargs, ())
    signals = signal.valid_signals()
    return any(each is before for each in values) and any(
        isinstance(each, int) and each in signals for each in values
    )


def _installed() -> Iterator[CodeType]:
    """Yield the code of each function that is a signal's handler now."""
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        while hasattr(handler, "func"):  # of functools.partial
            handler = handler.func
        if callable(handler) and not hasattr(handler, "__code__"):
            handler = getattr(handler, "__func__", type(handler).__call__)  # of a method or object
        if isinstance(code := getattr(handler, "__code__", None), CodeType):
            yield code
