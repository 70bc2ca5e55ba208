"""The place of the tests' files: in memory, where the system has a file system for that.

A test over a file waits for a sync at each commit, some milliseconds on a disk, and sees nothing
more: power is cut only from the file systems in Python, and killed processes leave the same bytes.
A commit in memory is short, so an engine that makes many makes them on its event loop; on a disk it
makes them in a thread. `.ci/run` does both. ``TMPDIR=/var/tmp`` takes a disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

_IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - of Linux; files get folders of their own
_FREE_BYTES: Final = 2_000_000_000
"""The tests' servers and files take less; containers often have 64 MB there."""


def keep_in_memory() -> None:
    """Let this process and its children make temporary files in memory, unless ``TMPDIR`` is set.

    Does nothing where that place is missing, not writable, or has less than 2 GB left.
    """
    if "TMPDIR" in os.environ or not os.access(_IN_MEMORY, os.W_OK):
        return
    if shutil.disk_usage(_IN_MEMORY).free >= _FREE_BYTES:
        # Python has asked for the folder already, for the output that pytest captures.
        os.environ["TMPDIR"] = tempfile.tempdir = str(_IN_MEMORY)
