"""Start the programs of these tests."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import engine

SECONDS = 60
ROOTS = [str(Path(str(engine.__file__)).parents[1]), str(Path(__file__).parents[3])]


@contextmanager
def started(program: str, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    """Start a program with warnings as errors; kill it at the end, or after some time."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", f"tests.unit.portal.programs.{program}", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(ROOTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    too_late = threading.Timer(SECONDS, process.kill)
    too_late.start()
    with process:
        try:
            yield process
        finally:
            too_late.cancel()
            process.kill()
