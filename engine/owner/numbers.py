"""Numbers: those that a shared storage gives to the changes of a batch.

An engine that shares its storage can't know the next number. It numbers a batch from `PROVISIONAL`
on, which no real number reaches; the commit says what to add.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from engine.storage.answers import Committed
from engine.storage.record import MAX_NUMBER, Change, Record

PROVISIONAL: Final = MAX_NUMBER


class Renumbered:
    """The changes of a batch with the numbers that the storage gave them.

    Args:
        changes: The changes as they were decided.
        committed: The answer of the storage.

    Attributes:
        changes: The changes as they are stored.
    """

    def __init__(self, changes: Sequence[Change], committed: Committed) -> None:
        self._committed = committed
        # By identity: the changes keep these records as long as this object lives.
        self._decided = changes
        self._stored = {id(change.record): self._record(change.record) for change in changes}
        shift = committed.sequence_shift
        self.changes = [
            replace(
                change,
                sequence=None if change.sequence is None else change.sequence + shift,
                record=self.of(change.record),
            )
            for change in changes
        ]

    def of(self, record: Record) -> Record:
        """Return the stored form of a record that a decision returned."""
        return self._stored.get(id(record), record)

    def all_of(self, records: Sequence[Record]) -> Sequence[Record]:
        """Return the stored forms of records."""
        return [self.of(record) for record in records]

    def _record(self, record: Record) -> Record:
        sequence, position = record.sequence, record.position
        if sequence > PROVISIONAL:
            sequence += self._committed.sequence_shift
        if position > PROVISIONAL:
            position += self._committed.position_shift
        revision = record.revision + 1
        return replace(record, sequence=sequence, position=position, revision=revision)
