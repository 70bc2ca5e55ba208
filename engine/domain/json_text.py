"""JSON texts: check the values of callers and encode them as compact text.

A walk checks a value before it is encoded. The walk adds up the fewest characters that the text can
take, looks at the size of a text or container before its contents, and ends as soon as the sum
passes the limit. So refusing 1 GB costs no more than accepting a value at the limit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeAlias

from msgspec import Struct
from pydantic import PydanticUserError, TypeAdapter

from engine.domain.difference import difference_of
from engine.domain.exceptions import InvalidValueError, message_of, shown
from engine.domain.places import Place, path_of
from engine.domain.typed_values import adapter_of_class, dumped, problem_of, read

MAX_JSON_LEVELS: Final = 100  # CPython's own reader stops at about 1,000
MAX_JSON_DIGITS: Final = 4_000  # CPython's own reader stops at 4,300

_TOO_LARGE: Final = 10**MAX_JSON_DIGITS
_SMALL: Final = 10**9
_CONTAINERS: Final = (list, tuple, dict)
_SIZED: Final = (bytes, bytearray, set, frozenset)  # a character for each item, or more
_PLAIN: Final = (*_CONTAINERS, str, int, float, type(None))
_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False
)

Container: TypeAlias = "list[Any] | tuple[Any, ...] | dict[Any, Any]"


class Loss(NamedTuple):
    """A part of a value that would not come back from its JSON text."""

    path: str
    """Where it is, such as ``result.password``."""
    problem: str
    """The rest of an error message; it shows the part."""


class KeptText(NamedTuple):
    """A JSON text, and the first loss of the value in it."""

    text: str
    loss: Loss | None


def json_text(field: str, value: object, longest: int) -> str:
    """Encode a value as compact JSON text, and check that the text gives the value back.

    A value is None, a bool, an int, a float, a str, a list or tuple of values, or a dict of str
    keys and values. Or it is of another type that pydantic knows, such as a model, a dataclass or a
    datetime. Each of these has to come back equal by its own type; plain values always do. Sets are
    sorted.

    Args:
        field: The name of the argument, for the error.
        value: The value.
        longest: The most characters that the text may have.

    Raises:
        InvalidValueError: The value holds anything else; or a NaN, an infinity, a lone surrogate
            (RFC 8259, sections 6 and 8.2), an int of more than 4,000 digits, or more than 100
            levels of containers, as when a value holds itself; or the text is too long. Or a part
            doesn't come back equal: a secret, an excluded field, the fields of a subclass.
    """
    kept = kept_json_text(field, value, longest)
    if kept.loss is not None:
        raise InvalidValueError(field, kept.loss.problem)
    return kept.text


def kept_json_text(field: str, value: object, longest: int) -> KeptText:
    """Encode a value as `json_text` does, even if the text doesn't give the value back.

    Raises:
        InvalidValueError: As for `json_text`, but for the last reason.
    """
    walk = _Walk(field, longest)
    text = walk.text(value)
    for part in walk.typed.values():
        if (loss := _loss_of(field, part)) is not None:
            return KeptText(text, loss)
    return KeptText(text, None)


def loss_in(
    field: str, adapter: TypeAdapter[Any], value: object, text: str, place: Place = None
) -> Loss | None:
    """Read a value back from its JSON text; return the first loss, or None if it comes back equal.

    Args:
        field: The name of the argument.
        adapter: Of the type to read it as.
        value: The value.
        text: The text.
        place: The place of the value in the argument.
    """
    try:
        difference = difference_of(value, read(adapter, text), place)
    except Exception as error:  # noqa: BLE001 - validators and comparisons may raise anything
        path = path_of(field, place)
        return Loss(path, f"can't be read back from JSON, at {path}: {problem_of(error)}")
    if difference is None:
        return None
    path = path_of(field, difference.place)
    given, found = shown(difference.given), shown(difference.found)
    return Loss(path, f"doesn't come back from JSON as it is: {given}, at {path}, becomes {found}")


def value_of(text: str | None) -> Any:  # noqa: ANN401 - any value that JSON can hold
    """Decode a JSON text; None for None."""
    return None if text is None else json.loads(text)


def same_value(one: str | None, other: str | None) -> bool:
    """Return whether two JSON texts have the same value; None is the text of no value, null.

    The order of keys doesn't count, and 1 equals 1.0. Integers are compared exactly; true is not 1.
    """
    return one == other or _equal(value_of(one), value_of(other))


def _equal(one: Any, other: Any) -> bool:  # noqa: ANN401 - any values that JSON can hold
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


class _TypedPart(Struct, frozen=True):
    """A part of a value that pydantic has made plain."""

    value: object
    plain: object
    place: Place


def _loss_of(field: str, part: _TypedPart) -> Loss | None:
    kind: type = type(part.value)
    return loss_in(
        field, adapter_of_class(kind), part.value, _ENCODER.encode(part.plain), part.place
    )


class _Walk:
    """One walk through a value. It has no recursion, which a deep value could exhaust."""

    def __init__(self, field: str, longest: int) -> None:
        self._field = field
        self._longest = longest
        self._left = longest
        self._inside: list[tuple[Container, int, Place]] = []  # to walk next, with their levels
        self.typed: dict[int, _TypedPart] = {}
        """What pydantic has made plain, by its id, which the part keeps from reuse."""

    def text(self, value: object) -> str:
        """Return a value as JSON text.

        Raises:
            InvalidValueError: See `kept_json_text`.
        """
        self.through(value)
        try:
            text = (self._encoder() if self.typed else _ENCODER).encode(value)
        except (TypeError, ValueError, RecursionError) as error:
            # A subclass that shows other items than before.
            problem = f"can't be encoded as JSON: {shown(message_of(error))}"
            raise InvalidValueError(self._field, problem) from error
        if len(text) > self._longest:
            raise _too_long(self._field, self._longest, f"has {len(text)}")
        return text

    def _encoder(self) -> json.JSONEncoder:
        def plain(value: object) -> object:
            if (known := self.typed.get(id(value))) is None:
                raise TypeError(f"a {type(value).__name__} was not there before")
            return known.plain

        return json.JSONEncoder(
            ensure_ascii=False,
            separators=(",", ":"),
            allow_nan=False,
            check_circular=False,
            default=plain,
        )

    def through(self, value: object) -> None:
        """Check the value and everything that it holds, or raise the first fault."""
        self._left -= 1
        self._look_at(value, 0, None)
        while self._inside:
            container, level, place = self._inside.pop()
            pairs: Iterable[tuple[Any, Any]]
            if isinstance(container, dict):
                for key in container:
                    self._check_key(key, place)
                pairs = container.items()
            else:
                pairs = enumerate(container)
            for key, item in pairs:
                kind = type(item)
                if kind is bool or (kind is int and -_SMALL < item < _SMALL):
                    continue  # nearly all numbers: no call needed
                if kind is list:  # saves a call for each of many small ones
                    self._enter(item, level + 1, (place, key))
                else:
                    self._look_at(item, level, (place, key))

    def _look_at(self, value: object, level: int, place: Place) -> None:
        """Take the fewest characters that one value needs; the first is taken already."""
        if isinstance(value, _CONTAINERS):
            self._enter(value, level + 1, place)
        elif isinstance(value, str):
            self._take(len(value) + 1, place)
            self._check_text(value, place)
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise self._refused(place, f"has {value}", "JSON has finite numbers only")
            self._take(2, place)
        elif isinstance(value, int):
            if not -_TOO_LARGE < value < _TOO_LARGE:
                problem = f"has an int of more than {MAX_JSON_DIGITS} digits"
                raise self._refused(place, problem, "give it as a str")
            digits = value.bit_length() * 3 // 10  # at least: log10(2) is a little above 0.3
            self._take(max(digits - 1, 0), place)
        elif value is not None:
            self._look_at(self._made_plain(value, place), level, place)

    def _made_plain(self, value: object, place: Place) -> object:
        """Let pydantic make a value plain.

        Raises:
            InvalidValueError: It is too long, of no known type, or its serializers fail.
        """
        if (known := self.typed.get(id(value))) is not None:
            return known.plain
        if isinstance(value, _SIZED) and len(value) > self._left:
            raise _too_long(self._field, self._longest, f"is past that {self._at(place)}")
        kind: type = type(value)
        what = f"has a {kind.__name__}"
        try:
            plain = dumped(adapter_of_class(kind), value)
        except PydanticUserError:
            raise self._refused(place, f"{what}: {shown(value)}", _ACCEPTED) from None
        except Exception as error:  # a model's serializers may raise anything
            problem = f"{what} that can't be dumped by pydantic: {problem_of(error)}"
            raise InvalidValueError(self._field, f"{problem}, {self._at(place)}") from error
        if not isinstance(plain, _PLAIN):
            raise self._refused(place, f"{what}: {shown(value)}", _ACCEPTED)
        self.typed[id(value)] = _TypedPart(value, plain, place)
        return plain

    def _enter(self, container: Container, level: int, place: Place) -> None:
        if level > MAX_JSON_LEVELS:
            problem = f"has more than {MAX_JSON_LEVELS} levels, or holds itself"
            raise self._refused(place, problem, "make it flatter")
        if container:
            # The brackets, and a character and a comma for each item; in a dict also "":
            each = 5 if isinstance(container, dict) else 2
            self._take(each * len(container), place)
            self._inside.append((container, level, place))
        else:
            self._take(1, place)

    def _check_key(self, key: object, place: Place) -> None:
        if not isinstance(key, str):
            problem = f"has a key that is a {type(key).__name__}, not a str: {shown(key)}"
            raise self._refused(place, problem, "make it a str")
        self._take(len(key), place)
        self._check_text(key, place)

    def _check_text(self, text: str, place: Place) -> None:
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                problem = f"has a lone surrogate: {shown(text)}"
                raise self._refused(
                    place, problem, "decode the bytes by their real encoding"
                ) from None

    def _take(self, characters: int, place: Place) -> None:
        self._left -= characters
        if self._left < 0:
            where = f"is past that {self._at(place)}"
            raise _too_long(self._field, self._longest, where)

    def _refused(self, place: Place, problem: str, what_to_do: str) -> InvalidValueError:
        return InvalidValueError(self._field, f"{problem}, {self._at(place)}: {what_to_do}")

    def _at(self, place: Place) -> str:
        return f"at {path_of(self._field, place)}"


_ACCEPTED: Final = (
    "give None, bool, int, float, str, list, tuple or dict, or a model, a dataclass or another "
    "value of a type that pydantic knows"
)


def _too_long(field: str, longest: int, how_long: str) -> InvalidValueError:
    return InvalidValueError(
        field,
        f"may have {longest} characters as JSON, and {how_long}: store large values elsewhere, and "
        "pass their address",
    )
