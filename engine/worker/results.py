"""Results: make the stored form of a handler's return value, and look whether it comes back."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct
from pydantic import TypeAdapter

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.json_text import KeptText, kept_json_text, loss_in
from engine.domain.lossy_types import loss_of_type
from engine.domain.reading_steps import steps_of_reading
from engine.domain.typed_values import dumped, problem_of
from engine.domain.validation import MAX_RESULT_CHARACTERS, check_text
from engine.worker.signature import Signature

# Values of these are plain, or speak for themselves by their own types.
_SAY_NOTHING: Final = (None, type(None), Any, object, str, int, float, bool, dict, list)


class Result(Struct, frozen=True):
    """A handler's result in its stored form."""

    text: str | None
    form: Literal["json"] | None = None
    """``json`` for a result that is JSON; None for a text, and without a result."""
    lost: str | None = None
    """Where the result doesn't come back as it was returned, such as ``result.price``."""


class Results:
    """Makes the results of a handler.

    A value is written by the handler's return annotation, if it comes back so; otherwise by its own
    type, which loses less.

    Args:
        signature: The handler's; None if it has none.

    Raises:
        InvalidValueError: The return annotation is a type that can't come back, that can take too
            long to read, or that pydantic doesn't know.
    """

    def __init__(self, signature: Signature | None) -> None:
        self._adapter = None if signature is None else _adapter_of(signature.returns)

    def result(self, value: object) -> Result:
        """Return a value in its stored form: a text as it is, anything else as JSON.

        Raises:
            InvalidValueError: It is too long, or can't be made JSON.
        """
        if value is None:
            return Result(None)
        if isinstance(value, str):
            return Result(check_text("result", value, MAX_RESULT_CHARACTERS, shortest=0))
        kept = _by_own_type(value) if self._adapter is None else _kept(self._adapter, value)
        return Result(kept.text, "json", None if kept.loss is None else kept.loss.path)


def _by_own_type(value: object) -> KeptText:
    return kept_json_text("result", value, MAX_RESULT_CHARACTERS)


def _kept(adapter: TypeAdapter[Any], value: object) -> KeptText:
    by_annotation = _by_annotation(adapter, value)
    if by_annotation is not None and by_annotation.loss is None:
        return by_annotation
    try:
        text = _by_own_type(value).text
    except InvalidValueError:
        if by_annotation is None:
            raise
        return by_annotation
    return KeptText(text, loss_in("result", adapter, value, text))


def _by_annotation(adapter: TypeAdapter[Any], value: object) -> KeptText | None:
    """Return a value as its annotation writes it; None if that fails."""
    try:
        plain = dumped(adapter, value)
        text = kept_json_text("result", plain, MAX_RESULT_CHARACTERS).text
    except Exception:  # noqa: BLE001 - the value isn't of the type, or a serializer fails
        return None
    return KeptText(text, loss_in("result", adapter, value, text))


def _adapter_of(kind: Any) -> TypeAdapter[Any] | None:  # noqa: ANN401 - any annotation
    """Return the adapter of a return annotation; None if it says nothing.

    Raises:
        InvalidValueError: See `Results`.
    """
    if any(kind is each for each in _SAY_NOTHING):
        return None
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        steps_of_reading(adapter)
        loss = loss_of_type("result", adapter)
    except Exception as error:
        problem = f"returns a {shown(kind)}, which can't be kept as JSON: {problem_of(error)}"
        raise InvalidValueError("handler", problem) from error
    if loss is not None:
        raise InvalidValueError(
            "handler",
            f"returns a {shown(kind)}, which can't come back from JSON: {loss}; return a type that "
            "has no such part, or give the part a serializer",
        )
    return adapter
