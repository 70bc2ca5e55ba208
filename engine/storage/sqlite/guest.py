"""The file of a guest: of an engine that acts for an operator, and changes nothing else."""

from __future__ import annotations

from pathlib import Path

from engine.storage.sqlite import file
from engine.storage.sqlite.database import Database
from engine.storage.sqlite.storage import SQLiteStorage


class GuestFile(SQLiteStorage):
    """Keeps jobs in a file that is there; its opening makes and changes nothing in it.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._database = Database(self.path, self.connect, fits=False)

    def _prepare(self) -> None:
        """Check that the file is there, and of this version.

        Raises:
            StorageError: It isn't, or can't be read.
        """
        file.check_version(self.path)
        file.check_writable(self.path)
