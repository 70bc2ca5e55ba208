"""The exit codes."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """An exit code. 130 and 141 are those that shells give for the signals."""

    OK = 0
    DAMAGED = 1
    USAGE = 2
    UNREADABLE = 3
    NOT_FOUND = 4
    INTERRUPTED = 130
    PIPE_CLOSED = 141


MEANINGS: Final = {
    Exit.OK: "all is well",
    Exit.DAMAGED: "something is damaged",
    Exit.USAGE: "wrong usage",
    Exit.UNREADABLE: "it can't be read, or the copy or the output can't be written",
    Exit.NOT_FOUND: "there is no such job, or no such rule",
    Exit.INTERRUPTED: "stopped by Ctrl-C",
    Exit.PIPE_CLOSED: "the reader of the output closed it",
}
