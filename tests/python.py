"""A Python of its own, for a short program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run_python(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, and return what it wrote."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
