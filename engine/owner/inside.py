"""What the engine runs for its user, and must not close the part that runs it: handlers, checks.

It would wait for its own end. The mark is a context variable, so it also covers the tasks and the
threads that a handler starts, as long as the handler itself runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from engine.domain.exceptions import WrongLoopError


@dataclass(slots=True)
class _Run:
    parts: tuple[object, ...]
    has_ended: bool = False


_current: ContextVar[_Run | None] = ContextVar("engine run", default=None)


@contextmanager
def inside(*parts: object) -> Iterator[None]:
    """Mark what runs meanwhile: none of these parts may be closed in it."""
    run = _Run(parts)
    token = _current.set(run)
    try:
        yield
    finally:
        run.has_ended = True
        _current.reset(token)


def check_outside(part: object, name: str) -> None:
    """Refuse to close a part in a run of its own.

    Raises:
        WrongLoopError: Called by what the part runs.
    """
    run = _current.get()
    if run is not None and not run.has_ended and part in run.parts:
        raise WrongLoopError(
            f"a handler or check can't close the {name} that runs it, for it would wait for its "
            "own end: let it return, and close elsewhere"
        )
