"""Work: what a process needs of an attempt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from engine.storage.record import Record
from engine.worker.context import Context
from engine.worker.parent import Parent


class Work(Protocol):
    """What a handler is called for: an attempt."""

    has_begun: bool
    """Whether the handler was called. Set by the code that calls it, on any thread."""

    @property
    def context(self) -> Context[Any]:
        """For the handler."""
        ...

    @property
    def record(self) -> Record:
        """The job."""
        ...

    @property
    def parent(self) -> Parent | None:
        """The job whose follow-up it is."""
        ...

    @property
    def fields(self) -> Mapping[str, object]:
        """The extra fields of log records."""
        ...

    @property
    def is_limited(self) -> bool:
        """Whether its time has a limit."""
        ...

    def begin(self) -> None:
        """Begin to count the time: the handler is called now. To be called on the event loop."""
        ...
