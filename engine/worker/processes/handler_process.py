"""The process of a handler: starts it when a job needs it, and runs the handler there.

Whatever comes from the process, and whenever it ends, is the outcome of one attempt and nothing
else. After anything out of order the process is killed, and the next job gets another one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from secrets import randbelow
from typing import Final

from engine.domain.exceptions import HandlerProcessError
from engine.portal import (
    ChannelDamagedError,
    ChannelEndedError,
    ChannelError,
    ChildProcess,
)
from engine.portal.logs import TaskLogger
from engine.worker.processes.messages import (
    LARGEST_NUMBER,
    Asked,
    Began,
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
from engine.worker.processes.replies import (
    WRONG_VALUES,
    BrokenError,
    checked,
    error_of,
    log,
    not_loaded,
    request_of,
)
from engine.worker.processes.work import Work
from engine.worker.results import Result

logger = TaskLogger("engine.worker")

_LOOK_AGAIN_SECONDS: Final = 1.0
_SOURCE: Final = """\
import sys
sys.path[:] = sys.argv[2:]
from engine.worker.processes.program import main
main(int(sys.argv[1]))
"""


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
        self._is_well = False
        self.runs = 0

    @property
    def is_ready(self) -> bool:
        """Whether a process has loaded the handler, and nothing was wrong with it yet."""
        return self._is_well and not self._is_abandoned

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
            self._load(until)
        except BrokenError as error:
            raise HandlerProcessError(
                f"the process {child.process_id} {error} while it loaded the handler"
            ) from None
        finally:
            if not self._is_well:
                self.end()

    def _load(self, until: float) -> None:
        self._send(self._set_up, until)
        message = self._receive(0, {}, until)
        if not isinstance(message, Ready):
            raise not_loaded(message)
        self._is_well = True

    def run(self, work: Work, begin: Callable[[], object]) -> Result:
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
        child = self._hand_over(number, work)
        self.runs += 1
        work.has_begun = True
        begin()
        self._is_well = False  # until the outcome has come
        try:
            return self._outcome(number, work)
        except BrokenError as error:
            raise HandlerProcessError(
                f"the process {child.process_id} of the handler {error}", has_begun=True
            ) from None
        finally:
            child.in_use.clear()
            if not self._is_well:
                self.end()

    def abandon(self) -> None:
        """Kill the process, for good; a call that uses it then fails. Any thread may call it."""
        self._is_abandoned = True
        child = self._child
        if child is not None:
            child.kill()

    def end(self) -> None:
        """Kill the process, if there is one, and reap it."""
        child, self._child = self._child, None
        self._is_well = False
        if child is not None:
            child.end()

    def _running(self) -> ChildProcess:
        child = self._child
        if child is None:
            raise HandlerProcessError("the process of the handler has ended")
        return child

    def _hand_over(self, number: int, work: Work) -> ChildProcess:
        """Give a process the job; return it when it is about to call the handler."""
        parent = None if work.parent is None else encoded(work.parent)
        message = encoded(Run(number, encoded(work.record), parent))
        if self._is_well:
            try:
                self._read_rest()
                return self._give(message, number, work)
            except BrokenError as error:  # in its time without a job: the next one is innocent
                logger.warning("an idle process of a handler %s: another one starts", error)
                self.end()
        self.start()
        try:
            return self._give(message, number, work)
        except BrokenError as error:
            raise HandlerProcessError(f"the process of the handler {error} at its start") from None

    def _read_rest(self) -> None:
        """Read what has come since the outcome of the last run, such as log records of a thread.

        A part of a message would be taken for the beginning of the next one.
        """
        child = self._running()
        while child.channel.has_more():
            try:
                message = _read(child, 0)
            except TimeoutError:
                raise BrokenError("has sent a part of a message") from None
            if isinstance(message, Logged):
                log(message, {}, child.process_id)

    def _give(self, message: bytes, number: int, work: Work) -> ChildProcess:
        child = self._running()
        child.in_use.set()
        has_begun = False
        try:
            until = time.monotonic() + self._start_seconds
            self._send(message, until)
            has_begun = isinstance(self._receive(number, work.fields, until), Began)
            if not has_begun:
                raise BrokenError("sent messages in a wrong order")
        finally:
            if not has_begun:
                child.in_use.clear()
                self.end()
        return child

    def _outcome(self, number: int, work: Work) -> Result:
        while True:
            message = self._receive(number, work.fields, None)
            try:
                match message:
                    case Reported():
                        work.context.progress(message.done, message.total, message.note)
                    case Asked():
                        work.context.request = request_of(message)
                    case Returned():
                        result = checked(message.result)
                        self._is_well = True
                        return result
                    case Raised():
                        error = error_of(message, work.context)
                        self._is_well = True
                        raise error
                    case _:
                        raise BrokenError("sent messages in a wrong order")
            except WRONG_VALUES as error:
                raise BrokenError(f"sent a message with wrong values: {error}") from error

    def _send(self, message: bytes, until: float) -> None:
        child = self._running()
        try:
            child.channel.send(message, until - time.monotonic())
        except ChannelError:
            raise BrokenError(child.ended()) from None
        except TimeoutError:
            raise BrokenError(self._too_slow()) from None

    def _receive(
        self, number: int, fields: Mapping[str, object], until: float | None
    ) -> FromProcess:
        """Return the next message of this run that is not about logging."""
        child = self._running()
        while True:
            message = self._receive_any(child, until)
            if isinstance(message, Logged):
                log(message, fields if message.number == number else {}, child.process_id)
            elif isinstance(message, Ready | NotLoaded) or message.number == number:
                return message
            elif not isinstance(message, Reported):  # an earlier run's progress may come late
                logger.warning("a process of a handler tells of an earlier run; it is ignored")

    def _receive_any(self, child: ChildProcess, until: float | None) -> FromProcess:
        while True:
            left = _LOOK_AGAIN_SECONDS
            if until is not None:
                left = max(min(left, until - time.monotonic()), 0.0)
            try:
                return _read(child, left)
            except TimeoutError:
                # A fork of the process, made by C code, may hold its end of the channel open.
                if child.has_ended():
                    raise BrokenError(child.ended()) from None
                if until is not None and time.monotonic() >= until:
                    raise BrokenError(self._too_slow()) from None

    def _too_slow(self) -> str:
        return f"was not ready within {self._start_seconds:g} s, the limit of `start_seconds`"


def _read(child: ChildProcess, seconds: float) -> FromProcess:
    """Return the next message of a process.

    Raises:
        TimeoutError: It has not come in time.
        BrokenError: The process has ended, or sent something else.
    """
    try:
        return from_process(child.channel.receive(seconds))
    except ChannelEndedError:
        raise BrokenError(child.ended()) from None
    except ChannelDamagedError as error:
        raise BrokenError(str(error)) from None
    except ValueError as error:
        raise BrokenError(f"sent what is no message: {error}") from error
