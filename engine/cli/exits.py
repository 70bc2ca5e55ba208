"""The exit codes."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """An exit code. 130 and 141 are those that shells give for the signals; 124 is timeout(1)'s."""

    OK = 0
    DAMAGED = 1
    USAGE = 2
    UNREADABLE = 3
    NOT_FOUND = 4
    REFUSED = 5
    JOB_FAILED = 10
    JOB_CANCELLED = 11
    JOB_EXPIRED = 12
    JOB_DIED = 13
    TIME_IS_UP = 124
    INTERRUPTED = 130
    PIPE_CLOSED = 141


MEANINGS: Final = {
    Exit.OK: "all is well",
    Exit.DAMAGED: "something is damaged",
    Exit.USAGE: "wrong usage, or the beginning of several ids",
    Exit.UNREADABLE: "it can't be read or written, or the copy or the output can't be written",
    Exit.NOT_FOUND: "there is no such job, rule, engine or cursor",
    Exit.REFUSED: "an act: some jobs refused it, or you did at its question",
    Exit.JOB_FAILED: "`wait`: the job has failed",
    Exit.JOB_CANCELLED: "`wait`: it was cancelled",
    Exit.JOB_EXPIRED: "`wait`: its deadline has passed",
    Exit.JOB_DIED: "`wait`: its handler's process has died",
    Exit.TIME_IS_UP: "`wait`: it has not ended within the timeout",
    Exit.INTERRUPTED: "stopped by Ctrl-C",
    Exit.PIPE_CLOSED: "the reader of the output closed it",
}
