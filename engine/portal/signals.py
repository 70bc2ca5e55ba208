"""Signals that ask the program to stop, and the exit that is forced when it does not stop.

`stop_signals` turns the first SIGINT or SIGTERM into a request: the program may take its time to
close. The second one has its default action, by the system, and ends the process at once. A
`KeyboardInterrupt` would not do: it is raised in the code that blocks the event loop, which may
swallow it and carry on; otherwise the process ends only after every task has been cancelled and has
ended.

`ForcedExit` ends a process that does not close: a handler that never yields blocks the event loop,
and a shielded task refuses to end. Acknowledged changes are safe all the same.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import ClassVar, Final, Self, TypeVar

from anyio.lowlevel import current_token

from engine.domain.exceptions import WrongLoopError
from engine.portal.affinity import call_soon, choose_event
from engine.portal.logs import TaskLogger
from engine.portal.watchdog import all_stacks, get_unsuspended

logger = TaskLogger("engine")

EXIT_CODE: Final = 70
"""EX_SOFTWARE of sysexits.h, an internal error. Not every system has `os.EX_SOFTWARE`."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_LOGGING_SECONDS: Final = 0.4

Receiver = TypeVar("Receiver", bound="_Receiver")
_Disposition = Callable[[int, FrameType | None], object] | int | None


class ForcedExit:
    """Ends the process at once, if it stays armed for a number of seconds.

    The end of the context disarms it. Armed for too long, it logs the stacks of all threads and
    ends the process by ``os._exit(70)``: no ``finally`` runs, and nothing is flushed. Time during
    which the whole process is suspended does not count.

    Args:
        seconds: How long the process may run once this is armed; 0.4 s longer if its log hangs.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._armed: SimpleQueue[bool] = SimpleQueue()

    def __enter__(self) -> Self:
        """Start the waiting thread, a daemon; a signal's handler could not start one."""
        threading.Thread(target=self._stand_by, name="engine forced exit", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Disarm it, for good."""
        self._armed.put(False)  # noqa: FBT003 - the answer to the queue's name

    def arm(self) -> None:
        """Begin to count; again, it starts anew. May be called anywhere, even by a signal."""
        self._armed.put(True)  # noqa: FBT003 - as above

    def _stand_by(self) -> None:
        if self._armed.get():
            try:
                while get_unsuspended(self._armed, self._seconds):
                    pass  # armed again
            except Empty:
                self._exit()

    def _exit(self) -> None:
        try:
            # On another thread: the code that hangs may hold the lock of the log.
            logging_thread = threading.Thread(
                target=self._log, name="engine forced exit log", daemon=True
            )
            logging_thread.start()
            logging_thread.join(_LOGGING_SECONDS)
        finally:
            os._exit(EXIT_CODE)

    def _log(self) -> None:
        logger.critical(
            "the process has not ended within %g s of the signal to stop: ending it now. "
            "Its threads:\n%s",
            self._seconds,
            all_stacks(),
        )


class _Receiver:
    """The signals to stop, as a program sees them.

    Attributes:
        at: The time of the first one, by `time.monotonic`; None before.
        on_loop: Whether an event loop waits for them.
    """

    on_loop: ClassVar[bool]

    def __init__(self, forced_exit: ForcedExit | None) -> None:
        self._forced_exit = forced_exit
        self.at: float | None = None

    def receive(self, at: float) -> None:
        """Wake the program at the first signal. Called by the signal's handler."""
        self.at = at
        if self._forced_exit is not None:  # first: the loop may be blocked, or have ended
            self._forced_exit.arm()
        self.wake()

    def wake(self) -> None:
        """End the program's wait, also without a signal. Any thread may call it."""
        raise NotImplementedError


class StopSignals(_Receiver):
    """The signals to stop, for a task."""

    on_loop = True

    def __init__(self, forced_exit: ForcedExit | None) -> None:
        super().__init__(forced_exit)
        self._call_soon = call_soon()
        self._came = choose_event()()

    async def wait(self) -> None:
        """Wait for the first signal, or for `wake`. Returns at once if the signal has come."""
        if self.at is None:
            await self._came.wait()

    def wake(self) -> None:
        """See `_Receiver.wake`. To be called when a task waits, or is about to without a pause."""
        with suppress(RuntimeError):  # the event loop has ended
            self._call_soon(self._came.set)


class BlockingStopSignals(_Receiver):
    """The signals to stop, for the main thread."""

    on_loop = False

    def __init__(self, forced_exit: ForcedExit | None) -> None:
        super().__init__(forced_exit)
        # A handler runs in the middle of the main thread's wait: of all queues and locks, this one
        # may be used again there.
        self._came: SimpleQueue[None] = SimpleQueue()

    def wait(self) -> None:
        """Block the main thread until the first signal, or `wake`.

        Returns at once if the signal has come.
        """
        if self.at is None:
            self._came.get()

    def wake(self) -> None:
        """See `_Receiver.wake`."""
        self._came.put(None)


@asynccontextmanager
async def stop_signals(exit_after_seconds: float | None = None) -> AsyncIterator[StopSignals]:
    """Take SIGINT and SIGTERM as a request to stop, for as long as the context lasts.

    The end of the context restores the former handlers. A signal that the process was started to
    ignore, such as SIGINT in a shell's background, stays ignored. Any number of these contexts may
    be open at once: the first signal reaches all of them. In a forked child the signals have their
    default action.

    Args:
        exit_after_seconds: How long the process may take from the first signal to the end of this
            context. After that `ForcedExit` ends it, even if the event loop is blocked.

    Raises:
        WrongLoopError: This is not the main thread, the only one that receives signals.
    """
    with _received_by(StopSignals, exit_after_seconds) as signals:
        yield signals


@contextmanager
def blocking_stop_signals(
    exit_after_seconds: float | None = None,
) -> Iterator[BlockingStopSignals]:
    """Do the same as `stop_signals`, for a main thread that blocks.

    Raises:
        WrongLoopError: This is not the main thread.
    """
    with _received_by(BlockingStopSignals, exit_after_seconds) as signals:
        yield signals


@contextmanager
def _received_by(kind: type[Receiver], exit_after_seconds: float | None) -> Iterator[Receiver]:
    if threading.current_thread() is not threading.main_thread():
        raise WrongLoopError("only the main thread receives signals: wait for them there")
    with ExitStack() as stack:
        forced_exit = None
        if exit_after_seconds is not None:
            forced_exit = stack.enter_context(ForcedExit(exit_after_seconds))
        signals = kind(forced_exit)
        stack.callback(_handlers.remove, signals)
        _handlers.add(signals)
        yield signals


@contextmanager
def _waking_the_loop() -> Iterator[None]:
    """Let signals end the event loop's wait for events.

    Python's handler of a signal runs between two steps of the interpreter. One that comes just
    before the loop begins to wait would stay unnoticed until something else wakes the loop. trio
    and asyncio's proactor have a wake-up of their own, and keep it.
    """
    loop = current_token().native_token
    with ExitStack() as stack:
        if isinstance(loop, asyncio.AbstractEventLoop) and _wake_up_by(-1) == -1:
            reader, writer = map(stack.enter_context, socket.socketpair())
            reader.settimeout(0)
            writer.settimeout(0)
            loop.add_reader(reader, reader.recv, 4_096)
            stack.callback(loop.remove_reader, reader)
            _wake_up_by(writer.fileno())
            stack.callback(_wake_up_by, -1, instead_of=writer.fileno())
        yield


def _wake_up_by(fd: int, instead_of: int = -1) -> int:
    """Let signals write to this file descriptor, unless they write to another one than expected.

    Returns:
        The one that they wrote to; -1 for none.
    """
    former = signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    if former != instead_of:
        signal.set_wakeup_fd(former)
    return former


class _Handlers:
    """The process's handlers of the two signals, installed while a `stop_signals` is open."""

    def __init__(self) -> None:
        self._receivers: list[_Receiver] = []
        self._former: dict[signal.Signals, _Disposition] = {}
        self._first_at: float | None = None
        self._process = 0
        self._waking = ExitStack()

    def add(self, receiver: _Receiver) -> None:
        """Pass the first signal on to this one; at once if it has come."""
        self._receivers.append(receiver)
        if len(self._receivers) == 1:
            self._install(on_loop=receiver.on_loop)
        elif self._first_at is not None:
            receiver.receive(self._first_at)

    def _install(self, *, on_loop: bool) -> None:
        self._restore()  # what another thread has left to the main one
        self._process, self._first_at = os.getpid(), None
        if on_loop:
            self._waking.enter_context(_waking_the_loop())
        for number in _SIGNALS:
            former = signal.getsignal(number)
            if former not in {signal.SIG_IGN, None}:  # None: not set by Python, nor to be restored
                self._former[number] = former
                signal.signal(number, self._handle)

    def remove(self, receiver: _Receiver) -> None:
        """Pass nothing on to this one any more.

        Only the main thread can restore the former handlers. Another one leaves that to the next
        signal, or to the next receiver.
        """
        self._receivers.remove(receiver)
        if not self._receivers and threading.current_thread() is threading.main_thread():
            self._restore()

    def _restore(self) -> None:
        while self._former:
            signal.signal(*self._former.popitem())
        self._waking.close()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        """Run between any two steps of the main thread, even while the event loop is blocked."""
        at = time.monotonic()
        if not self._receivers:
            self._restore()
            signal.raise_signal(number)
            return
        for each in self._former:
            signal.signal(each, signal.SIG_DFL)
        if os.getpid() != self._process:  # a forked child, which has nothing to close
            os.kill(os.getpid(), number)
            return
        self._first_at = at
        for receiver in list(self._receivers):
            receiver.receive(at)


_handlers = _Handlers()
