"""Storages: make a round's changes outlive the process. Only the owner calls them.

To write a storage, implement `Storage`. Every type that its calls take or return is exported here.
"""

from engine.storage.answers import (
    CheckedOut,
    Committed,
    Found,
    Names,
    ReadLimit,
    StoredCount,
    StoredPage,
)
from engine.storage.audit import (
    KEPT_AUDIT_LINES,
    AuditLine,
    DamagedAuditLine,
    KeptAuditLine,
    removal_line,
)
from engine.storage.filter import JobFilter, Label
from engine.storage.memory import MemoryStorage
from engine.storage.overview import CountedKinds, EngineRow, KindCounts
from engine.storage.protocol import Opened, ProgressCallback, Storage
from engine.storage.record import (
    KEPT_ATTEMPTS,
    Act,
    AttemptRecord,
    Change,
    Damaged,
    Entry,
    Execution,
    Origin,
    Record,
)
from engine.storage.shared import DueJobs, ReadyCounts, Shared
from engine.storage.table import Table
from engine.storage.throughput import KEPT_SPAN, STEP_TRANSITIONS, MinuteCount

__all__ = [
    "KEPT_ATTEMPTS",
    "KEPT_AUDIT_LINES",
    "KEPT_SPAN",
    "STEP_TRANSITIONS",
    "Act",
    "AttemptRecord",
    "AuditLine",
    "Change",
    "CheckedOut",
    "Committed",
    "CountedKinds",
    "Damaged",
    "DamagedAuditLine",
    "DueJobs",
    "EngineRow",
    "Entry",
    "Execution",
    "Found",
    "JobFilter",
    "KeptAuditLine",
    "KindCounts",
    "Label",
    "MemoryStorage",
    "MinuteCount",
    "Names",
    "Opened",
    "Origin",
    "ProgressCallback",
    "ReadLimit",
    "ReadyCounts",
    "Record",
    "Shared",
    "Storage",
    "StoredCount",
    "StoredPage",
    "Table",
    "removal_line",
]
