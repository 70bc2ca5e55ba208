"""Hold a file until killed.

Usage: python -m tests.reliability.programs.holder PATH [CHILDREN]

Opens the file, creates a job, forks the children, and prints its process id. Each child prints a
line, does not use the engine, and exits normally when the standard input ends.
"""

import os
import signal
import sys

from engine import SyncJobEngine


def main(path: str, children: int) -> None:
    """Hold the file; a child returns when its input ends."""
    engine = SyncJobEngine(path)
    engine.create("held")
    for _ in range(children):
        if os.fork() == 0:
            os.write(1, b"forked\n")
            sys.stdin.read()
            return
    os.write(1, f"{os.getpid()}\n".encode())
    signal.pause()
    engine.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
