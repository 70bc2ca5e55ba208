"""Storages: what makes a batch of changes outlive the process. Only the owner calls them.

Somebody who writes a storage needs `Storage`, the protocol, and what its calls take and give.
"""

from engine.storage.memory import MemoryStorage
from engine.storage.protocol import CheckedOut, Opened, ProgressCallback, Storage
from engine.storage.record import (
    Change,
    Damaged,
    Entry,
    Record,
)
from engine.storage.table import Table

__all__ = [
    "Change",
    "CheckedOut",
    "Damaged",
    "Entry",
    "MemoryStorage",
    "Opened",
    "ProgressCallback",
    "Record",
    "Storage",
    "Table",
]
