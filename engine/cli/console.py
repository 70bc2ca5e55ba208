"""The console: where results, hints, errors and progress go."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Final, TextIO

from engine.storage.protocol import ProgressCallback

_PROGRESS_SECONDS: Final = 0.1


class Console:
    """The program's two outputs.

    Attributes:
        room: How many columns the terminal has; None if the output goes elsewhere, and nothing
            needs to be cut.
    """

    def __init__(self) -> None:
        # Whatever was stored can be shown: what the output's encoding lacks is escaped.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        self.room: int | None = (
            shutil.get_terminal_size().columns if _is_terminal(sys.stdout) else None
        )

    def line(self, text: str) -> None:
        """Write a line of the result."""
        if sys.stdout is not None:
            sys.stdout.write(f"{text}\n")

    def json(self, fields: object) -> None:
        """Write an object as a line of the result; in ASCII, for any encoding."""
        self.line(json.dumps(fields))

    def note(self, text: str) -> None:
        """Write a line beside the result: a hint or an error."""
        self.flush()
        if sys.stderr is not None:
            sys.stderr.write(f"{text}\n")

    def flush(self) -> None:
        """Have written all of the result.

        Raises:
            BrokenPipeError: Nobody reads it any more.
            OSError: It can't be written.
        """
        if sys.stdout is not None:
            sys.stdout.flush()

    def drop(self) -> None:
        """Let what can't be written go, or the interpreter would try again when it ends."""
        with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())

    @contextmanager
    def progress(self, doing: str, unit: str) -> Iterator[ProgressCallback]:
        """Give what is told of progress; on a terminal it is shown in a line, which goes away."""
        stream = sys.stderr
        if not _is_terminal(stream):
            yield lambda _done, _of: None
            return
        longest, last = 0, 0.0

        def tell(done: int, of: int) -> None:
            nonlocal longest, last
            if time.monotonic() - last >= _PROGRESS_SECONDS:
                text = f"{doing}: {done:,} of {of:,} {unit}" if done else f"{doing} …"
                longest, last = max(longest, len(text)), time.monotonic()
                stream.write(f"\r{text:{longest}}")
                stream.flush()

        try:
            yield tell
        finally:
            stream.write(f"\r{'':{longest}}\r")
            stream.flush()


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
