"""The process of a handler: starts it when a job needs it, and runs the handler there.

Whatever comes from the process, and whenever it ends, is the outcome of one attempt and nothing
else. After anything out of order the process is killed, and the next job gets another one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from secrets import randbelow
from typing import Any, Final, Protocol

from msgspec import Struct
from msgspec.json import decode as decode_json

from engine.domain.deadlines import Deadline, check_deadline
from engine.domain.exceptions import HandlerError, HandlerProcessError, InvalidValueError
from engine.domain.ids import new_job_id
from engine.domain.validation import MAX_ERROR_CHARACTERS
from engine.owner.prompts import prompt_text
from engine.portal import ChannelError, ChildProcess
from engine.portal.logs import TaskLogger
from engine.storage.record import Record
from engine.worker.context import Context, InputNeeded
from engine.worker.processes.log_records import MAX_CHARACTERS, log_here, plain_text
from engine.worker.processes.messages import (
    LARGEST_NUMBER,
    Asked,
    FromProcess,
    Logged,
    NotLoaded,
    Raised,
    Ready,
    Reported,
    Returned,
    Run,
    encoded,
    from_process,
)

logger = TaskLogger("engine.worker")

_LOOK_AGAIN_SECONDS: Final = 1.0
_MOST_KINDS: Final = 64
_SOURCE: Final = """\
import sys
sys.path[:] = sys.argv[2:]
from engine.worker.processes.program import main
main(int(sys.argv[1]))
"""
_MAIN_HINT: Final = (
    "; the main module runs again in the process, which needs the handler: put the code that "
    'starts the program under `if __name__ == "__main__":`, or the handler into another module'
)


class Work(Protocol):
    """What a handler is called for: an attempt."""

    @property
    def context(self) -> Context[Any]:
        """For the handler."""
        ...

    @property
    def record(self) -> Record:
        """The job."""
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


class _Prompt(Struct):
    prompt_id: str
    name: str
    question: str | None
    json_schema: dict[str, Any]


class _BrokenError(Exception):
    """The process is out of order, or has ended; the text is the rest of a sentence about it."""


class HandlerProcess:
    """Runs a handler for one job after another. Its calls block, all but `abandon`.

    Args:
        set_up: The first message to the process.
        paths: The process's `sys.path`.
        start_seconds: How long it may take to get ready.

    Attributes:
        runs: How often the handler was called.
    """

    def __init__(self, set_up: bytes, paths: list[str], start_seconds: float) -> None:
        self._set_up = set_up
        self._paths = paths
        self._start_seconds = start_seconds
        self._child: ChildProcess | None = None
        self._is_abandoned = False
        self.runs = 0

    @property
    def is_ready(self) -> bool:
        """Whether a process has loaded the handler, and nothing was wrong with it yet."""
        return self._child is not None and not self._is_abandoned

    def start(self) -> None:
        """Start the process, and let it load the handler.

        Raises:
            HandlerProcessError: It did not work.
        """
        until = time.monotonic() + self._start_seconds
        try:
            child = self._child = ChildProcess(_SOURCE, self._paths)
        except OSError as error:
            raise HandlerProcessError(f"no process can start for the handler: {error}") from error
        if self._is_abandoned:  # meanwhile
            child.kill()
        self.runs = 0
        try:
            self._send(self._set_up, until)
            message = self._receive(0, {}, until)
        except _BrokenError as error:
            self.end()
            raise HandlerProcessError(
                f"the process {child.process_id} {error} while it loaded the handler"
            ) from None
        if isinstance(message, Ready):
            return
        self.end()
        raise _not_loaded(message)

    def run(self, work: Work, begin: Callable[[], object]) -> str | None:
        """Run the handler, and return its result in its stored form.

        Args:
            work: The attempt.
            begin: Called on this thread, once the handler is called.

        Raises:
            HandlerError: It raised an exception.
            InputNeeded: It asked for an input.
            HandlerProcessError: The process could not start or died.
        """
        number = 1 + randbelow(LARGEST_NUMBER)
        self._hand_over(number, work)
        child = self._running()
        child.in_use.set()
        self.runs += 1
        begin()
        try:
            return self._outcome(number, work)
        except _BrokenError as error:
            self.end()
            raise HandlerProcessError(
                f"the process {child.process_id} of the handler {error}", has_begun=True
            ) from None
        finally:
            child.in_use.clear()

    def abandon(self) -> None:
        """Kill the process, for good; a call that uses it then fails. Any thread may call it."""
        self._is_abandoned = True
        child = self._child
        if child is not None:
            child.kill()

    def end(self) -> None:
        """Kill the process, if there is one, and reap it."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _running(self) -> ChildProcess:
        child = self._child
        if child is None:
            raise HandlerProcessError("the process of the handler has ended")
        return child

    def _hand_over(self, number: int, work: Work) -> None:
        """Give a process the job. It calls the handler as soon as it has the whole message."""
        message = encoded(Run(number, encoded(work.record)))
        if self._child is not None:
            try:
                self._send(message, time.monotonic() + self._start_seconds)
            except _BrokenError as error:  # in its time without a job: the next one is innocent
                logger.warning("an idle process of a handler %s: another one starts", error)
                self.end()
            else:
                return
        self.start()
        try:
            self._send(message, time.monotonic() + self._start_seconds)
        except _BrokenError as error:
            self.end()
            raise HandlerProcessError(f"the process of the handler {error} at its start") from None

    def _outcome(self, number: int, work: Work) -> str | None:
        while True:
            message = self._receive(number, work.fields, None)
            try:
                match message:
                    case Reported():
                        work.context.progress(message.done, message.total, message.note)
                    case Asked():
                        work.context.request = _request_of(message)
                    case Returned():
                        return message.result
                    case Raised():
                        raise _error_of(message, work.context)
                    case _:
                        raise _BrokenError("sent messages in a wrong order")
            except (InvalidValueError, ValueError, OverflowError) as error:
                raise _BrokenError(f"sent a message with wrong values: {error}") from error

    def _send(self, message: bytes, until: float) -> None:
        child = self._running()
        try:
            child.channel.send(message, until - time.monotonic())
        except ChannelError:
            raise _BrokenError(child.ended()) from None
        except TimeoutError:
            raise _BrokenError(self._too_slow()) from None

    def _receive(
        self, number: int, fields: Mapping[str, object], until: float | None
    ) -> FromProcess:
        """Return the next message that is not about logging, or not about an earlier run."""
        child = self._running()
        while True:
            message = self._receive_any(child, until)
            if isinstance(message, Logged):
                _log(message, fields if message.number == number else {}, child.process_id)
            elif isinstance(message, Ready | NotLoaded) or message.number == number:
                return message
            elif not isinstance(message, Reported):  # an earlier run's progress may come late
                raise _BrokenError("sent a message about another run")

    def _receive_any(self, child: ChildProcess, until: float | None) -> FromProcess:
        while True:
            left = _LOOK_AGAIN_SECONDS
            if until is not None:
                left = max(min(left, until - time.monotonic()), 0.0)
            try:
                return from_process(child.channel.receive(left))
            except TimeoutError:
                # A fork of the process, made by C code, may hold its end of the channel open.
                if child.has_ended():
                    raise _BrokenError(child.ended()) from None
                if until is not None and time.monotonic() >= until:
                    raise _BrokenError(self._too_slow()) from None
            except ChannelError as error:
                raise _BrokenError(str(error) or child.ended()) from None
            except ValueError as error:
                raise _BrokenError(f"sent what is no message: {error}") from error

    def _too_slow(self) -> str:
        return f"was not ready within {self._start_seconds:g} s, the limit of `start_seconds`"


def _not_loaded(message: FromProcess) -> HandlerProcessError:
    if not isinstance(message, NotLoaded):
        return HandlerProcessError("the process of the handler sent messages in a wrong order")
    hint = _MAIN_HINT if message.in_main else ""
    error = HandlerProcessError(f"the handler can't be loaded in a process: {message.error}{hint}")
    error.add_note(plain_text(message.traceback, MAX_CHARACTERS))
    return error


def _error_of(message: Raised, context: Context[Any]) -> BaseException:
    if message.asks and context.request is not None:
        return InputNeeded()
    if not message.kinds:
        raise ValueError("an exception without a class")
    error = HandlerError(
        plain_text(message.error, MAX_ERROR_CHARACTERS),
        message.kinds[:_MOST_KINDS],
        retryable=message.retryable,
    )
    error.add_note(plain_text(message.traceback, MAX_CHARACTERS))
    return error


def _request_of(message: Asked) -> tuple[str, Deadline | None]:
    """Return the request for an input: made again here, because only here it can be trusted.

    Raises:
        InvalidValueError, ValueError, OverflowError: It is none.
    """
    prompt = decode_json(message.prompt, type=_Prompt)
    deadline: Deadline | None = message.deadline_at
    if message.deadline_seconds is not None:
        deadline = timedelta(seconds=message.deadline_seconds)
    if deadline is not None:
        check_deadline("deadline", deadline)
    text = prompt_text(new_job_id(), prompt.json_schema, prompt.name, prompt.question)
    return text, deadline


def _log(message: Logged, fields: Mapping[str, object], process_id: int) -> None:
    try:
        log_here(message, fields, process_id)
    except (ValueError, OverflowError) as error:
        raise _BrokenError(f"sent a log record with wrong values: {error}") from error
