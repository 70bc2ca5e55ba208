"""Wait for an event that never comes, for a second in which the process is not suspended."""

# ruff: noqa: T201 - a test reads the output

from queue import Empty, SimpleQueue

from engine.portal.watchdog import get_unsuspended

SECONDS = 1.0

if __name__ == "__main__":
    print("waiting", flush=True)
    try:
        get_unsuspended(SimpleQueue[None](), SECONDS)
    except Empty:
        print("nothing came", flush=True)
