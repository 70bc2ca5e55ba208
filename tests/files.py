"""Files as tests find them: an engine's file as it is when its process is killed."""

import shutil
from pathlib import Path


def as_killed(path: Path, folder: Path) -> Path:
    """Copy an engine's file, with its log, into another folder; return the path of the copy.

    What the process has written is there, whether or not it is synced; nothing is tidied up. The
    copy need not be there: the process may not have made its file yet.
    """
    folder.mkdir(exist_ok=True)
    for name in (path.name, f"{path.name}-wal"):
        if path.with_name(name).exists():
            shutil.copy(path.with_name(name), folder)
    return folder / path.name
