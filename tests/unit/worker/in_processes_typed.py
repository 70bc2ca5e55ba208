"""A handler with a typed input, which a process imports by its name."""

from __future__ import annotations

from typing import Any

from engine import Context, Job
from tests.unit.typed import Camel, Excluding


def typed(context: Context[Any], order: Camel, *, job: Job[Any]) -> Camel:
    """Return the input that it gets, with its attempt in it."""
    assert isinstance(order, Camel)
    assert context.job is job
    return order


def lossy(_job: Any, note: Any = None) -> Any:  # noqa: ANN401
    """Return a value that doesn't come back."""
    return {"a": Excluding(note=note or "a note")}
