"""Skip tests on systems that lack a feature, with the reason."""

import os
import sys
from pathlib import Path

import pytest

NO_PERMISSIONS = sys.platform == "win32"

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
needs_named_pipes = pytest.mark.skipif(
    not hasattr(os, "mkfifo"), reason="this system has no named pipes in folders"
)
needs_interrupts = pytest.mark.skipif(
    sys.platform == "win32", reason="this system can't interrupt one process alone"
)
needs_full_device = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="this system has no device that is full"
)
needs_superuser = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the superuser can become others"
)
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="this system has no /proc to read"
)


def skip_without_permissions() -> None:
    """Skip the test on systems whose files have no permission bits."""
    if NO_PERMISSIONS:
        pytest.skip("this system's files have no modes")
