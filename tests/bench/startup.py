"""The time and memory of starting an engine on a file with a million ended jobs.

The live jobs are spread over the whole file, like jobs that wait long for their payment. Both are
measured in fresh processes: ``python -m tests.bench.startup FILE`` starts an engine on the file,
lists a job, and prints the seconds and the process's peak memory in bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import anyio

from engine import JobEngine
from tests.bench.durable import new_folder
from tests.bench.ended_file import fill
from tests.bench.measure import Best, repeated
from tests.bench.rows import Row


def rows(finished: int, live: int, turns: int) -> list[Row]:
    """Fill a file once; start an engine on it, and one on an empty file, in turns."""
    best = Best()
    with new_folder() as folder:
        full, empty = folder / "full.db", folder / "empty.db"
        for path in (full, empty):
            anyio.run(_start, path)  # makes the file
        fill(full, finished, live)
        for _ in repeated("starts", turns, lambda: _table(best, finished, live)):
            for name, path in (("full", full), ("cold", full), ("empty", empty)):
                if name == "cold":
                    _let_go(full)
                seconds, size = _in_process(path)
                best.add(f"{name} seconds", 1, seconds)
                best.add(f"{name} bytes", 1, size)
    return _table(best, finished, live)


def _table(best: Best, finished: int, live: int) -> list[Row]:
    more = best["full bytes"].derived(
        lambda full, empty: (1 / full - 1 / empty) / 1e6, best["empty bytes"]
    )
    work = f"with {finished:,} finished and {live:,} live jobs"
    warm, cold = (
        best[f"{name} seconds"].derived(lambda rate: 1 / rate) for name in ("full", "cold")
    )
    return [
        Row(f"start {work}", warm, "limit", 2, 1.0, "s", at_most=True),
        Row("the same, read from the disk", cold, "limit", 2, 1.0, "s", at_most=True),
        Row(f"memory {work}", more, "limit", 60, 1.0, "MB", at_most=True),
    ]


def _let_go(path: Path) -> None:
    """Ask the operating system to drop its cache of a file, as after a reboot."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _in_process(path: Path) -> tuple[float, int]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.startup", path],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, size = json.loads(done.stdout)
    return seconds, size


async def _start(path: Path) -> float:
    """Return the seconds until a call is answered."""
    start = time.perf_counter()
    async with JobEngine(path) as engine:
        await engine.list_jobs(limit=1)
        return time.perf_counter() - start


def _most_bytes() -> int:
    """Return the peak memory of this process, as Linux reports it (proc(5), status)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024


if __name__ == "__main__":
    print(json.dumps([anyio.run(_start, Path(sys.argv[1])), _most_bytes()]))
