"""Telling a Ctrl-C from a `KeyboardInterrupt` that a job's handler raised by itself.

While `stop_signals` is open a Ctrl-C raises nothing. Without it, asyncio's runner cancels the main
task at the first one, and raises at the second in whatever runs then; trio raises at the first, in
the task that runs then or, if none does, in the main task. Where that is a job's handler it would
be taken for the handler's own failure, and the program would go on.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from anyio.lowlevel import current_token

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

# Where the two event loops raise it, from the signal: the module and the function.
_RAISERS = {("asyncio.runners", "_on_sigint"), ("trio._core._ki", "handler")}


def protect(function: AnyFunction) -> AnyFunction:
    """Have the main task get what a Ctrl-C raises while this function runs, or what it calls.

    To be called on the event loop that will run it; it lasts. Does nothing on asyncio, which has no
    such means, nor for other tasks that the function starts.
    """
    if not isinstance(current_token().native_token, asyncio.AbstractEventLoop):
        sys.modules["trio"].lowlevel.enable_ki_protection(function)
    return function


def is_ctrl_c(error: BaseException) -> bool:
    """Tell whether an event loop's own handler of SIGINT raised this, or something in this group.

    By the innermost frame of its traceback. It does not know an interrupt that Python's own handler
    raised, as it does under an asyncio loop without a runner: C code has no frame.
    """
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_ctrl_c, error.exceptions))
    if not isinstance(error, KeyboardInterrupt):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    frame, code = trace.tb_frame, trace.tb_frame.f_code
    return (frame.f_globals.get("__name__"), code.co_name) in _RAISERS
