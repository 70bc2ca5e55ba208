"""Handlers that run in processes, and do there what makes trouble."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What looks like messages to the engine: as its channel would carry them, and as pickle would.
FORGED = b"\x00\x00\x00\x05\x81\xa4type\x80\x04\x95\x1a\x00\x00\x00cposix\nsystem\n"


def _prints() -> None:
    print(FORGED.decode("latin-1"))  # noqa: T201 - the noise
    print("an error", file=sys.stderr)  # noqa: T201


def _writes() -> None:
    os.write(1, FORGED)
    os.write(2, FORGED)


def _puts() -> None:
    library = ctypes.CDLL(None)
    library.puts(b"from C")
    library.fflush(None)


def _echoes() -> None:
    subprocess.run(["echo", "from a program"], check=True)  # noqa: S607
    subprocess.run("echo from a program >&2", shell=True, check=True)  # noqa: S602, S607


def _floods() -> None:
    for _ in range(30):
        os.write(1, b"o" * 100_000 + b"\n")
        os.write(2, b"e" * 100_000 + b"\n")


def _reads() -> None:
    assert sys.stdin.read() == ""
    assert os.read(0, 10) == b""


def _leaves_a_program() -> None:
    ready, said = os.pipe()
    os.set_inheritable(said, True)  # noqa: FBT003 - the function takes no name
    command = f"echo from afar; echo >&{said}; sleep 1000"
    subprocess.Popen(["sh", "-c", command], close_fds=False)  # noqa: S607
    os.close(said)
    os.read(ready, 1)  # from now on the program may be ended with the process
    os.close(ready)


NOISE: dict[str, Callable[[], None]] = {
    "prints": _prints,
    "writes": _writes,
    "puts": _puts,
    "echoes": _echoes,
    "floods": _floods,
    "reads": _reads,
    "leaves a program": _leaves_a_program,
}


def noisy(job: Any) -> str:  # noqa: ANN401
    """Make noise of a kind, and return the job's own id."""
    NOISE[job.input]()
    return str(job.job_id)


def returns(job: Any) -> Any:  # noqa: ANN401
    """Return the job's input."""
    return job.input


def works(job: Any) -> str:  # noqa: ANN401
    """Start a program, append both process ids to the file of the job's input, and sleep."""
    program = subprocess.Popen(["sleep", "1000"])  # noqa: S607
    with Path(job.input).open("a") as file:
        print(os.getpid(), program.pid, file=file, flush=True)
    time.sleep(1000)
    return "awake"


def holds(job: Any) -> str:  # noqa: ANN401
    """Write the process id, wait for a line, and return it."""
    Path(f"{job.input}.id").write_text(f"{os.getpid()}\n")
    return Path(job.input).read_text()  # a named pipe
