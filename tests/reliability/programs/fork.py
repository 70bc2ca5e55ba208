"""Fork repeatedly while threads call an engine; each child checks its engines.

Usage: python -m tests.reliability.programs.fork TIMES END

END is the end of a child: "exit" runs the interpreter's exit, "_exit" leaves at once. Prints one
line on success.
"""

# ruff: noqa: T201 - a test reads the output

import gc
import os
import sys
import threading

from engine import EngineForkedError, JobStatus, SyncJobEngine

SECONDS = 60
THREADS = 3


def _child(engine: SyncJobEngine) -> None:
    """Check that the old engine raises its error, also when closed, and that a new one works."""
    try:
        engine.create("child", timeout=SECONDS)
    except EngineForkedError:
        pass
    else:
        raise AssertionError("the child called its parent's engine")
    engine.close()
    with SyncJobEngine() as own:
        job = own.create("child", timeout=SECONDS)
        own.transition(job.job_id, JobStatus.RUNNING, timeout=SECONDS)
        assert own.count(timeout=SECONDS) == 1
    SyncJobEngine().create("never closed", timeout=SECONDS)
    del engine
    gc.collect()


def main(times: int, end: str) -> None:
    """Fork while the parent's engine works."""
    engine = SyncJobEngine()
    leave = threading.Event()
    created: list[int] = []

    def call() -> None:
        number = 0
        while not leave.is_set():
            engine.create("parent", timeout=SECONDS)
            number += 1
        created.append(number)

    threads = [threading.Thread(target=call) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for _ in range(times):
        before = engine.count(timeout=SECONDS)
        if (child := os.fork()) == 0:
            leave.set()
            _child(engine)
            if end == "_exit":
                os._exit(0)
            return
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        job = engine.create("parent", timeout=SECONDS)
        created.append(1)
        assert engine.get(job.job_id, timeout=SECONDS) == job
        assert engine.count(timeout=SECONDS) > before
    leave.set()
    for thread in threads:
        thread.join(SECONDS)
    assert engine.count(timeout=SECONDS) == sum(created)
    engine.close()
    print(f"{times} forks")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
