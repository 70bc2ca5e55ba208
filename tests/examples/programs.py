"""Run an example as a program: in a pipe, or on a pseudo terminal."""

import errno
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
COUNT_WORDS = [sys.executable, "-W", "error", str(EXAMPLES / "count_words.py")]
INTERRUPTED = "interrupted: run the same command again to go on\n"
TIMEOUT_SECONDS = 60

Run = subprocess.CompletedProcess[str]


def run(command: list[str], cwd: Path) -> Run:
    return subprocess.run(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def count(cwd: Path, *arguments: str) -> Run:
    return run([*COUNT_WORDS, *arguments], cwd)


def table(output: str) -> list[list[str]]:
    """Return the rows of the table at the end, without its head and its last line."""
    lines = output.splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("file "))
    return [line.split() for line in lines[head + 1 : -1]]


class Terminal:
    """A program on a pseudo terminal of 80 columns; it is killed at the end of ``with``.

    Its errors go elsewhere, unless it ``asks`` there.
    """

    def __init__(self, command: list[str], cwd: Path, *, asks: bool = False) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs if asks else subprocess.PIPE,
        )
        os.close(theirs)
        self.output = ""
        self._limit = threading.Timer(TIMEOUT_SECONDS, self.process.kill)
        self._limit.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._limit.cancel()
        self.process.kill()
        self.process.communicate()
        os.close(self._ours)

    def read_until(self, text: str) -> None:
        """Read until this text has been printed; fail if the program ends before."""
        for piece in self._pieces():
            self.output += piece
            if text in self.output:
                return
        pytest.fail(f"the program ended without {text!r}: {self.output!r}")

    def type(self, text: str) -> None:
        """Type a text, as a person does who has read all so far."""
        self.output = ""
        os.write(self._ours, text.encode())

    def finish(self) -> tuple[int, str]:
        """Read the rest; return the exit code and what went elsewhere."""
        self.output += "".join(self._pieces())
        stderr = self.process.stderr
        errors = "" if stderr is None else stderr.read().decode()
        return self.process.wait(), errors

    def _pieces(self) -> Iterator[str]:
        while True:
            try:
                piece = os.read(self._ours, 65_536)
            except OSError as error:
                if error.errno == errno.EIO:  # Linux's sign that the program has ended
                    return
                raise
            if not piece:
                return
            yield piece.decode(errors="replace")
