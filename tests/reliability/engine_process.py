"""An engine in a process of its own, beside others over one database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.reliability.programs.zygote import Line, program

_SECONDS = 60


class EngineProcess:
    """An engine in a process of its own; a thread reads its lines.

    Attributes:
        name: The engine's name.
        said: All lines of it.
    """

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.said: list[Line] = []
        self._process = process
        self._heard = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._heard:
                self.said.append(json.loads(line))
                self._heard.notify_all()

    def until(self, kind: str, times: int = 1) -> list[Line]:
        """Wait until it has said something as often; return the values of these lines."""
        with self._heard:
            is_said = self._heard.wait_for(lambda: len(self.values(kind)) >= times, _SECONDS)
            assert is_said, f"{self.name} has not said {kind!r}, but {self.said[-20:]}"
            return self.values(kind)

    def values(self, kind: str) -> list[Line]:
        """Return the values of its lines of a kind."""
        return [values for said, *values in self.said if said == kind]

    def open(self) -> None:
        """Open it, and wait for that."""
        self._order("open")
        self.until("opened")

    def create(self, *inputs: str) -> None:
        """Let it create jobs."""
        self._order("create", inputs)

    def _order(self, *order: object) -> None:
        assert self._process.stdin is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)

    def end(self) -> None:
        """Let it close, and read its last lines."""
        self._order("end")
        assert self._process.wait(_SECONDS) == 0
        self._reader.join()

    def kill(self) -> None:
        """Kill it, and read its last lines."""
        self._process.kill()
        self._process.wait(_SECONDS)
        self._reader.join()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self._process.pid, number)


@contextmanager
def engine(url: str, name: str, backend: str, ahead_seconds: float = 0) -> Iterator[EngineProcess]:
    """Start the process of an engine, whose clock is ahead; kill it at the end."""
    with program("sharing", url, name, backend, str(ahead_seconds)) as process:
        engine = EngineProcess(name, process)
        try:
            yield engine
        finally:
            engine.kill()


def until(is_so: Callable[[], object]) -> None:
    """Wait until the database says so."""
    end = time.monotonic() + _SECONDS
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)
