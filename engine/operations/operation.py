"""An operation: a name, the form of its arguments, and what it does with an engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from msgspec import Struct, ValidationError, convert

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.validation import check_seconds
from engine.owner.core import Core


class Arguments(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The arguments of an operation, as a JSON object has them."""


Given = TypeVar("Given", bound=Arguments)


@dataclass(frozen=True)
class Operation(Generic[Given]):
    """One operation.

    Attributes:
        name: As all doors have it.
        summary: One line for documents and helps, without a full stop.
        arguments: Their form.
        run: Does it; gets the engine's core, the arguments and who asks, and returns JSON.
        acts: Whether it changes anything.
    """

    name: str
    summary: str
    arguments: type[Given]
    run: Callable[[Core[Any], Given, str | None], Awaitable[Any]]
    acts: bool = False

    def checked(self, arguments: Mapping[str, Any], *, are_texts: bool = False) -> Given:
        """Return the arguments.

        Args:
            arguments: A JSON object.
            are_texts: Whether numbers and booleans are given as texts, as a query has them.

        Raises:
            InvalidValueError: One is missing, unknown or of the wrong type.
        """
        try:
            return convert(arguments, self.arguments, strict=not are_texts)
        except ValidationError as error:
            text, _, place = str(error).partition(" - at ")
            field = place.strip("`").removeprefix("$.") or self.name
            raise InvalidValueError(field, f"can't be read: {text}") from None


def length_of(field: str, seconds: float) -> timedelta:
    """Return the length of time that an argument gives in seconds.

    Raises:
        InvalidValueError: It gives none, or one that no calendar has.
    """
    try:
        return timedelta(seconds=check_seconds(field, seconds))
    except OverflowError:
        problem = f"must be seconds that a calendar has, not {shown(seconds)}"
        raise InvalidValueError(field, problem) from None
