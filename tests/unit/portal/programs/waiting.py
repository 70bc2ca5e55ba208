"""Wait for an event that never comes, for a second in which the process is not suspended.

Prints the times of the beginning and the end, by `time.monotonic`.
"""

# ruff: noqa: T201 - a test reads the output

import time
from queue import Empty, SimpleQueue

from engine.portal.watchdog import get_unsuspended

SECONDS = 1.0

if __name__ == "__main__":
    print(time.monotonic(), flush=True)
    try:
        get_unsuspended(SimpleQueue[None](), SECONDS)
    except Empty:
        print(time.monotonic(), flush=True)
