"""Descriptions: a lifecycle as data, which a storage keeps beside its jobs.

So programs that have no Python of the engine's user can tell what may be done with a job, and an
engine can tell that another one had other rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from engine.domain.lifecycle.lifecycle import Lifecycle
from engine.domain.lifecycle.tables import text_of


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
        "outcomes": {end: its for end, its in lifecycle.status_outcomes.items() if its is not None},
        "retired": _in_order(lifecycle, lifecycle.retired),
    }
    return json.dumps(tables, ensure_ascii=False, separators=(",", ":"))


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
