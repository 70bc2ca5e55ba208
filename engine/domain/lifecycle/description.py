"""Descriptions: a lifecycle as data, which a storage keeps beside its jobs.

So programs that have no Python of the engine's user can tell what may be done with a job and do it,
and an engine can tell that another one had other rules.

A description has what decides about moves. It lacks two things: the old values of renamed statuses,
which only an engine that opens the jobs needs, and the hint, which advises who writes Python.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec import DecodeError, Struct
from msgspec.json import Decoder
from pydantic_core import from_json

from engine.domain.exceptions import LifecycleError, shown
from engine.domain.lifecycle.checks import MAX_STATUSES
from engine.domain.lifecycle.lifecycle import Lifecycle
from engine.domain.lifecycle.tables import text_of
from engine.domain.outcomes import Outcome


def description(lifecycle: Lifecycle[Any]) -> str:
    """Return a lifecycle as a JSON object; statuses are their values, in the order of the enum."""
    tables = {
        "statuses": list(lifecycle.values),
        "moves": {value: list(lifecycle.targets(value)) for value in lifecycle.values},
        "initial": lifecycle.initial_value,
        "running": lifecycle.running_value,
        "success": _in_order(lifecycle, lifecycle.success),
        "failure": _in_order(lifecycle, lifecycle.failure),
        "awaiting_input": _value(lifecycle.awaiting_input),
        "fails_to": _value(lifecycle.fails_to),
        "exhausted_to": _value(lifecycle.exhausted_to),
        "expires_to": _values(lifecycle, lifecycle.expires_to),
        "cancels_to": _values(lifecycle, lifecycle.cancels_to),
        "outcomes": _values(lifecycle, lifecycle.outcomes),
        "retired": _in_order(lifecycle, lifecycle.retired),
    }
    return json.dumps(tables, ensure_ascii=False, separators=(",", ":"))


class _Description(Struct, frozen=True, forbid_unknown_fields=True):
    """The form of a description; a table that it doesn't know may forbid a move."""

    statuses: tuple[str, ...]
    moves: dict[str, tuple[str, ...]]
    initial: str
    running: str
    success: tuple[str, ...]
    failure: tuple[str, ...]
    awaiting_input: str | None
    fails_to: str | None
    exhausted_to: str | None
    expires_to: dict[str, str]
    cancels_to: dict[str, str]
    outcomes: dict[str, Outcome]
    retired: tuple[str, ...]


_decoder: Final = Decoder(_Description)


def lifecycle_of(description: str) -> Lifecycle[Any]:
    """Return the lifecycle that a description is of, over an enum that is made for it.

    Its members are called ``STATUS_1`` and so on, because a status may be any text.

    Raises:
        LifecycleError: It can't be read, or its tables can't work.
    """
    tables = _read(description)
    texts = tables.statuses
    if not 1 <= len(texts) <= MAX_STATUSES or len({*texts}) < len(texts):
        raise LifecycleError(
            f"a description needs 1 to {MAX_STATUSES} different statuses, and has {len(texts):,}, "
            f"{len({*texts}):,} of them different"
        )
    make: Any = StrEnum  # mypy wants literals
    statuses = make("Stored", [(f"STATUS_{n}", text) for n, text in enumerate(texts, 1)])
    return _over(statuses, tables)


def _over(statuses: Any, tables: _Description) -> Lifecycle[Any]:  # noqa: ANN401 - a made enum
    def optional(text: str | None) -> Any:  # noqa: ANN401 - a member of it
        return None if text is None else statuses(text)

    def each(table: Mapping[str, str]) -> dict[Any, Any]:
        return {statuses(start): statuses(end) for start, end in table.items()}

    try:
        return Lifecycle(
            statuses,
            {statuses(start): [*map(statuses, row)] for start, row in tables.moves.items()},
            initial=statuses(tables.initial),
            running=statuses(tables.running),
            success=[*map(statuses, tables.success)],
            failure=[*map(statuses, tables.failure)],
            awaiting_input=optional(tables.awaiting_input),
            fails_to=optional(tables.fails_to),
            exhausted_to=optional(tables.exhausted_to),
            expires_to=each(tables.expires_to),
            cancels_to=each(tables.cancels_to),
            outcomes={statuses(end): outcome for end, outcome in tables.outcomes.items()},
            retired=[*map(statuses, tables.retired)],
        )
    except LifecycleError:
        raise
    except ValueError as error:  # of the enum: a table names what is no status
        raise LifecycleError(f"a description can't be of a lifecycle: {error}") from None


def _read(description: str) -> _Description:
    try:
        text = description.encode()
        from_json(text)  # first, because it doesn't go to the limit of Python's recursion
        return _decoder.decode(text)
    except (DecodeError, ValueError, RecursionError) as error:
        raise LifecycleError(
            f"a description can't be read: {shown(str(error))}; it is {shown(description)}"
        ) from None


def differences(before: str, after: str) -> list[str]:
    """Return the names of the tables that differ between two descriptions."""
    old, new = json.loads(before), json.loads(after)
    return [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]


def _in_order(lifecycle: Lifecycle[Any], statuses: Iterable[Any]) -> list[str]:
    values = set(map(text_of, statuses))
    return [value for value in lifecycle.values if value in values]


def _value(status: Any) -> str | None:  # noqa: ANN401 - of any lifecycle
    return None if status is None else text_of(status)


def _values(lifecycle: Lifecycle[Any], table: Mapping[Any, Any]) -> dict[str, str]:
    by_value = {text_of(status): text_of(to) for status, to in table.items()}
    return {value: by_value[value] for value in lifecycle.values if value in by_value}
