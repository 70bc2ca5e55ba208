"""Leave engines unclosed in some way, and exit.

Usage: python -m tests.reliability.programs.unclosed HOW
"""

# ruff: noqa: T201 - a test reads the output

import atexit
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from shutil import rmtree
from socket import AF_UNIX, socket
from tempfile import mkdtemp

from engine import EngineClosedError, SyncJobEngine, Worker
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


def file() -> None:
    """Leave one on a file, with a client at its control socket."""
    folder = mkdtemp()
    atexit.register(rmtree, folder)
    engine = SyncJobEngine(Path(folder) / "jobs.db")
    engine.create("hash")
    with socket(AF_UNIX) as client:
        client.connect(f"{folder}/jobs.db-control")
        assert client.recv(1)
    kept.append(engine)


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


class Finalizer:
    """Calls an engine when it is deleted."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call

    def __del__(self) -> None:
        try:
            self._call()
        except EngineClosedError as error:
            print(f"refused: {str(error)[:21]}")


def finalizer_calls() -> None:
    """Leave an object that calls an engine when the interpreter deletes it."""
    engine = SyncJobEngine()
    kept.append(Finalizer(lambda: engine.create("hash")))


def finalizer_closes() -> None:
    """Leave one that closes an engine then."""
    engine = SyncJobEngine()
    kept.append(Finalizer(engine.close))


def finalizer_backs_up() -> None:
    """Leave one that makes a call of another kind then."""
    engine = SyncJobEngine()
    kept.append(Finalizer(lambda: engine.backup("copy.db")))


def finalizer_opens() -> None:
    """Leave one that makes an engine then, the first of the process."""
    kept.append(Finalizer(SyncJobEngine))


def finalizer_leaves_worker() -> None:
    """Leave one that leaves a worker then."""
    worker = Worker(SyncJobEngine(), print).__enter__()
    kept.append(Finalizer(lambda: worker.__exit__(None, None, None)))


def late_stack() -> None:
    """Leave a stack of contexts that is left when the interpreter deletes it."""
    stack = ExitStack()
    stack.enter_context(SyncJobEngine())
    kept.append(Finalizer(stack.close))


def generator() -> None:
    """Leave an abandoned generator inside of an engine's context."""

    def jobs() -> Iterator[object]:
        with SyncJobEngine() as engine:
            yield engine.create("hash")

    abandoned = jobs()
    next(abandoned)
    kept.append(abandoned)


kept: list[object] = []

if __name__ == "__main__":
    globals()[sys.argv[1]]()
    print("the end")
