"""The storage in one SQLite file, and readers of such a file without an engine. Public: nothing."""

from engine.storage.sqlite.storage import SQLiteStorage

__all__ = ["SQLiteStorage"]
