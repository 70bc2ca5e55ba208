"""The engine's own frames in tracebacks: a handler's error is its author's to mend.

They stand before the handler's frames, because the engine calls it, and behind them, where the
handler calls the engine.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Final

from engine.domain.interrupts import foreign_attribute

_PACKAGE: Final = f"{Path(__file__).parents[1]}/"


def forget_own_frames(error: BaseException) -> None:
    """Take the engine's frames out of the traceback of an error, and of all that led to it.

    These are its cause, its context and the errors of a group, and theirs. What the engine alone
    has raised is then without a traceback.
    """
    seen: set[int] = set()  # an error may have any `__hash__`
    found: list[Any] = [error]
    while found:
        each = found.pop()
        kind = type(each)  # not by `isinstance`, which may ask an error for its `__class__`
        if not issubclass(kind, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        BaseException.with_traceback(each, _without_own(_foreign(each, "__traceback__")))
        found += [_foreign(each, "__cause__"), _foreign(each, "__context__")]
        if issubclass(kind, BaseExceptionGroup):
            found += _foreign(each, "exceptions") or ()


def _foreign(error: BaseException, name: str) -> Any:  # noqa: ANN401 - of an error of any class
    return foreign_attribute(error, name, default=None, broken=None)


def _without_own(trace: TracebackType | None) -> TracebackType | None:
    steps: list[TracebackType] = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            steps.append(trace)
        trace = trace.tb_next
    kept: TracebackType | None = None
    for step in reversed(steps):
        kept = TracebackType(kept, step.tb_frame, step.tb_lasti, step.tb_lineno)
    return kept
