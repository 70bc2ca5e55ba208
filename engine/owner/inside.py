"""What the engine runs for its user, and must not close the part that runs it: handlers, checks.

It would wait for its own end. The mark is a context variable, so it also covers the tasks and the
threads that a handler starts, as long as the handler itself runs.
"""

from __future__ import annotations

from contextvars import ContextVar, Token

from engine.domain.exceptions import WrongLoopError


class Inside:
    """Marks what runs inside its ``with``: none of these parts may be closed there."""

    __slots__ = ("_token", "has_ended", "parts")

    def __init__(self, *parts: object) -> None:
        self.parts = parts
        self.has_ended = False

    def __enter__(self) -> None:
        self._token: Token[Inside | None] = _current.set(self)

    def __exit__(self, *_: object) -> None:
        self.has_ended = True
        _current.reset(self._token)


_current: ContextVar[Inside | None] = ContextVar("engine run", default=None)


def check_outside(part: object, name: str) -> None:
    """Refuse to close a part in a run of its own.

    Raises:
        WrongLoopError: Called by what the part runs.
    """
    run = _current.get()
    if run is not None and not run.has_ended and any(part is each for each in run.parts):
        raise WrongLoopError(
            f"a handler or check can't close the {name} that runs it, for it would wait for its "
            "own end: let it return, and close elsewhere"
        )
