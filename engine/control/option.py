"""The option by which an engine listens. Without a file it imports none of the socket's parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.domain.validation import check_flag
from engine.owner.core import Core


def control_option(control: object) -> Callable[[Core[Any]], object] | None:
    """Return what an engine with this option does when it is open.

    Raises:
        InvalidValueError: The option is no bool.
    """
    return _listen if check_flag("control", control) else None


def _listen(core: Core[Any]) -> None:
    if (database := core.kept.file) is not None:
        from engine.control.server import listen  # noqa: PLC0415 - only engines on files need it

        listen(core, database)
