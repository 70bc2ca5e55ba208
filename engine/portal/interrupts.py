"""Interrupts on the event loop: which task a Ctrl-C reaches, and who passes one on.

`engine.domain.interrupts` tells them from errors.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any, TypeAlias, TypeVar

from anyio.lowlevel import current_token

from engine.domain.interrupts import must_pass, raised_by_signal

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])
PassOn: TypeAlias = Callable[[BaseException], object]
"""Passes an interrupt on to the program."""

_pass_on: ContextVar[PassOn | None] = ContextVar("engine passes interrupts on", default=None)


def protect(function: AnyFunction) -> AnyFunction:
    """Leave a Ctrl-C to the main task while this function, or one that it calls, is running.

    To be called on the event loop that will run the function; the effect lasts. Does nothing on
    asyncio, which has no means for it, nor for other tasks that the function starts.
    """
    if not isinstance(current_token().native_token, asyncio.AbstractEventLoop):
        sys.modules["trio"].lowlevel.enable_ki_protection(function)
    return function


def context_of_tasks(pass_on: PassOn) -> Context:
    """Return an empty context for an engine's tasks, in which `pass_interrupt_on` calls this."""
    context = Context()
    context.run(_pass_on.set, pass_on)
    return context


def pass_interrupt_on(error: BaseException) -> None:
    """Pass an error that came out of foreign code on to the program, if it is an interrupt.

    So the engine's own code can go on to its end. Outside of the engine's tasks it raises the
    interrupt. Ignores any other error.
    """
    if must_pass(error):
        pass_on = _pass_on.get()
        if pass_on is None:
            raise error
        pass_on(raised_by_signal(error) or error)
