"""The program of a process that runs a handler: loads it, and calls it for one job after another.

The engine starts it, as `engine.worker.processes.handler_process`, and ends it by SIGKILL.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import traceback
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime, timedelta
from inspect import isawaitable
from typing import Any

from engine.domain.epochs import Epochs
from engine.domain.exceptions import InvalidValueError
from engine.domain.follow_ups import disables_rule
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import Progress
from engine.domain.own_frames import forget_own_frames
from engine.domain.retry import is_retryable
from engine.owner.views import Views
from engine.portal import EXIT_CODE, ParentProcess
from engine.portal.logs import send_records_to, set_levels
from engine.worker.attempt import error_text, retry_after_of
from engine.worker.context import Context, asks_for_input
from engine.worker.parameters import Parameters
from engine.worker.processes.loading import MainError, load, names_of
from engine.worker.processes.log_records import (
    MAX_CHARACTERS,
    MAX_NAME_CHARACTERS,
    RecordSender,
    plain_text,
)
from engine.worker.processes.messages import (
    Asked,
    Began,
    FromProcess,
    MainModule,
    NotLoaded,
    Raised,
    Ready,
    Reported,
    Returned,
    Run,
    encoded,
    parent_of,
    record_of,
    run_of,
    set_up_of,
)
from engine.worker.results import Results
from engine.worker.signature import signature_of


def main(descriptor: int) -> None:
    """Work for the engine at the other end of the channel, until it ends this process.

    Args:
        descriptor: This process's end of the channel.
    """
    try:
        _work(ParentProcess(descriptor))
    except BaseException:  # noqa: BLE001 - such as from an alarm that a handler has left behind
        traceback.print_exc()
        _flush()
    os._exit(EXIT_CODE)  # the interpreter's own exit would wait for threads of handlers


def _work(parent: ParentProcess) -> None:
    set_up = set_up_of(parent.receive())
    _keep_output()
    records = RecordSender(lambda message: parent.send(encoded(message)))
    send_records_to(records)
    set_levels(set_up.levels)
    try:
        function, lifecycle = load(set_up)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the engine has to know
        parent.send(encoded(_not_loaded(error)))
        parent.receive()  # waits for the end
        return
    program = _Program(parent, records, function, lifecycle, set_up.main)
    parent.send(encoded(Ready()))
    while True:
        program.run(run_of(parent.receive()))


def _keep_output() -> None:
    """Let nothing that is printed wait in a buffer, which a kill of the process would empty."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with suppress(AttributeError, ValueError, OSError):  # standard error may be closed
        faulthandler.enable()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # a handler may have put anything in their place
            stream.flush()


def _not_loaded(error: BaseException) -> NotLoaded:
    in_main = isinstance(error, MainError)
    if isinstance(error, MainError) and error.__cause__ is not None:
        error = error.__cause__
    return NotLoaded(error_text(error), _traceback(error), in_main)


def _traceback(error: BaseException) -> str:
    """Return a traceback as the interpreter prints it, without the engine's own frames."""
    try:
        forget_own_frames(error)
        lines = traceback.format_exception(error)
    except BaseException as broken:  # noqa: BLE001 - an exception may have any methods
        lines = [f"{type(error).__name__}, which can't be shown: {type(broken).__name__}"]
    return plain_text("".join(lines).rstrip("\n"), MAX_CHARACTERS)


def _result(value: object) -> object:
    """Return the value that a handler has returned.

    Raises:
        InvalidValueError: It is to be awaited, and no event loop runs here.
    """
    if not isawaitable(value):
        return value
    if isinstance(value, Coroutine):
        value.close()
    raise InvalidValueError(
        "handler", "that runs in processes must not be async, and this one returned an awaitable"
    )


class _Program:
    """Calls the handler."""

    def __init__(
        self,
        parent: ParentProcess,
        records: RecordSender,
        function: Callable[..., Any],
        lifecycle: Lifecycle[Any],
        main: MainModule | None,
    ) -> None:
        self._parent = parent
        self._records = records
        self._function = function
        self._lifecycle = lifecycle
        self._main = main
        self._views: Views[Any] = Views(lifecycle, {}, Epochs())
        signature = signature_of(function)
        self._parameters = Parameters(signature)
        self._results = Results(signature)

    def run(self, run: Run) -> None:
        """Call the handler once, and report the outcome."""
        self._records.begin(run.number)
        self._send(Began(run.number))
        outcome = self._outcome(run)
        _flush()
        self._send(outcome)

    def _outcome(self, run: Run) -> FromProcess:
        context: Context[Any] | None = None
        try:
            record = record_of(run.record)
            context = Context(
                self._views.job(record),
                record,
                self._lifecycle,
                lambda progress: self._report(run.number, progress),
            )
            if run.parent is not None:
                context.set_parent(parent_of(run.parent), self._views)
            returned = self._parameters.call(self._function, context, record.input)
            return Returned(run.number, self._results.result(_result(returned)))
        except BaseException as error:  # noqa: BLE001 - the engine raises it again
            return self._raised(run.number, error)
        finally:
            if context is not None and context.request is not None:
                prompt, deadline = context.request
                seconds = deadline.total_seconds() if isinstance(deadline, timedelta) else None
                at = deadline if isinstance(deadline, datetime) else None
                self._send(Asked(run.number, prompt, seconds, at))

    def _raised(self, number: int, error: BaseException) -> Raised:
        return Raised(
            number=number,
            error=error_text(error),
            kinds=[plain_text(name, MAX_NAME_CHARACTERS) for name in names_of(error, self._main)],
            retryable=is_retryable(error),
            retry_after_seconds=retry_after_of(error),
            asks=asks_for_input(error),
            traceback=_traceback(error),
            disables_rule=disables_rule(error),
        )

    def _report(self, number: int, progress: Progress) -> None:
        self._parent.send_newest(
            encoded(Reported(number, progress.done, progress.total, progress.note))
        )

    def _send(self, message: FromProcess) -> None:
        self._parent.send(encoded(message))
