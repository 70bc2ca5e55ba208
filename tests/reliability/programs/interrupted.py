"""Wait for an answer, get interrupted, and continue.

Usage: python -m tests.reliability.programs.interrupted

Prints "held" when the storage holds the commit: interrupt it then.
"""

# ruff: noqa: T201 - a test reads the output

import threading

from engine import SyncJobEngine
from tests.reliability.planted import SECONDS_AGAINST_HANGS, PlantedStorage


def _announce(storage: PlantedStorage) -> None:
    if storage.begun.wait(SECONDS_AGAINST_HANGS):
        print("held", flush=True)


def main() -> None:
    """Create a job whose commit is held, and check the engine after the interrupt."""
    storage = PlantedStorage()
    engine = SyncJobEngine(storage)
    storage.hold()
    threading.Thread(target=_announce, args=[storage]).start()
    try:
        engine.create("interrupted")
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    storage.let_go()
    engine.create("after it", timeout=SECONDS_AGAINST_HANGS)
    print(engine.count(timeout=SECONDS_AGAINST_HANGS), flush=True)
    engine.close()


if __name__ == "__main__":
    main()
