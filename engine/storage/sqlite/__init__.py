"""The storage in one SQLite file, and what reads such a file without an engine."""

from engine.storage.sqlite.storage import SQLiteStorage

__all__ = ["SQLiteStorage"]
