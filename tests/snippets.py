"""Run programs that import the engine, each in a fork of a process that has imported it already.

Usage: python -W error -m tests.snippets

It reads the path of a program from the standard input, runs it in its folder as `python` would run
it there, without an input, and prints its exit code. The program's output goes to the files
``output`` and ``errors`` of the folder. Then it reads the next path.
"""

import os
import runpy
import signal
import sys
from pathlib import Path

import engine  # noqa: F401 - this is what takes long

SECONDS = 60


def main() -> None:
    """Run programs until there are no more."""
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        if (child := os.fork()) == 0:
            become(path)
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - the answer


def become(path: Path) -> None:
    """Run a program in this process, which ends with it."""
    signal.alarm(SECONDS)
    os.chdir(path.parent)
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, "errors", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        file = os.open(name, flags, 0o600)
        os.dup2(file, number)
        os.close(file)
    sys.argv = [path.name]
    sys.path[0] = str(path.parent)
    runpy.run_path(path.name, run_name="__main__")


if __name__ == "__main__":
    main()
