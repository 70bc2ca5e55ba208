"""Log lines of the engine's own tasks, whose errors must not be the engine's."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from engine.portal.interrupts import pass_interrupt_on


@contextmanager
def _contained() -> Iterator[None]:
    """Swallow what an application's filters, handlers and formatters raise.

    There is no place left to report it. But an interrupt goes on to the program.
    """
    try:
        yield
    except BaseException as error:  # noqa: BLE001 - an exit, too
        pass_interrupt_on(error)


class TaskLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose own errors, such as those of an application's filter, are swallowed.

    The owner, the workers and the gates log only with it: a filter that raises would end them.

    Args:
        name: Of the logger, as in `logging.getLogger`.
    """

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name))

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:  # noqa: ANN401
        """Log a line; see `logging.Logger.log`."""
        with _contained():
            super().log(level, msg, *args, stacklevel=2, **kwargs)

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - as in the class above
        """Return whether a line of this level would be logged."""
        try:  # not by the context, which takes as long as ten of these checks
            return self.logger.isEnabledFor(level)
        except BaseException as error:  # noqa: BLE001 - as above
            pass_interrupt_on(error)
            return False

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        """Keep the line's own ``extra``, which the base class would replace."""
        return msg, kwargs


def levels() -> dict[str, int]:
    """Return the levels of all loggers that have one, by name; the root's name is empty."""
    found = {"": logging.getLogger().level}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level != logging.NOTSET:
            found[name] = logger.level
    return found


def send_records_to(handler: logging.Handler) -> None:
    """Give a handler all records of this process, and nobody else, however it configures logging.

    Modules may add handlers when they are imported; each record would appear twice, or only there.
    A test of private hooks looks after this one.
    """

    def call_handler(_: logging.Logger, record: logging.LogRecord) -> None:
        handler.handle(record)

    logging.Logger.callHandlers = call_handler  # type: ignore[assignment, method-assign]


def set_levels(levels: Mapping[str, int]) -> None:
    """Set the levels of loggers, by name."""
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def relay(record: logging.LogRecord) -> None:
    """Log a record of another process by the logger of its name; swallow whatever that raises."""
    with _contained():
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
