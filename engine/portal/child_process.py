"""Child processes: programs with a private channel, which end with the process that started them.

A child runs in a session of its own. So a Ctrl-C of the terminal does not reach it, and killing its
process group kills the programs that it has started, too. Its standard input is /dev/null; standard
output and error are those of this process. No other program inherits an end of the channel, which
is thus closed as soon as one of the two processes has ended.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from engine.portal.channel import Channel

SIGNALS_OF_THE_PARENT: Final = (signal.SIGINT, signal.SIGTERM)
"""The signals that a child leaves to this process."""

_FIRST_FREE_DESCRIPTOR: Final = 3
_ENDING_SECONDS: Final = 1.0  # from the end of the channel to that of the process
_PAUSE_SECONDS: Final = 0.002
_REAPING_SECONDS: Final = 1.0
_SESSION_FIELD: Final = 3  # of /proc/*/stat, counted after the name; see proc(5)


# For `os.waitid`: look at the process, without waiting for it and without reaping it.
_LOOK: Final = os.WEXITED | os.WNOHANG | os.WNOWAIT if hasattr(os, "waitid") else 0


class ChildProcess:
    """A child process that runs a Python program. Any thread may use it.

    Args:
        source: The program. Its first argument is the descriptor of its end of the channel.
        arguments: The other arguments.

    Raises:
        OSError: The system can't start another process.

    Attributes:
        process_id: The system's number of it, also of its session and its process group.
        channel: This process's end of the channel.
        in_use: Set while a thread works with it. The interpreter's exit then leaves it alone, so
            that the thread sees no failure; it ends just after, with the channel.
    """

    def __init__(self, source: str, arguments: Sequence[str]) -> None:
        ours, theirs = _socket_pair()
        # Private to CPython, which has it for `multiprocessing`; a test of private hooks looks
        # after it.
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
        command = [sys.executable, *flags, "-c", source, str(theirs.fileno()), *arguments]
        try:
            with theirs, _signals_blocked():  # the child inherits that
                self._process = subprocess.Popen(  # noqa: S603 - our own program
                    command,
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        self.process_id = self._process.pid
        self.channel = Channel(ours)
        self._ending = threading.Lock()
        self._is_killed = False
        _children.add(self)
        self.in_use = threading.Event()
        # Nobody may have ended it when this object becomes garbage, or at the interpreter's exit.
        self._finalizer = weakref.finalize(
            self, _end, os.getpid(), self._process, self.channel, self.in_use
        )

    def has_ended(self) -> bool:
        """Return whether the process has ended. Does not wait, and does not reap it."""
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self._process.poll() is not None
        try:
            return os.waitid(os.P_PID, self.process_id, _LOOK) is not None
        except ChildProcessError:  # the program lets the system reap its children
            return True

    def _is_not_reaped(self) -> bool:
        if not hasattr(os, "waitid"):
            return True
        try:
            os.waitid(os.P_PID, self.process_id, _LOOK)
        except ChildProcessError:
            return False
        return True

    def kill(self) -> None:
        """Kill the process and all others of its group. Does not wait; does nothing once killed."""
        with self._ending:
            if not self._is_killed:
                self._is_killed = True  # never again: once it is reaped, its number is free
                _kill_group(self.process_id)

    def end(self) -> int:
        """Kill the group, close the channel and reap the process; wait until that is done.

        Returns:
            The exit code of the process; the number of a signal that killed it, below 0.
        """
        self.kill()
        kill_session(self.process_id)
        self.channel.close()
        code = self._process.wait()
        self._finalizer.detach()
        return code

    def ended(self) -> str:
        """End it as `end` does, and tell how it ended, for an error's text.

        To be called when the process seems to have ended by itself.
        """
        until = time.monotonic() + _ENDING_SECONDS
        while not (has_ended := self.has_ended()) and time.monotonic() < until:
            time.sleep(_PAUSE_SECONDS)
        is_known = self._is_not_reaped()
        code = self.end()
        if not is_known:
            return "ended, nobody knows how: the program lets the system reap its children"
        if not has_ended:
            return "closed its channel to the engine"
        if code >= 0:
            return f"ended with exit code {code}"
        advice = ", perhaps out of memory" if -code == signal.SIGKILL else ""
        with suppress(ValueError):  # a real-time signal has no name
            return f"was killed by signal {-code} ({signal.Signals(-code).name}){advice}"
        return f"was killed by signal {-code}"

    def leave_behind(self) -> None:
        """Forget the process, in a forked child of this one: it stays the parent's."""
        self._is_killed = True
        self.channel.close()
        self._finalizer.detach()
        self._process.returncode = 0  # so that it is not waited for here


def kill_session(session: int) -> bool:
    """Kill the other processes of a session: also those with a process group of their own.

    A program such as ``timeout`` makes one for itself.

    Returns:
        Whether this system has /proc, which tells of sessions; without it, this does nothing.
    """
    killed = {os.getpid()}
    while others := {*_processes_of(session)} - killed:  # they may start others meanwhile
        for process_id in others:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process_id, signal.SIGKILL)
        killed |= others
    return Path("/proc/self/stat").exists()


def _processes_of(session: int) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            fields = entry.read_bytes().rpartition(b")")[2].split()
            if int(fields[_SESSION_FIELD]) == session:
                yield int(entry.parent.name)


_children: weakref.WeakSet[ChildProcess] = weakref.WeakSet()


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return connected sockets, none of them in the place of a standard stream that is closed."""
    return tuple(map(_out_of_the_way, socket.socketpair()))  # type: ignore[return-value]


def _out_of_the_way(end: socket.socket) -> socket.socket:
    occupied = []
    try:
        while end.fileno() < _FIRST_FREE_DESCRIPTOR:
            occupied.append(end)
            end = end.dup()
    finally:
        for each in occupied:
            each.close()
    return end


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block the signals of the parent in this thread, and in a process that it starts meanwhile."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS_OF_THE_PARENT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _kill_group(process_id: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, of a zombie
        os.killpg(process_id, signal.SIGKILL)


def _end(
    started_in: int, process: subprocess.Popen[bytes], channel: Channel, in_use: threading.Event
) -> None:
    if os.getpid() == started_in and not in_use.is_set():
        _kill_group(process.pid)
        channel.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_REAPING_SECONDS)


def _leave_behind() -> None:
    for child in list(_children):
        child.leave_behind()
    _children.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_behind)
