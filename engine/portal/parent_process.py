"""The parent process, as a child process that it started as a `ChildProcess` sees it.

The child never outlives its parent: when the channel ends, it kills itself and all programs that it
has started. Code that never releases the interpreter's lock delays that.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from types import FrameType
from typing import Final

from engine.portal.channel import Channel, ChannelError
from engine.portal.child_process import SIGNALS_OF_THE_PARENT, kill_session
from engine.portal.signals import EXIT_CODE

_LOOK_AGAIN_SECONDS: Final = 1.0


class ParentProcess:
    """Exchanges messages with the parent, and ends this process when the parent is gone.

    To be made by the main thread, once. From then on SIGINT and SIGTERM do nothing here: the parent
    decides when this process ends. Programs that it starts get the signals as usual.

    Args:
        descriptor: The end of the channel.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - positional-only
        self._channel = Channel(socket.socket(fileno=descriptor))
        self._parent = os.getppid()
        self._newest: bytes | None = None
        self._has_newest = threading.Event()
        self._sends_newest = False
        os.register_at_fork(after_in_child=self._leave)
        for number in SIGNALS_OF_THE_PARENT:
            # Not SIG_IGN, which the programs that this process starts would inherit.
            signal.signal(number, _do_nothing)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS_OF_THE_PARENT)
        threading.Thread(
            target=_watch, args=(descriptor, self._parent), name="engine parent", daemon=True
        ).start()

    def _leave(self) -> None:
        """Leave the channel, whose end would else go unnoticed, and take signals: this is a fork.

        `multiprocessing` ends its forks by SIGTERM.
        """
        self._channel.close()
        for number in SIGNALS_OF_THE_PARENT:
            if signal.getsignal(number) is _do_nothing:
                signal.signal(number, signal.SIG_DFL)

    def receive(self) -> bytes:
        """Wait for the next message. Does not return if the parent is gone."""
        try:
            return self._channel.receive()
        except ChannelError:
            _end(self._parent)
            raise

    def send(self, message: bytes) -> None:
        """Send a message. Any thread may call it.

        Raises:
            ChannelError: The parent is gone, or this is a fork of the process.
        """
        self._channel.send(message)

    def send_newest(self, message: bytes) -> None:
        """Send a message soon. It replaces an earlier one that has not been sent. Never waits."""
        self._newest = message
        if not self._sends_newest:
            self._sends_newest = True
            threading.Thread(target=self._send_newest, name="engine newest", daemon=True).start()
        self._has_newest.set()

    def _send_newest(self) -> None:
        while True:
            self._has_newest.wait()
            self._has_newest.clear()
            message, self._newest = self._newest, None
            if message is not None:
                try:
                    self._channel.send(message)
                except ChannelError:
                    return


def _watch(descriptor: int, parent: int) -> None:
    """End this process when the channel or the parent has ended. Reads nothing."""
    poll = select.poll()
    poll.register(descriptor, getattr(select, "POLLRDHUP", 0))  # POLLHUP is always told
    # A fork of the parent may hold its end of the channel open.
    while not poll.poll(_LOOK_AGAIN_SECONDS * 1_000) and os.getppid() == parent:
        pass
    _end(parent)


def _end(parent: int) -> None:
    """Kill this process and all programs that it has started.

    If the parent lives, this end of the channel was closed: the exit code tells that apart.
    """
    if kill_session(os.getpid()) and os.getppid() == parent:
        os._exit(EXIT_CODE)
    os.killpg(0, signal.SIGKILL)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    pass
