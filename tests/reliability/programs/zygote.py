"""Fork warm children and kill each after a while: the program, and its client.

Usage: python -m tests.reliability.programs.zygote MODULE

It imports MODULE once and calls its ``warm()``; it calls its ``run(order)`` in every child. Orders
are lines of JSON on the standard input. A child's lines go to the standard output at once, and
after its last one comes a line with its exit status. One system call writes a line, so a kill can't
leave half of it. A child is killed after the seconds in its order, or by an order to kill it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import engine

Order: TypeAlias = dict[str, Any]
Line: TypeAlias = list[Any]

MOST_SECONDS = 60
"""A child that lives this long has lost its zygote, or hangs: the system then ends it."""
MOST_SECONDS_UNTIL_SAID = 5
_KILL: list[Any] = ["kill"]
ROOTS = [str(Path(str(engine.__file__)).parents[1]), str(Path(__file__).parents[3])]
OPTIONS = ["-X", "faulthandler", "-W", "error", "-W", "ignore:This process:DeprecationWarning"]


def say(*line: object) -> None:
    """Send a line to the other end, smaller than an atomic write to a pipe."""
    text = f"{json.dumps(line)}\n".encode()
    assert len(text) <= 4_096
    os.write(1, text)


@dataclass
class Life:
    """The end of a child.

    Attributes:
        said: Its lines.
        status: Its exit status; the negative number of the signal if it was killed.
        seconds: Its lifetime.
    """

    said: list[Line] = field(default_factory=list)
    status: int = 0
    seconds: float = 0.0


class Zygote:
    """The client's end of the pipes, which orders children. Made by `zygote`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def child(self, order: Order, seconds: float, *, counted_from: Line | None = None) -> Life:
        """Run a child, and kill it if it has not ended after so many seconds.

        They count from its start, or from a certain line of it. Without that line it gets some more
        seconds.
        """
        assert self._process.stdout is not None
        self._send([order, seconds if counted_from is None else MOST_SECONDS_UNTIL_SAID])
        life, began = Life(), time.monotonic()
        for text in self._process.stdout:
            line = json.loads(text)
            if line[0] == "end":
                life.status, life.seconds = line[1], time.monotonic() - began
                return life
            life.said.append(line)
            if line == counted_from:
                counted_from = None
                time.sleep(seconds)
                self._send(_KILL)
        raise AssertionError("the zygote has ended")

    def _send(self, line: Line) -> None:
        assert self._process.stdin is not None
        print(json.dumps(line), file=self._process.stdin, flush=True)


@contextlib.contextmanager
def zygote(module: str) -> Iterator[Zygote]:
    """Start a zygote for a module of this folder, and check at the end that stderr is empty."""
    with program("zygote", f"{__package__}.{module}") as process:
        yield Zygote(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(MOST_SECONDS) == 0


@contextlib.contextmanager
def program(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a program of this folder, and check at the end that its stderr is empty."""
    with tempfile.TemporaryFile("w+") as complaints:
        with subprocess.Popen(
            [sys.executable, *OPTIONS, "-m", f"{__package__}.{name}", *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(ROOTS)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        ) as process:
            try:
                yield process
            except BaseException as error:
                complaints.seek(0)
                error.add_note(f"{name}: {complaints.read()}")
                raise
        complaints.seek(0)
        assert complaints.read() == ""


def _live(run: Callable[[Order], None], order: Order) -> None:
    signal.alarm(MOST_SECONDS)
    try:
        run(order)
    except BaseException:  # noqa: BLE001 - nothing of the zygote's may go on in the child
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main(module: str) -> None:
    """Serve orders until there are no more."""
    imported = importlib.import_module(module)
    imported.warm()
    gc.freeze()  # children share these objects until the collector visits them
    while text := sys.stdin.readline():
        if (line := json.loads(text)) == _KILL:
            continue  # the child has ended already
        order, seconds = line
        ended, end = os.pipe()
        if (child := os.fork()) == 0:
            _live(imported.run, order)
        os.close(end)
        select.select([sys.stdin, ended], [], [], seconds)
        os.close(ended)
        os.kill(child, signal.SIGKILL)  # it is still ours, even if it has ended
        _, status = os.waitpid(child, 0)
        say("end", os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(sys.argv[1])
