"""Signatures: the parameters and the annotations of a handler, with their names resolved."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

_AWAITED: Final = (Awaitable, Coroutine)
_NEVER: Final = (typing.NoReturn, typing.Never)


class Unresolved(NamedTuple):
    """An annotation with a name that can't be found when the program runs."""

    text: str
    problem: str


class Signature(NamedTuple):
    """What a function takes and returns."""

    parameters: Sequence[inspect.Parameter]
    """With resolved annotations: a type, `inspect.Parameter.empty` or an `Unresolved`."""
    returns: Any
    """The type of the result, also of a coroutine's; None if the function doesn't say it."""


def signature_of(function: Callable[..., Any]) -> Signature | None:
    """Return the signature of a function; None if it has none, as some functions in C."""
    try:
        found = _found(function)
    except (TypeError, ValueError):
        return None
    names = _globals_of(function)
    parameters = [
        each.replace(annotation=_resolved(each.annotation, names))
        for each in found.parameters.values()
    ]
    return Signature(parameters, _returned(_resolved(found.return_annotation, names)))


def _found(function: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        from annotationlib import Format  # noqa: PLC0415 - new in 3.14

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def _globals_of(function: Any) -> dict[str, Any]:  # noqa: ANN401 - anything that can be called
    """Return the names that the annotations of a function may use."""
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function)
    if inspect.isclass(function):
        function = function.__init__
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        function = inspect.unwrap(type(function).__call__)
    return getattr(function, "__globals__", {})


def _resolved(annotation: Any, names: dict[str, Any]) -> Any:  # noqa: ANN401
    if annotation is inspect.Parameter.empty:
        return annotation
    holder = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, names, include_extras=True)["it"]
    except Exception as error:  # noqa: BLE001 - an annotation may be any expression
        text = annotation if isinstance(annotation, str) else repr(annotation)
        return Unresolved(text, str(error))


def _returned(annotation: Any) -> Any:  # noqa: ANN401
    if typing.get_origin(annotation) in _AWAITED:  # of a plain function that returns a coroutine
        annotation = (typing.get_args(annotation) or (None,))[-1]
    says_nothing = annotation is inspect.Parameter.empty or isinstance(annotation, Unresolved)
    return None if says_nothing or annotation in _NEVER else annotation
