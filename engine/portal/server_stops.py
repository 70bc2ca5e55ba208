"""The stop of the server that runs the program, as its long answers have to hear of it.

uvicorn and hypercorn take a signal, close their sockets, and wait for the answers that are under
way before they tell the application anything. An answer without an end would wait for them, and
they for it. So this hears the signal too, and leaves it to the server's own handler. A worker
process of hypercorn gets no signal, but looks at an event of its parent process ten times a second;
so does this.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.process import current_process
from types import FrameType
from typing import Any, Final

import anyio

from engine.portal.affinity import call_soon

_LOOK_SECONDS: Final = 0.1
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

Listener = Callable[[], object]


@contextmanager
def until_server_stops() -> Iterator[None]:
    """Cancel the enclosed block when the server stops; at once, if it is stopping already.

    Takes SIGINT and SIGTERM as the stop, in the main thread and while somebody handles them, and
    the event by which hypercorn stops its worker processes. Holds nothing outside of the block.
    """
    soon = call_soon()
    with anyio.CancelScope() as scope, _stop.told_to(partial(_call, soon, scope.cancel)):
        yield


def _call(soon: Callable[[Listener], object], callback: Listener) -> None:
    with suppress(RuntimeError):  # the event loop has ended
        soon(callback)


class _Hearing:
    """A handler of a signal that passes it on to the former one."""

    def __init__(self, tell: Listener, former: Callable[[int, FrameType | None], object]) -> None:
        self._tell = tell
        self.former = former

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._tell()
        self.former(number, frame)


class _Stop:
    """The stop of this process's server, and those who want to hear of it."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._hearings: dict[signal.Signals, _Hearing] = {}
        self._has_come = False
        self._looking = threading.Lock()

    @contextmanager
    def told_to(self, listener: Listener) -> Iterator[None]:
        """Call a function when the stop comes, in any thread; at once, if it has come."""
        self._listeners.add(listener)
        try:
            self._hear()
            self._look_at(_event_of_worker())
            if self._has_come:
                listener()
            yield
        finally:
            self._listeners.discard(listener)
            if not self._listeners and not self._has_come:
                self._leave()

    def _tell(self) -> None:
        self._has_come = True
        for listener in tuple(self._listeners):
            listener()

    # Signals.

    def _hear(self) -> None:
        """Hear the signals that somebody handles. The others end the process, or are ignored.

        A stop is forgotten when other handlers stand where these stood: those of the next server.
        """
        if threading.current_thread() is not threading.main_thread() or self._is_heard():
            return
        self._leave()
        self._has_come = False
        for number in _SIGNALS:
            former = signal.getsignal(number)
            if callable(former):
                # Between its signal and its stop uvicorn still takes requests, for 0.1 s.
                server = getattr(former, "__self__", None)
                self._has_come |= getattr(server, "should_exit", False) is True
                hearing = self._hearings[number] = _Hearing(self._tell, former)
                signal.signal(number, hearing)

    def _is_heard(self) -> bool:
        found = [signal.getsignal(number) is ours for number, ours in self._hearings.items()]
        return bool(found) and all(found)

    def _leave(self) -> None:
        """Put the former handlers back, where nobody has put others."""
        if threading.current_thread() is threading.main_thread():
            while self._hearings:
                number, hearing = self._hearings.popitem()
                found: object = signal.getsignal(number)
                if found is hearing:
                    signal.signal(number, hearing.former)

    # The event.

    def _look_at(self, event: Any) -> None:  # noqa: ANN401 - multiprocessing's have no public type
        """Look at a worker process's event until it is set, as long as somebody listens.

        Not by its own `wait`: a process that is killed meanwhile blocks the one that sets it.
        """
        if event is not None and self._looking.acquire(blocking=False):
            look = partial(self._look, event)
            threading.Thread(target=look, name="engine server stop", daemon=True).start()

    def _look(self, event: Any) -> None:  # noqa: ANN401 - as above
        try:
            while self._listeners and not event.is_set():
                time.sleep(_LOOK_SECONDS)
        finally:
            self._looking.release()
        if event.is_set():
            self._tell()


def _event_of_worker() -> Any:  # noqa: ANN401 - as above
    """Return the event that stops this worker process of hypercorn; None in any other process."""
    return getattr(current_process(), "_kwargs", {}).get("shutdown_event")


_stop = _Stop()
