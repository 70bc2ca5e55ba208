"""A folder where permissions count, whoever runs the test."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.systems import skip_without_permissions

NOBODY = 65_534


@contextmanager
def without_privileges() -> Iterator[Path]:
    """Yield a folder in which permissions hold, even for the superuser."""
    skip_without_permissions()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if os.geteuid() != 0:
            yield folder
            return
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(0)
