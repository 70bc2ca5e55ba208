"""The console: writes results, hints, errors and progress."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Final, TextIO

from engine.cli.texts import Cells, column_widths, table_lines
from engine.domain.visible_text import visible
from engine.storage.protocol import ProgressCallback

_PROGRESS_SECONDS: Final = 0.1


class Console:
    """The program's two outputs.

    Attributes:
        room: The width of the terminal in columns; None if the output goes elsewhere, where nothing
            is cut.
    """

    def __init__(self) -> None:
        # Any stored text can be written: characters that the encoding lacks are escaped.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        self.room: int | None = (
            shutil.get_terminal_size().columns if _is_terminal(sys.stdout) else None
        )

    def line(self, text: str) -> None:
        """Write a line of the result; what a terminal would obey is escaped."""
        _write_line(sys.stdout, visible(text))

    def json(self, fields: object) -> None:
        """Write an object as a line of the result; in ASCII, for any encoding."""
        _write_line(sys.stdout, json.dumps(fields))

    def table(self, head: Cells, rows: Iterable[Cells], room: int | None) -> None:
        """Write a table, each line cut to the room; its cells are made printable."""
        lines = [head, *(tuple(map(visible, row)) for row in rows)]
        for text in table_lines(lines, column_widths(lines, room), room):
            self.line(text)

    def note(self, text: str) -> None:
        """Write a line beside the result: a hint or an error; escaped as in `line`."""
        self.flush()
        _write_line(sys.stderr, visible(text))

    def flush(self) -> None:
        """Write the result out.

        Raises:
            BrokenPipeError: Its reader is gone.
            OSError: It can't be written.
        """
        if sys.stdout is not None:
            sys.stdout.flush()

    @property
    def can_ask(self) -> bool:
        """Whether a person can see a question and answer it."""
        return _is_terminal(sys.stdin) and _is_terminal(sys.stderr)

    def ask(self, question: str) -> str | None:
        """Ask a question on the terminal, and return the line that answers it; None at the end.

        The question is escaped as in `line`.
        """
        self.flush()
        sys.stderr.write(visible(question))
        sys.stderr.flush()
        line = sys.stdin.readline()
        return line.removesuffix("\n") if line else None

    def discard(self) -> None:
        """Discard text that can't be written: the interpreter would write it again as it ends."""
        with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())

    @contextmanager
    def progress(self, doing: str, unit: str) -> Iterator[ProgressCallback]:
        """Give a callback that shows progress on a terminal, in a line that goes away."""
        stream = sys.stderr
        if not _is_terminal(stream):
            yield lambda _done, _of: None
            return
        doing, longest, last = visible(doing), 0, 0.0

        def show(done: int, of: int) -> None:
            nonlocal longest, last
            if time.monotonic() - last >= _PROGRESS_SECONDS:
                text = f"{doing}: {done:,} of {of:,} {unit}" if done else f"{doing} …"
                longest, last = max(longest, len(text)), time.monotonic()
                stream.write(f"\r{text:{longest}}")
                stream.flush()

        try:
            yield show
        finally:
            stream.write(f"\r{'':{longest}}\r")
            stream.flush()


def _write_line(stream: TextIO | None, text: str) -> None:
    if stream is not None:
        stream.write(f"{text}\n")


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
