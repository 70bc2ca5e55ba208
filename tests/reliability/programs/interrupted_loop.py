"""Let a storage or a clock raise exceptions on the serving thread, and check other engines.

Usage: python -m tests.reliability.programs.interrupted_loop WHERE

WHERE is "commit", "count", "aclose" (of a storage), "clock" or "start" (the clock, at the start).
Prints the name of each exception that was raised and did no harm to others.
"""

# ruff: noqa: T201 - a test reads the output

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from engine import CommitCrashedError, EngineCrashedError, SyncJobEngine
from tests.reliability.planted import PlantedError, PlantedStorage

KINDS = [PlantedError, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError]
SECONDS = 60


def raised(work: Callable[[], object]) -> BaseException | None:
    """Do the work in a thread that may hang, and return its exception."""
    outcome: list[BaseException | None] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            outcome.append(error)
        else:
            outcome.append(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert outcome, "it hangs"
    return outcome[0]


def check_crash(error: BaseException | None, cause: BaseException) -> None:
    """Check that the error reports the crash and its cause."""
    assert isinstance(error, EngineCrashedError), repr(error)
    assert error.__cause__ is cause, repr(error.__cause__)


def in_storage(method: str, cause: BaseException) -> None:
    """Let a storage raise it from a call that answers a caller."""
    storage = PlantedStorage()
    engine = SyncJobEngine(storage)
    storage.plant(cause, method)
    call = engine.count if method == "count" else lambda: engine.create("hash")
    error = raised(call)
    check_crash(error, cause)
    assert isinstance(error, CommitCrashedError) is (method == "commit")
    check_crash(raised(engine.count), cause)
    check_crash(raised(engine.close), cause)
    assert storage.closed == 1


def in_aclose(cause: BaseException) -> None:
    """Let a storage raise it while it is closed."""
    storage = PlantedStorage()
    engine = SyncJobEngine(storage)
    engine.create("hash", timeout=SECONDS)
    storage.plant(cause, "aclose")
    error = raised(engine.close)
    assert error is cause or (error is not None and error.__cause__ is cause), repr(error)


def in_clock(cause: BaseException, *, at_start: bool) -> None:
    """Let a clock raise it, at the start of the engine or later."""
    causes = [cause] if at_start else []

    def clock() -> datetime:
        if causes:
            raise causes[0]
        return datetime.now(UTC)

    if at_start:
        error = raised(lambda: SyncJobEngine(clock=clock))
        assert error is cause or (error is not None and error.__cause__ is cause), repr(error)
        return
    engine = SyncJobEngine(clock=clock)
    causes.append(cause)
    check_crash(raised(lambda: engine.create("hash")), cause)
    check_crash(raised(engine.close), cause)


def main(where: str) -> None:
    """Raise each exception in turn, while another engine keeps working."""
    logging.disable(logging.CRITICAL)
    other = SyncJobEngine()
    for number, kind in enumerate(KINDS, start=1):
        cause = kind("planted")
        if where == "aclose":
            in_aclose(cause)
        elif where in {"clock", "start"}:
            in_clock(cause, at_start=where == "start")
        else:
            in_storage(where, cause)
        other.create("hash", timeout=SECONDS)
        assert other.count(timeout=SECONDS) == number
        assert raised(lambda: SyncJobEngine().create("hash")) is None
        print(kind.__name__)
    other.close()


if __name__ == "__main__":
    main(sys.argv[1])
