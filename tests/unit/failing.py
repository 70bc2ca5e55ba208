"""A storage that fails as a test plans."""

from __future__ import annotations

from collections.abc import Sequence

from engine import MemoryStorage, StorageError
from engine.storage.audit import AuditLine
from engine.storage.record import Change


class FailingStorage(MemoryStorage):
    """Records its committed batches, and fails in the next ones as planned.

    Attributes:
        failures: The errors of the next commits.
        applied: Whether a commit of unknown outcome has been applied, as `resolve` finds out.
        lines: Those of the newest commit.
        silent: The number of times that `resolve` can't tell.
    """

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[Change]] = []
        self.failures: list[Exception] = []
        self.applied = False
        self.silent = 0
        self.lines: Sequence[AuditLine] = ()

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        self.lines = lines
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append(list(changes))
        await super().commit(changes, lines)

    async def resolve(self, changes: Sequence[Change]) -> bool:
        if self.silent:
            self.silent -= 1
            raise StorageError("it can't be asked")
        if self.applied:
            await super().commit(changes, self.lines)
        return self.applied
