"""Being told to stop, by Ctrl-C or by whoever runs the process.

The first SIGINT or SIGTERM tells the program, which may take its time to close. The second one has
its default action, by the system: the process ends at once. A `KeyboardInterrupt` would not do: it
is raised in whatever blocks the event loop, which may take it for its own and go on; or else it
ends only after every task has been cancelled and has ended.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from types import FrameType

from engine.domain.exceptions import WrongLoopError
from engine.portal.affinity import choose_event
from engine.portal.last_resort import LastResort
from engine.portal.work import call_soon

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_Disposition = Callable[[int, FrameType | None], object] | int | None


class StopSignals:
    """What a program knows of the signals that tell it to stop.

    Attributes:
        at: When the first one came, by `time.monotonic`; None before.
        signal_name: Which one it was, such as "SIGTERM"; None before.
    """

    def __init__(self, last_resort: LastResort | None) -> None:
        self._last_resort = last_resort
        self._call_soon = call_soon()
        self._came = choose_event()()
        self.at: float | None = None
        self.signal_name: str | None = None

    async def wait(self) -> None:
        """Wait for the first signal. Returns at once when it has come."""
        if self.at is None:
            await self._came.wait()

    def tell(self, at: float, signal_name: str) -> None:
        """Tell who waits that the first signal came, from the signal's handler."""
        self.at, self.signal_name = at, signal_name
        if self._last_resort is not None:  # first: the loop may be blocked, or have ended
            self._last_resort.arm()
        with suppress(RuntimeError):  # the event loop has ended
            self._call_soon(self._came.set)


@asynccontextmanager
async def stop_signals(end_by_seconds: float | None = None) -> AsyncIterator[StopSignals]:
    """Take SIGINT and SIGTERM as a wish, for as long as the context lasts.

    At the end of the context both do again what they did before. A signal that the process was
    started to ignore, such as SIGINT in a shell's background, stays ignored. Any number of these
    contexts may be open at once: the first signal tells all. In a forked child the signals have
    their default action.

    Args:
        end_by_seconds: How long the process has from the first signal to the end of this context.
            It ends by `LastResort` after that, also when the event loop is blocked.

    Raises:
        WrongLoopError: This is not the main thread, the only one to which signals come.
    """
    if threading.current_thread() is not threading.main_thread():
        raise WrongLoopError("signals come to the main thread alone: wait for them there")
    with ExitStack() as stack:
        resort = None if end_by_seconds is None else stack.enter_context(LastResort(end_by_seconds))
        told = StopSignals(resort)
        stack.callback(_handlers.remove, told)
        _handlers.add(told)
        yield told


class _Handlers:
    """The process's handlers of the two signals, installed while anybody wants to be told."""

    def __init__(self) -> None:
        self._wanting: list[StopSignals] = []
        self._former: dict[signal.Signals, _Disposition] = {}
        self._first: tuple[float, str] | None = None
        self._process = 0

    def add(self, told: StopSignals) -> None:
        """Tell this one, too; at once if the others have been told."""
        self._wanting.append(told)
        if len(self._wanting) == 1:
            self._install()
        elif self._first is not None:
            told.tell(*self._first)

    def _install(self) -> None:
        self._process, self._first = os.getpid(), None
        for number in _SIGNALS:
            former = signal.getsignal(number)
            if former not in {signal.SIG_IGN, None}:  # None: not ours to take, and to give back
                self._former[number] = former
                signal.signal(number, self._handle)

    def remove(self, told: StopSignals) -> None:
        """Tell this one no more."""
        self._wanting.remove(told)
        if not self._wanting:
            while self._former:
                signal.signal(*self._former.popitem())

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        """Run between any two steps of the main thread, also while the event loop is blocked."""
        at = time.monotonic()
        for each in self._former:
            signal.signal(each, signal.SIG_DFL)
        if os.getpid() != self._process:  # a forked child, which nobody meant to close anything
            os.kill(os.getpid(), number)
            return
        self._first = at, signal.Signals(number).name
        for told in list(self._wanting):
            told.tell(*self._first)


_handlers = _Handlers()
