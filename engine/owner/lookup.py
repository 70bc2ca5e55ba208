"""Lookup: find the committed jobs that the messages of a round name.

They are in the owner's table, or in the storage. The table of a shared storage has the jobs of this
engine's attempts alone, and beside it are those that this engine has written lately. Others may
have written all these since. Still a batch may be decided on them, because the commit compares what
the batch writes. What the batch leaves as it is has to be read.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, Final

from engine.domain.exceptions import EngineError, JobDamagedError, JobNotFoundError
from engine.owner.message import Message
from engine.owner.recent_jobs import RecentJobs
from engine.storage.answers import CheckedOut, Names
from engine.storage.protocol import Storage
from engine.storage.record import Record
from engine.storage.table import Table

_FEW_NAMES: Final = 16  # messages that name no more share a checkout
_NOTHING: Final = Table()


class Lookup:
    """Finds jobs in the owner's table and in the storage.

    Args:
        storage: Has the jobs that are not here.
        table: The owner's: all live jobs, or of a shared storage those of this engine's attempts.
        is_shared: Whether the storage is shared.
    """

    def __init__(self, storage: Storage, table: Table, *, is_shared: bool = False) -> None:
        self._storage = storage
        self._table = table
        self._is_shared = is_shared
        self._written = Table()  # lately, by this engine, to a shared storage
        self._recent = RecentJobs(self._written)

    async def named_by(self, messages: Sequence[Message[Any]]) -> CheckedOut:
        """Return the committed jobs that messages name; those not known here are checked out.

        A message that names many gets no more than one read gives; the rest is left out, if no
        other message needs it.

        Raises:
            StorageError: They can't be read.
        """
        named = CheckedOut()
        missing = _Missing()  # of messages that name few
        sought = _Missing()
        for message in messages:
            names = len(message.job_ids) + len(message.keys) + len(message.payments)
            if names <= _FEW_NAMES:
                self._find(message, named, missing)
                continue
            own = _Missing()
            self._find(message, named, own)
            if len(own) <= _FEW_NAMES:
                missing.add(own)
                continue
            found = await self._storage.checkout(own.names())
            named.add(found)
            own.remove(found.take_left_out())
            sought.add(own)
        named_left = zip(named.parts, sought.parts, missing.parts, strict=True)
        for part, its_sought, its_missing in named_left:
            if part.left_out:
                part.left_out.difference_update(its_sought, its_missing)
        while missing:
            found = await self._storage.checkout(missing.names())
            missing = _Missing(found.take_left_out())
            named.add(found)
        return named

    def _find(self, message: Message[Any], named: CheckedOut, missing: _Missing) -> None:
        """Add the jobs that are here to those named, and the other names to the missing ones."""
        table = self._table_for(message)
        for job_id in message.job_ids:
            if (record := table.find(job_id)) is None:
                missing.ids[job_id] = None
            else:
                named.ids.jobs[job_id] = record
        for key in message.keys:
            if (record := table.find_by_key(key)) is None:
                missing.keys[key] = None
            else:
                named.keys.jobs[key] = record
        for payment in message.payments:
            if (record := table.find_by_payment(payment)) is None:
                missing.payments[payment] = None
            else:
                named.payments.jobs[payment] = record

    def _table_for(self, message: Message[Any]) -> Table:
        if not self._is_shared or message.by_attempt:
            return self._table
        return self._written if message.writes else _NOTHING

    # What this engine has written lately.

    def note_written(self, record: Record) -> None:
        """Keep a job as this engine has written it to a shared storage, if it goes on."""
        if record.outcome is None:
            self._written.update({record.job_id: record})
            self._recent.add(record)
        else:
            self._recent.forget([record.job_id])

    def forget(self, job_ids: Iterable[str]) -> None:
        """Drop jobs that others have written since, or may have."""
        self._recent.forget(job_ids)

    def forget_unread(self, named: CheckedOut, written: Container[str]) -> bool:
        """Drop jobs that are named as this engine has written them lately; return whether some are.

        Args:
            named: The jobs.
            written: The ids of those that the batch compares, which stay.
        """
        unread = [
            record.job_id
            for part in named.parts
            for record in part.jobs.values()
            if record.job_id not in written and self._written.find(record.job_id) is record
        ]
        self.forget(unread)
        return bool(unread)


class _Missing:
    """Names of jobs that are not here: each once, in their order."""

    __slots__ = ("ids", "keys", "parts", "payments")

    def __init__(self, names: Names = Names()) -> None:  # noqa: B008 - a tuple
        self.parts = tuple(map(dict[str, None].fromkeys, names))
        self.ids, self.keys, self.payments = self.parts

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def add(self, other: _Missing) -> None:
        for part, its in zip(self.parts, other.parts, strict=True):
            part.update(its)

    def remove(self, names: Names) -> None:
        for part, its in zip(self.parts, names, strict=True):
            for name in its:
                del part[name]

    def names(self) -> Names:
        return Names(*map(tuple, self.parts))


def why_missing(job_id: str, named: CheckedOut) -> EngineError:
    """Return the error for a job that is not among those that were found."""
    if (damaged := named.ids.damaged.get(job_id)) is not None:
        return JobDamagedError(job_id, damaged.problem)
    return JobNotFoundError(job_id)
