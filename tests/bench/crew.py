"""Crews: several processes that begin the same work at the same time.

A member is a program (``python -m MODULE ARGUMENTS``) that gets ready, says so on its output, waits
for a line on its input, works, says that it is done, and waits for another line before it ends.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Timer
from typing import Final

import anyio

_SECONDS: Final = 300.0  # a measurement that takes longer has hung
_READY: Final = "ready"
_DONE: Final = "done"


@dataclass(frozen=True)
class Effort:
    """What a crew took."""

    seconds: float
    """From the beginning to the end of the work."""
    cpu_seconds: float
    """Of all members together."""


def effort(
    count: int, module: str, *arguments: str, until: Callable[[], object] = lambda: None
) -> Effort:
    """Let so many processes work, and return what they took.

    Args:
        count: How many.
        module: Their program.
        arguments: Those of the program.
        until: Called when all are done; its return is the end of the work.
    """
    with ExitStack() as stack:
        crew = [stack.enter_context(_member(module, arguments)) for _ in range(count)]
        for member in crew:
            member.expect(_READY)
        start = time.perf_counter()
        for member in crew:
            member.tell("go")
        for member in crew:
            member.expect(_DONE)
        until()
        seconds = time.perf_counter() - start
        for member in crew:
            member.tell("end")
        return Effort(seconds, sum(float(member.said()) for member in crew))


class _Member:
    """A process of a crew, seen from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)

    def said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def expect(self, line: str) -> None:
        """Wait for a line.

        Raises:
            RuntimeError: It says another one, or has ended: the measurement is void.
        """
        said = self.said()
        if said != line:
            raise RuntimeError(f"a process of the benchmark said {said!r} instead of {line!r}")


@contextmanager
def _member(module: str, arguments: Sequence[str]) -> Iterator[_Member]:
    command = [sys.executable, "-m", module, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        limit = Timer(_SECONDS, process.kill)
        limit.start()
        try:
            yield _Member(process)
        except BaseException:
            process.kill()
            raise
        finally:
            limit.cancel()


class Stage:
    """The work of a member, seen from inside."""

    async def begin(self) -> None:
        """Say that this member is ready, and wait for the others."""
        await _said_and_heard(_READY)
        self._cpu_seconds = time.process_time()

    async def end(self) -> None:
        """Say that this member is done, and wait until the others are, too."""
        await _said_and_heard(_DONE)
        print(time.process_time() - self._cpu_seconds, flush=True)


async def _said_and_heard(line: str) -> None:
    print(line, flush=True)
    await anyio.to_thread.run_sync(sys.stdin.readline)
