"""Use an engine in processes that `multiprocessing` forks, while the parent's keeps working.

Usage: python -m tests.reliability.programs.processes
"""

# ruff: noqa: T201 - a test reads the output

import multiprocessing

from engine import EngineForkedError, SyncJobEngine

SECONDS = 60
engine = SyncJobEngine()


def _work(number: int) -> int:
    try:
        engine.count(timeout=SECONDS)
    except EngineForkedError:
        with SyncJobEngine() as own:
            own.create(str(number), timeout=SECONDS)
            return own.count(timeout=SECONDS)
    raise AssertionError("the child called its parent's engine")


def main() -> None:
    """Let two processes do some work."""
    engine.create("parent", timeout=SECONDS)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_work, range(6)) == [1] * 6
        pool.close()
        pool.join()
    assert engine.count(timeout=SECONDS) == 1
    print("6 pieces of work")


if __name__ == "__main__":
    main()
