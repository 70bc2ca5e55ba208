"""Handlers that run in processes, which import them by their names."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from engine import Context, Job
from engine.worker.processes.messages import Returned, encoded
from engine.worker.results import Result

logger = logging.getLogger("shop.press")

if "TEST_STARTS" in os.environ:  # set by a test, so that the import in processes alone does it
    with Path(os.environ["TEST_STARTS"]).open("a") as _file:
        print(os.getpid(), file=_file)
if "TEST_IMPORT_SECONDS" in os.environ:
    time.sleep(float(os.environ["TEST_IMPORT_SECONDS"]))
if "TEST_IMPORT_NEEDS" in os.environ:
    Path(os.environ["TEST_IMPORT_NEEDS"]).read_text()


class NoPaperError(Exception):
    """An error whose constructor takes more than a text."""

    def __init__(self, tray: int, size: str) -> None:
        super().__init__(f"no {size} in tray {tray}")


class JamError(NoPaperError):
    """An error that another attempt can't mend."""

    retryable = False


class BusyError(Exception):
    """An error that says when to try again."""

    def __init__(self, seconds: object) -> None:
        super().__init__("too many requests")
        self.retry_after_seconds = seconds


class OddError(Exception):
    """An error of which nothing can be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    @property
    def retryable(self) -> bool:
        raise RuntimeError("no answer")


class Order(BaseModel):
    """The form of an answer."""

    colour: str


def _raises(error: Callable[[], BaseException]) -> Callable[..., Any]:
    def case(_job: Job[Any], _context: Context[Any]) -> None:
        raise error()

    return case


def _groups() -> BaseException:
    return BaseExceptionGroup("both", [SystemExit(3), NoPaperError(1, "A4")])


def _logs(_job: Job[Any], _context: Context[Any]) -> str:
    logger.debug("too low for anyone")
    logger.warning("%d %% done", 50, extra={"tray": 2, "sheets": {1}, "job_id": "a lie"})
    try:
        _raises(lambda: JamError(1, "A4"))(_job, _context)
    except JamError:
        logger.exception("a \ud800 jam")
    logging.getLogger("other").info("quiet")
    thread = threading.Thread(target=logging.getLogger("loud").info, args=("from a thread",))
    thread.start()
    thread.join()
    return "logged"


def _reports(job: Job[Any], context: Context[Any]) -> str:
    context.check_cancelled()
    for done in range(10_000):
        context.progress(done, 10_000, "pages")
    context.progress(10_000, 10_000, "pages")
    Path(job.input["let_go"]).read_text()  # a named pipe
    return f"{context.job.job_id} {context.attempt} {bool(context.token)}"


def _asks(_job: Job[Any], context: Context[Any]) -> str:
    order = context.request_input(
        Order, timedelta(hours=1), name="order", question="Which \N{SNOWMAN}?"
    )
    try:
        until = datetime.now(UTC) + timedelta(hours=1)
        size = context.request_input({"type": "integer"}, until)
    except BaseException:  # noqa: BLE001 - as a careless handler does
        return "caught"
    return f"{order.colour} {size}"


def _asks_wrongly(_job: Job[Any], context: Context[Any]) -> object:
    return context.request_input({"type": "nonsense"})


def _kills_itself(_job: Job[Any], _context: Context[Any]) -> None:
    print("last words")  # noqa: T201 - it must not stay in a buffer
    os.kill(os.getpid(), signal.SIGKILL)


def _interrupts_itself(_job: Job[Any], _context: Context[Any]) -> str:
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
        time.sleep(0.01)
    return "unmoved"


def _inside(context: Context[Any]) -> tuple[Any, Any]:
    """Return the run and the program of this process, which have its number and the channel."""
    publish: Any = context._publish  # noqa: SLF001 - as a handler can that means harm
    run, program = (cell.cell_contents for cell in publish.__closure__)
    return run, program


def _forges(_job: Job[Any], context: Context[Any]) -> str:
    """Leave a result in the channel, after the outcome, as a handler can that means harm."""
    run, program = _inside(context)
    forged = encoded(Returned(run.number, Result("a result of another job")))
    threading.Timer(0.1, program._parent.send, [forged]).start()  # noqa: SLF001
    return "done"


def _sends_too_much(_job: Job[Any], context: Context[Any]) -> None:
    """Send a result past the engine's limit, as a handler can that means harm."""
    run, program = _inside(context)
    program._parent.send(encoded(Returned(run.number, Result("x" * 2_000_000))))  # noqa: SLF001
    time.sleep(1000)


def _takes_a_while(_job: Job[Any], _context: Context[Any]) -> str:
    time.sleep(0.3)
    return "mine"


class LostError(Exception):
    """An error whose class says that it comes from nowhere."""


LostError.__module__ = "m\udc80"


class ListError(Exception):
    """An error whose module is no text."""


ListError.__module__ = ["not", "a", "name"]  # type: ignore[assignment]


class _BrokenStream:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        raise RuntimeError("no flush")


def _breaks_output(_job: Job[Any], _context: Context[Any]) -> str:
    sys.stdout = _BrokenStream()
    return "done"


def _leaves_an_alarm(_job: Job[Any], _context: Context[Any]) -> str:
    def ring(*_: object) -> None:
        raise RuntimeError("an alarm")

    signal.signal(signal.SIGALRM, ring)
    threading.Thread(target=time.sleep, args=(1000,)).start()  # no daemon
    signal.setitimer(signal.ITIMER_REAL, 0.5)  # after the job, on a busy machine too
    return "done"


def _leaves_a_thread(_job: Job[Any], _context: Context[Any]) -> str:
    def log() -> None:
        while True:
            logger.warning("from afar")
            time.sleep(0.01)

    threading.Thread(target=log, daemon=True, name="\ud800").start()
    return "done"


def _logs_oddly(_job: Job[Any], _context: Context[Any]) -> str:
    logger.warning("odd", extra={"__class__": 1, "getMessage": 2, "\ud800": object()})
    return "done"


def _logs_in_a_fork(_job: Job[Any], _context: Context[Any]) -> str:
    if not (fork := os.fork()):
        logger.warning("from a fork")
        os._exit(0)
    os.waitpid(fork, 0)
    return "done"


def _closes_all(_job: Job[Any], _context: Context[Any]) -> None:
    os.closerange(3, 300)
    time.sleep(1000)


def _works_on(job: Job[Any], _context: Context[Any]) -> Any:  # noqa: ANN401
    """Add up in processes of `multiprocessing`."""
    with multiprocessing.get_context(job.input["method"]).Pool(2) as pool:
        return sum(pool.map(abs, range(-10, 0)))


async def _later() -> str:
    return "later"


def _wraps_question(_job: Job[Any], context: Context[Any]) -> object:
    try:
        return context.request_input({"type": "integer"})
    except BaseException as error:
        raise RuntimeError("wrapped") from error


CASES: dict[str, Callable[[Job[Any], Context[Any]], Any]] = {
    "process id": lambda _job, _context: os.getpid(),
    "input": lambda job, _context: job.input,
    "snapshot": lambda job, _context: job.model_dump_json(),
    "no paper": _raises(lambda: NoPaperError(2, "A3")),
    "jam": _raises(lambda: JamError(2, "A3")),
    "odd": _raises(OddError),
    "busy": _raises(lambda: BusyError(10**30)),
    "busy for ever": _raises(lambda: BusyError(float("inf"))),
    "exit": _raises(lambda: SystemExit(3)),
    "group": _raises(_groups),
    "long": _raises(lambda: ValueError("x" * 1_000_000)),
    "surrogate": _raises(lambda: ValueError("\0\ud800")),
    "object": lambda _job, _context: object(),
    "coroutine": lambda _job, _context: _later(),
    "wraps a question": _wraps_question,
    "huge": lambda _job, _context: "x" * 2_000_000,
    "largest": lambda _job, _context: "\N{SNOWMAN}" * 1_048_576,
    "model": lambda _job, _context: Order(colour="red"),
    "nothing": lambda _job, _context: None,
    "logs": _logs,
    "reports": _reports,
    "forges": _forges,
    "sends too much": _sends_too_much,
    "takes a while": _takes_a_while,
    "lost": _raises(LostError),
    "list": _raises(ListError),
    "breaks output": _breaks_output,
    "leaves an alarm": _leaves_an_alarm,
    "leaves a thread": _leaves_a_thread,
    "logs oddly": _logs_oddly,
    "logs in a fork": _logs_in_a_fork,
    "closes all": _closes_all,
    "works on": _works_on,
    "asks": _asks,
    "asks wrongly": _asks_wrongly,
    "kills itself": _kills_itself,
    "interrupts itself": _interrupts_itself,
    "arguments": lambda _job, _context: sys.argv,
}


def run_case(job: Job[Any], context: Context[Any]) -> Any:  # noqa: ANN401
    """Run the case that the job's input names."""
    return CASES[job.input if isinstance(job.input, str) else job.input["case"]](job, context)


def told_of_parent(context: Context[Any]) -> str:
    """Tell of the parent of a follow-up, and of the key."""
    parent = context.parent
    sizes = f"{len(parent.input)} {len(parent.result or '')}"
    return f"{parent.job_id} {parent.status.value} {sizes} {context.key}"
