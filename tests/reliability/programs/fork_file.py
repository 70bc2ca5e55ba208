"""Fork repeatedly while threads write to a file; each child checks its engines.

Usage: python -m tests.reliability.programs.fork_file FOLDER TIMES END

END is the end of a child: "exit" runs the interpreter's exit, "_exit" leaves at once. Prints one
line on success.
"""

# ruff: noqa: T201 - a test reads the output

import gc
import os
import sys
import threading
from pathlib import Path

from engine import EngineForkedError, JobStatus, StorageInUseError, SyncJobEngine

SECONDS = 60
THREADS = 3


def _child(engine: SyncJobEngine, folder: Path) -> None:
    """Check that the old engine raises its error, its file is in use, and another file works."""
    try:
        engine.create("child", timeout=SECONDS)
    except EngineForkedError:
        pass
    else:
        raise AssertionError("the child called its parent's engine")
    engine.close()
    try:
        SyncJobEngine(folder / "parent.db")
    except StorageInUseError:
        pass
    else:
        raise AssertionError("the child opened its parent's file")
    with SyncJobEngine(folder / "child.db") as own:
        job = own.create("child", timeout=SECONDS)
        own.transition(job.job_id, JobStatus.RUNNING, timeout=SECONDS)
    del engine
    gc.collect()


def main(folder: Path, times: int, end: str) -> None:
    """Fork while the parent's engine works."""
    engine = SyncJobEngine(folder / "parent.db")
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
        if (child := os.fork()) == 0:
            _child(engine, folder)
            if end == "_exit":
                os._exit(0)
            return
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        job = engine.create("parent", timeout=SECONDS)
        created.append(1)
        assert engine.get(job.job_id, timeout=SECONDS) == job
    leave.set()
    for thread in threads:
        thread.join(SECONDS)
    assert engine.count(timeout=SECONDS) == sum(created)
    engine.close()
    with SyncJobEngine(folder / "parent.db") as again:
        assert again.count(timeout=SECONDS) == sum(created)
    with SyncJobEngine(folder / "child.db") as of_children:
        assert of_children.count(JobStatus.RUNNING, timeout=SECONDS) == times
    print(f"{times} forks")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
