"""Desks: where operations are carried out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self

from engine.domain.exceptions import InvalidValueError, shown
from engine.operations.table import OPERATIONS
from engine.owner.core import Core


class Desk(Protocol):
    """Carries out operations on a place with jobs, wherever its engine runs."""

    async def do(
        self, operation: str, arguments: Mapping[str, Any], *, by: str | None = None
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Carry out an operation; return its answer, a JSON value.

        Args:
            operation: Its name in `OPERATIONS`.
            arguments: A JSON object.
            by: Who asks: 1 to 256 characters; for acts, in the history and the audit.

        Raises:
            InvalidValueError: There is no such operation, or an argument is wrong.
            EngineError: The engine can't do it, or can't be reached.
        """
        ...

    def apart(self) -> Desk:
        """Return a desk of the same place that carries out one operation at a time, always.

        However many others this one has on their way, that one's does not wait for them.
        """
        ...


class EngineDesk:
    """Carries out operations on an open engine, on its event loop.

    Args:
        core: The engine's.
    """

    def __init__(self, core: Core[Any]) -> None:
        self._core = core

    async def do(
        self, operation: str, arguments: Mapping[str, Any], *, by: str | None = None
    ) -> Any:  # noqa: ANN401 - any JSON value
        """See `Desk.do`. Cancelling it loses the answer: an act is applied as a whole or not."""
        found = OPERATIONS.get(operation)
        if found is None:
            known = ", ".join(OPERATIONS)
            raise InvalidValueError("operation", f"{shown(operation)} is not one of {known}")
        return await found.run(self._core, found.checked(arguments), by)

    def apart(self) -> Self:
        """See `Desk.apart`. None of its operations waits for another."""
        return self
