"""Lookup: find the committed jobs that the messages of a round name.

Those of a private storage are all here, or in the storage. Of a shared one others may have written
what is here. Still a batch may be decided on what an attempt of this engine has, and on what this
engine has written lately, because the commit compares what the batch writes. What the batch leaves
as it is has to be read.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
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
        await self._add(missing, named)
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

    async def _add(self, missing: _Missing, named: CheckedOut) -> None:
        """Add the jobs that have these names, however large they are."""
        while missing:
            found = await self._storage.checkout(missing.names())
            missing = _Missing(found.take_left_out())
            named.add(found)

    # What this engine has written lately.

    def note_written(self, record: Record) -> None:
        """Keep a job as this engine has written it to a shared storage, if it goes on."""
        if record.outcome is None:
            self._written.update({record.job_id: record})
            self._recent.add(record)
        else:
            self._recent.forget([record.job_id])

    def has_unread(self, named: CheckedOut, written: Container[str] = ()) -> bool:
        """Return whether a job is named as this engine has written it lately.

        Args:
            named: The jobs.
            written: The ids of those that do not count.
        """
        return self._is_shared and any(
            record.job_id not in written and self._written.find(record.job_id) is record
            for part in named.parts
            for record in part.jobs.values()
        )

    async def read_again(
        self, named: CheckedOut, written: Container[str]
    ) -> tuple[CheckedOut, Collection[str]]:
        """Return jobs that are named as the storage has them at one moment.

        Args:
            named: The jobs.
            written: The ids of those that are not read.

        Returns:
            The jobs, and the ids of those that are gone.

        Raises:
            StorageError: They can't be read.
        """
        records = (record for part in named.parts for record in part.jobs.values())
        job_ids = {each.job_id: None for each in records if each.job_id not in written}
        found = CheckedOut()
        await self._add(_Missing(Names(tuple(job_ids))), found)
        return found, job_ids.keys() - found.ids.jobs.keys()

    def replace(self, named: CheckedOut, newer: CheckedOut, gone: Collection[str]) -> None:
        """Replace jobs among those that are named by what others have written to the storage."""
        self._recent.forget([*newer.ids.jobs, *gone])
        named.replace(newer, gone)


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
