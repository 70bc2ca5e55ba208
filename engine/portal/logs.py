"""Log lines of the engine's own tasks, whose errors must not be the engine's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress


def log(
    logger: logging.Logger,
    level: int,
    text: str,
    *args: object,
    error: BaseException | None = None,
    fields: Mapping[str, object] | None = None,
) -> None:
    """Log a line. An error of logging itself, such as a filter's, is swallowed.

    Args:
        logger: Takes the line.
        level: Of `logging`.
        text: With a placeholder for each argument.
        args: The arguments.
        error: Its traceback is added.
        fields: Attributes of the log record.
    """
    with suppress(Exception):
        logger.log(level, text, *args, exc_info=error, extra=fields)
