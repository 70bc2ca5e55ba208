"""Private parts of other packages that the engine uses still exist, and still work.

If an upgrade removes one, its test fails with a sentence that names the module to change.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from types import FrameType

import anyio
import pytest
from pydantic import BaseModel

from engine.domain.interrupts import raised_by_signal
from engine.owner import views
from engine.portal import loop_thread
from engine.portal.logs import levels
from tests.systems import needs_interrupts

SECONDS = 20
FLAGS = "import subprocess; print(*subprocess._args_from_interpreter_flags())"
BELL = "see engine/portal/loop_thread.py"
SLOTS = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


def test_asyncio_has_the_method_that_wakes_a_loop() -> None:
    assert hasattr(asyncio.BaseEventLoop, "_write_to_self"), (
        f"asyncio has no BaseEventLoop._write_to_self any more: {BELL}"
    )
    assert hasattr(asyncio.SelectorEventLoop, "_write_to_self"), (
        f"asyncio has no SelectorEventLoop._write_to_self any more: {BELL}"
    )


def test_asyncio_wakes_a_loop_by_that_method() -> None:
    woken: list[str] = []

    class Loop(asyncio.SelectorEventLoop):
        def _write_to_self(self) -> None:
            woken.append("loop")

    loop = Loop()
    loop.call_soon_threadsafe(print)
    loop.close()
    assert woken == ["loop"], f"asyncio wakes a loop by another means now: {BELL}"


def test_the_engines_loop_is_woken_by_other_threads() -> None:
    """Let the loop only sleep, again and again, until the callback wakes it."""
    thread = loop_thread.the_loop_thread()
    for _ in range(20):
        ran: Future[int] = Future()
        thread.call_soon(lambda ran=ran: ran.set_result(threading.get_ident()))  # type: ignore[misc]
        try:
            assert ran.result(SECONDS) != threading.get_ident()
        except TimeoutError:
            pytest.fail(f"the engine's event loop doesn't wake up any more: {BELL}")


def _raiser(error: BaseException) -> FrameType:
    """Return the frame that raised an error."""
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame


@needs_interrupts
def test_a_ctrl_c_is_raised_where_the_engine_knows_it(anyio_backend: str) -> None:
    caught: list[KeyboardInterrupt] = []

    async def main() -> None:
        try:
            # asyncio cancels the main task at the first interrupt, and raises the second.
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            caught.append(error)

    with suppress(KeyboardInterrupt):  # asyncio's runner, for the first one
        anyio.run(main, backend=anyio_backend)
    [error] = caught
    assert raised_by_signal(error) is error, (
        f"{anyio_backend} raises a Ctrl-C in another way now, which `raised_by_signal` does not see"
    )


def test_pydantic_has_the_slots_of_a_model() -> None:
    """Without one of them the import of the package fails, with the same sentence."""
    for slot in SLOTS:
        assert callable(views.slot_setter(slot))
    slots = set(BaseModel.__slots__)
    assert slots == set(SLOTS), (
        f"pydantic's models have the slots {sorted(slots)} now: see engine/owner/views.py"
    )
    with pytest.raises(RuntimeError, match=r"pydantic.*no slot __gone__.*engine/owner/views\.py"):
        views.slot_setter("__gone__")


def test_subprocess_knows_the_flags_of_the_interpreter() -> None:
    command = [sys.executable, "-W", "error::UserWarning", "-X", "utf8=1", "-B", "-c", FLAGS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["-B", "-Werror::UserWarning", "-X", "utf8=1"], (
        "subprocess has no _args_from_interpreter_flags any more: see "
        f"engine/portal/child_process.py\n{done.stderr}"
    )


def test_logging_has_a_dictionary_of_loggers() -> None:
    logging.getLogger("tests.hooks").setLevel(logging.INFO)
    assert levels()["tests.hooks"] == logging.INFO, (
        "logging's manager has no loggerDict any more: see engine/portal/logs.py"
    )


def test_logging_calls_handlers_by_a_method_of_the_logger() -> None:
    """The method that a process of a handler replaces."""
    called: list[logging.LogRecord] = []

    class Logger(logging.Logger):
        def callHandlers(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
            called.append(record)

    Logger("a").warning("text")
    assert [each.getMessage() for each in called] == ["text"], (
        "a Logger passes records to handlers by another method now: see engine/portal/logs.py"
    )
