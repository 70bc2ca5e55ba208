"""Wait for the signal to stop, and then stop, or fail to.

Usage: python -m tests.unit.portal.programs.stopping BACKEND HOW

HOW is one of the functions below whose name does not begin with "_".
"""

# ruff: noqa: T201 - a test reads the output

import asyncio
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from operator import call
from typing import Any

import anyio

from engine.portal.signals import ForcedExit, StopSignals, stop_signals

SECONDS = 0.5
SECONDS_TO_CLOSE = 2.0
"""Far more than it takes, on a busy machine too."""


def _say(text: str) -> None:
    print(text, flush=True)


def _hang_for_good() -> None:
    """Act as a handler that blocks the loop and swallows every exception."""
    while True:
        with suppress(BaseException):
            time.sleep(0.05)  # short: a signal that comes just before does not end it


def _say_when_told(signals: StopSignals) -> None:
    """Report the signal from another thread; the loop may be blocked."""

    def watch() -> None:
        while signals.at is None:
            time.sleep(0.01)
        _say("told")

    threading.Thread(target=watch, daemon=True).start()


async def returns() -> None:
    """Report the signal, and end."""
    began = time.monotonic()
    async with stop_signals(60) as signals:
        _say("ready")
        await signals.wait()
        assert signals.at is not None
        assert began < signals.at <= time.monotonic()
        await signals.wait()
        _say("told")


async def blocks() -> None:
    """Block the loop, which then sees no signal."""
    async with stop_signals() as signals:
        _say_when_told(signals)
        _say("ready")
        _hang_for_good()


async def blocks_and_is_ended() -> None:
    """Block the loop until the forced exit."""
    async with stop_signals(SECONDS):
        _say("ready")
        _hang_for_good()


async def closes_for_ever() -> None:
    """Receive the signal, and then wait in a shielded task."""
    async with stop_signals() as signals:
        _say("ready")
        await signals.wait()
        with anyio.CancelScope(shield=True):
            _say("told")
            await anyio.sleep_forever()


async def closes_in_time() -> None:
    """Leave the context in time, and then run longer than the forced exit would wait."""
    async with stop_signals(SECONDS_TO_CLOSE) as signals:
        _say("ready")
        await signals.wait()
    with ForcedExit(SECONDS_TO_CLOSE) as forced_exit:
        forced_exit.arm()
    await anyio.sleep(SECONDS_TO_CLOSE * 1.5)
    _say("told")


async def is_ended() -> None:
    """Close for too long, without any signal, while a thread holds the lock of the log."""
    held = threading.Event()

    def hold() -> None:
        logging.getLogger().handlers[0].acquire()
        held.set()
        _hang_for_good()

    threading.Thread(target=hold, daemon=True).start()
    held.wait()
    with ForcedExit(SECONDS) as forced_exit:
        forced_exit.arm()
        _say("ready")
        await anyio.sleep_forever()


async def twice() -> None:
    """Let two contexts wait, the first of which leaves first, and a third come late."""

    async def wait(ready: anyio.Event) -> None:
        async with stop_signals() as signals:
            ready.set()
            await signals.wait()
            _say("told")

    async with anyio.create_task_group() as tasks:
        async with stop_signals():
            ready = anyio.Event()
            tasks.start_soon(wait, ready)
            await ready.wait()
        async with stop_signals() as last:
            _say("ready")
            await last.wait()
            await wait(anyio.Event())


def _code_of_a_child_that_gets(number: signal.Signals) -> int:
    came, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(there, b"!")  # Python forgets a signal that comes before its fork returns
        _hang_for_good()
    os.read(came, 1)
    os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def forks() -> None:
    """Fork a child that gets SIGTERM, and get a signal of its own."""
    async with stop_signals(60) as signals:
        _say(f"child {_code_of_a_child_that_gets(signal.SIGTERM)}")
        assert signals.at is None
        _say("ready")
        await signals.wait()
        _say("told")


async def gets_one_as_the_wait_begins() -> None:
    """Get a signal after the interpreter's last look for one, before the loop waits for events."""
    selector: Any = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]  # noqa: SLF001
    real = selector._selector  # noqa: SLF001 - its `poll` blocks
    send = ctypes.PyDLL(None)["raise"]

    class Poll:
        def poll(self, timeout: float, most: int) -> object:
            selector._selector = real  # noqa: SLF001
            # C code calls both: the interpreter does not look between them.
            steps = [partial(send, int(signal.SIGINT)), partial(real.poll, timeout, most)]
            return list(map(call, steps))[1]

    async with stop_signals() as signals:
        selector._selector = Poll()  # noqa: SLF001
        await signals.wait()
        _say("told")


async def ignores_interrupts() -> None:
    """Act as a background process of a shell."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGINT)
    async with stop_signals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        _say("ready")
        await signals.wait()
        _say("told")


if __name__ == "__main__":
    logging.basicConfig()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    before: list[object] = []

    async def main() -> None:
        """Check that the signals have their old handlers again at the end."""
        before.extend(map(signal.getsignal, (signal.SIGINT, signal.SIGTERM)))
        await globals()[sys.argv[2]]()
        if sys.argv[2] != ignores_interrupts.__name__:
            assert before == [*map(signal.getsignal, (signal.SIGINT, signal.SIGTERM))]

    anyio.run(main, backend=sys.argv[1])
    _say("the end")
