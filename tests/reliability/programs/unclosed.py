"""Leave engines unclosed in some way, and exit.

Usage: python -m tests.reliability.programs.unclosed HOW
"""

# ruff: noqa: T201 - a test reads the output

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from engine import SyncJobEngine
from engine.repository.job_repo import InMemoryJobRepository
from tests.reliability.planted import PlantedStorage


def used() -> None:
    """Leave one used engine."""
    engine = SyncJobEngine()
    kept.append(engine)
    engine.create("hash")


def unused() -> None:
    """Leave one unused engine."""
    kept.append(SyncJobEngine())


def repositories() -> None:
    """Leave some repositories, and some garbage ones."""
    kept.extend(InMemoryJobRepository() for _ in range(10))
    for _ in range(10):
        InMemoryJobRepository().create("hash")


def threads() -> None:
    """Leave one that many threads have used."""
    engine = SyncJobEngine()
    kept.append(engine)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(engine.create, ["hash"] * 100))


def cycle() -> None:
    """Leave one in a cycle of garbage."""
    garbage: list[object] = [SyncJobEngine()]
    garbage.append(garbage)


def waiting() -> None:
    """Leave a daemon thread that waits for an answer that never comes."""
    storage = PlantedStorage()
    engine = SyncJobEngine(storage)
    kept.append(engine)
    storage.hold_for_ever()
    threading.Thread(target=engine.create, args=["hash"], daemon=True).start()
    storage.begun.wait()


def error() -> None:
    """Leave one by the exit of a program that fails."""
    kept.append(SyncJobEngine())
    sys.exit(3)


kept: list[object] = []

if __name__ == "__main__":
    globals()[sys.argv[1]]()
    print("the end")
