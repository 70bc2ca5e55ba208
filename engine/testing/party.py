"""The party: one of the engines on a shared storage, as far as the storage sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import anyio
from msgspec.structs import replace

from engine.domain.follow_up_rules import StoredRules
from engine.owner.numbers import PROVISIONAL
from engine.storage.answers import CheckedOut, Committed, Names
from engine.storage.audit import AuditLine
from engine.storage.filter import ALL_JOBS
from engine.storage.protocol import Storage
from engine.storage.record import NO_EXECUTION, Change, Entry, Execution, Origin, Record
from engine.storage.shared import Shared
from engine.testing.values import NOON, RUNNING, STATUS_OUTCOMES, OddStatus

_MANY: Final = 10_000


def created(
    job_id: str,
    status: OddStatus = OddStatus.RUNNING,
    *,
    key: str | None = None,
    payment: str | None = None,
    kind: str = "default",
    execution: Execution = NO_EXECUTION,
    origin: Origin | None = None,
) -> Change:
    """Return the creation of a job. Its numbers are those of the commit."""
    return Change(
        0,
        None,
        Record(
            *(job_id, status.value, "hash", payment, NOON, NOON, 0),
            idempotency_key=key,
            kind=kind,
            execution=execution,
            outcome=STATUS_OUTCOMES[status.value],
            started_at=NOON if status is OddStatus.RUNNING else None,
            origin=origin,
        ),
    )


def moved(
    record: Record, status: OddStatus, at: datetime = NOON, execution: Execution = NO_EXECUTION
) -> Change:
    """Return a move of a job that was read before."""
    outcome = STATUS_OUTCOMES.get(status.value)
    after = record.moved(status.value, at, 0, outcome=outcome, execution=execution)
    return Change(0, record.status, after)


def amended(record: Record, **fields: Any) -> Change:  # noqa: ANN401 - of `Execution`
    """Return a change of a job's execution, or of nothing."""
    execution = replace(record.execution, **fields)
    return Change(None, record.status, record.with_execution(execution))


def claimed(record: Record, token: str = "token") -> Change:  # noqa: S107 - of an attempt
    """Return the claim of a job for a new attempt."""
    execution = record.execution.claimed(token, NOON)
    return Change(None, record.status, record.with_execution(execution))


def paid(record: Record, payment: str) -> Change:
    """Return the record of a later payment."""
    return Change(None, record.status, record.paid_by(payment), is_payment=True)


def compared(record: Record) -> Change:
    """Return what leaves a job as it is, if nobody else has written it."""
    return Change(None, record.status, record, is_compared=True)


class Party:
    """One of the engines.

    Args:
        storage: Its own.
        shared: The shared part of that.
        rules: Those of follow-ups when it was opened.
    """

    def __init__(self, storage: Storage, shared: Shared, rules: StoredRules) -> None:
        self.storage = storage
        self.shared = shared
        self.rules = rules
        self._newest: Sequence[Change] = ()

    async def commit(self, *changes: Change, lines: Sequence[AuditLine] = ()) -> Committed:
        """Commit changes, numbered as the owner does it, and lines of the audit."""
        self._newest = numbered(changes)
        committed = await self.storage.commit(self._newest, lines)
        assert committed is not None
        return committed

    async def apply(self, *changes: Change) -> Committed:
        """Commit changes that nothing is in the way of."""
        committed = await self.commit(*changes)
        assert committed.in_the_way is None
        return committed

    async def resolve(self) -> Committed:
        """Find out that the newest commit was applied."""
        committed = await self.storage.resolve(self._newest)
        assert not isinstance(committed, bool)
        return committed

    async def check_numbers(self, committed: Committed, *, sequence: int, position: int) -> None:
        """Check which numbers the first change and the first new job of a commit have got."""
        shifts = (committed.sequence_shift, committed.position_shift)
        assert shifts == (sequence - PROVISIONAL - 1, position - PROVISIONAL - 1)
        [entry] = await self.storage.transitions(sequence - 1, 1)
        assert entry.sequence == sequence

    async def in_the_way(self, *changes: Change) -> CheckedOut:
        """Return what is in the way of changes: then nothing is applied."""
        before = await self.everything()
        committed = await self.commit(*changes)
        assert committed.in_the_way is not None
        assert await self.everything() == before
        return committed.in_the_way

    async def everything(self) -> tuple[Sequence[object], Sequence[Entry]]:
        """Return all jobs, and all transitions."""
        page = await self.storage.page(ALL_JOBS, 0, _MANY)
        return page.jobs, await self.storage.transitions(0, _MANY)

    async def look(self, job_id: str) -> Record:
        """Return a job as it is now."""
        found = await self.storage.checkout(Names([job_id]))
        return found.ids.jobs[job_id]

    async def take(
        self,
        limit: int = 10,
        *,
        suspects: bool = True,
        **kinds: int,
    ) -> list[Record]:
        """Reserve jobs, those of the kind ``default`` by default."""
        asked = kinds or {"default": limit}
        return [*await self.shared.take(asked, limit, suspects=suspects)]

    async def take_ids(self, limit: int = 10, **how: Any) -> list[str]:  # noqa: ANN401 - of `take`
        """Reserve jobs; return their ids in the order of their positions."""
        taken = await self.take(limit, **how)
        return [each.job_id for each in sorted(taken, key=lambda each: each.position)]


def numbered(changes: Sequence[Change]) -> list[Change]:
    """Return changes with numbers as the owner of a shared storage gives them."""
    sequence = position = PROVISIONAL
    positions: dict[str, int] = {}
    result = []
    for change in changes:
        record = change.record
        if change.from_status is None:
            position += 1
            positions[record.job_id] = position
        record = replace(record, position=positions.get(record.job_id, record.position))
        number = change.sequence
        if number is not None:
            sequence += 1
            number = sequence
            record = replace(record, sequence=sequence)
        result.append(replace(change, sequence=number, record=record))
    return result


@asynccontextmanager
async def joined(
    storage: Storage, outcomes: Mapping[str, str | None] = STATUS_OUTCOMES
) -> AsyncIterator[Party]:
    """Open a shared storage, and close it at the end."""
    try:
        opened = await storage.open(outcomes, {}, RUNNING)
        assert opened.shared is not None
        assert not opened.table.records()
        yield Party(storage, opened.shared, opened.rules)
    finally:
        with anyio.CancelScope(shield=True):
            await storage.aclose()
