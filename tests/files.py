"""Copy an engine's file as a killed process would leave it."""

import shutil
from pathlib import Path


def as_killed(path: Path, folder: Path) -> Path:
    """Copy an engine's file, with its log, into another folder; return the path of the copy.

    The copy has everything that the process has written, synced or not; nothing is tidied up. There
    may be no copy, if the process has not made its file yet.
    """
    folder.mkdir(exist_ok=True)
    for name in (path.name, f"{path.name}-wal"):
        if path.with_name(name).exists():
            shutil.copy(path.with_name(name), folder)
    return folder / path.name
