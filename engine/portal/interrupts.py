"""Interrupts on the event loop: which task a Ctrl-C reaches.

`engine.domain.interrupts` tells them from errors.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
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
