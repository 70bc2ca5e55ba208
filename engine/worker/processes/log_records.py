"""Records of the logging module, from the process of a handler to the loggers of the program."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from engine.domain.exceptions import shown
from engine.domain.validation import MAX_INTEGER
from engine.portal import ChannelError, other_threads
from engine.portal.logs import relay
from engine.worker.processes.messages import Logged

MAX_CHARACTERS: Final = 65_536
"""Of a message, a traceback and a stack, each."""
MAX_FIELDS: Final = 32
MAX_NAME_CHARACTERS: Final = 256
_OWN_FIELDS: Final = frozenset(
    {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}
)
_formatter: Final = logging.Formatter()


class RecordSender(logging.Handler):
    """Sends the records of the process to the engine.

    Args:
        send: Sends a message. Any thread may call it.
    """

    def __init__(self, send: Callable[[Logged], object]) -> None:
        super().__init__()
        self._send = send
        self._number = 0
        self._others: frozenset[int] = frozenset()

    def begin(self, number: int) -> None:
        """Send the records of a new run with its number.

        Threads that earlier runs have left don't belong to it: theirs have no number.
        """
        self._number = number
        self._others = other_threads()

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record; print it, as a program without handlers does, in a fork of the process."""
        try:
            self._send(self._message(record))
        except ChannelError:
            if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
                logging.lastResort.handle(record)
        except Exception:  # noqa: BLE001 - as the handlers of the logging module do
            self.handleError(record)

    def _message(self, record: logging.LogRecord) -> Logged:
        fields = [each for each in record.__dict__.items() if each[0] not in _OWN_FIELDS]
        return Logged(
            number=0 if record.thread in self._others else self._number,
            name=plain_text(record.name, MAX_NAME_CHARACTERS),
            level=record.levelno,
            message=plain_text(record.getMessage(), MAX_CHARACTERS),
            path=plain_text(record.pathname, MAX_CHARACTERS),
            line=record.lineno,
            function=plain_text(str(record.funcName), MAX_NAME_CHARACTERS),
            at=record.created,
            thread=plain_text(str(record.threadName), MAX_NAME_CHARACTERS),
            traceback=_traceback(record),
            stack=None
            if record.stack_info is None
            else plain_text(record.stack_info, MAX_CHARACTERS),
            fields={
                plain_text(name, MAX_NAME_CHARACTERS): _plain(value)
                for name, value in fields[:MAX_FIELDS]
            },
        )


def _traceback(record: logging.LogRecord) -> str | None:
    if record.exc_text:
        return plain_text(record.exc_text, MAX_CHARACTERS)
    if record.exc_info:
        return plain_text(_formatter.formatException(record.exc_info), MAX_CHARACTERS)
    return None


def _plain(value: object) -> str | int | float | bool | None:
    """Return a field as it is if it is plain data; otherwise a text that shows it."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= MAX_INTEGER else shown(value)
    text = str.__str__(value) if isinstance(value, str) else shown(value)
    return plain_text(text, MAX_CHARACTERS)


def plain_text(text: str, longest: int) -> str:
    """Return a text without lone surrogates, cut if it is long: its beginning and its end."""
    if len(text) > longest:
        half = (longest - 5) // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return text.encode(errors="replace").decode()


def log_here(logged: Logged, fields: Mapping[str, object], process_id: int) -> None:
    """Log a record of a process, by the logger of its name here.

    Args:
        logged: The record.
        fields: More fields for it: those of the job.
        process_id: The process.
    """
    record = logging.LogRecord(
        logged.name, logged.level, logged.path, logged.line, logged.message, (), None
    )
    record.funcName = logged.function or ""
    record.created = logged.at
    record.msecs = int(logged.at % 1 * 1_000)
    record.process, record.processName = process_id, "engine handler"
    record.thread, record.threadName = None, logged.thread or ""
    record.exc_text = logged.traceback
    record.stack_info = logged.stack
    added = {**logged.fields, **fields}
    # Not by `setattr`, which some names mean more to.
    record.__dict__.update({name: added[name] for name in added if name not in _OWN_FIELDS})
    relay(record)
