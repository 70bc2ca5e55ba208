"""Storages: what makes a batch of changes outlive the process. Only the owner calls them."""

from engine.storage.memory import MemoryStorage
from engine.storage.protocol import CheckedOut, Opened, Storage

__all__ = ["CheckedOut", "MemoryStorage", "Opened", "Storage"]
