"""Wait for something that never comes, for a second in which this program could do something."""

# ruff: noqa: T201 - a test looks at what is printed

from queue import Empty, SimpleQueue

from engine.portal.awake import get_awake

SECONDS = 1.0

if __name__ == "__main__":
    print("waiting", flush=True)
    try:
        get_awake(SimpleQueue[None](), SECONDS)
    except Empty:
        print("nothing came", flush=True)
