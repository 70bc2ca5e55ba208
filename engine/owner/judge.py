"""Judge answers: by the JSON Schema that is kept with their prompt, and by nothing else.

Everything here is bounded, so that it may run on the event loop. Of the package `jsonschema-rs`,
only ``is_valid`` with its linear regular expressions is: it remembers its findings in recursive
schemas, and stops at the first fault. Its calls that name the fault, `jsonschema` and pydantic take
seconds or minutes for some answers of a few kB. The extra ``engine[input]`` installs the package.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, Self, TypeVar

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.schema_steps import steps_of, without_patterns

Made = TypeVar("Made")

MAX_STEPS: Final = 5_000_000
"""The most steps for an answer: some tenths of a second."""


class Judge:
    """Judges answers by one JSON Schema.

    Args:
        schema: The schema, as decoded from JSON. No other document is ever fetched.

    Raises:
        InvalidValueError: It is no JSON Schema, or none that can be judged safely; see `steps_of`.
            Patterns with look-around or back-references can't.
        RuntimeError: The package `jsonschema-rs` is not installed.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        package = _package()
        self._steps = steps_of(schema)  # before the package takes time for them
        self._compares = '"uniqueItems"' in json.dumps(schema)
        self._validator = _guarded(
            "schema",
            "is no JSON Schema that can be judged",
            lambda: package.validator_for(
                schema,
                pattern_options=package.RegexOptions(),  # linear, where the default backtracks
                validate_formats=False,  # as draft 2020-12 does by default
                offline=True,
            ),
        )

    @classmethod
    def of_kept(cls, schema: dict[str, Any]) -> Self:
        """Return the judge of a schema that a prompt has kept, perhaps by an earlier version.

        Leaves out the patterns that can't be judged by: the handler's own type decides about them
        when it reads the answer.

        Raises:
            InvalidValueError: It can't be judged safely without them, either.
            RuntimeError: The package `jsonschema-rs` is not installed.
        """
        try:
            return cls(schema)
        except InvalidValueError:
            return cls(without_patterns(schema, lambda pattern: not _can_judge_by(pattern)))

    def accepts(self, answer: str) -> bool:
        """Return whether an answer, given as JSON text, fits.

        Raises:
            InvalidValueError: The answer can't be judged: it takes too many steps, or the package
                fails.
        """
        value = json.loads(answer)
        values = _values_in(value, compared=self._compares)
        if values * self._steps > MAX_STEPS:
            raise InvalidValueError(
                "value",
                f"is too large to be judged: it may have {MAX_STEPS // self._steps:,} values by "
                f"this prompt's JSON Schema, and counts as {values:,} (large integers count more)",
            )
        return _guarded("value", "can't be judged", lambda: self._validator.is_valid(value) is True)


def _can_judge_by(pattern: str) -> bool:
    try:
        Judge({"pattern": pattern})
    except InvalidValueError:
        return False
    return True


def _values_in(answer: object, *, compared: bool) -> int:
    """Return how many values an answer has; integers beyond 64 bits count by their digits.

    Args:
        answer: The answer, as decoded from JSON.
        compared: Whether ``uniqueItems`` compares the integers with each other. The package takes
            a minute for 8,000 of them.
    """
    values = large = digits = 0
    ahead = [answer]
    while ahead:
        value = ahead.pop()
        values += 1
        if isinstance(value, dict | list):
            ahead.extend(value.values() if isinstance(value, dict) else value)
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            large += 1
            digits += value.bit_length() // 3
    return values + digits * (large if compared else 1)


def _guarded(field: str, problem: str, call: Callable[[], Made]) -> Made:
    """Call the package; whatever it raises becomes an `InvalidValueError`, a panic as well."""
    try:
        return call()
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
            raise  # such as an interrupt
        message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        raise InvalidValueError(field, f"{problem}: {shown(message)}") from None


def _package() -> Any:  # noqa: ANN401 - a module that need not be installed
    try:
        return import_module("jsonschema_rs")
    except ImportError as error:
        raise RuntimeError(
            "answers are judged by the package jsonschema-rs: pip install 'engine[input]'"
        ) from error
