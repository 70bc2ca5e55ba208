"""The storage protocol: a storage makes a round's changes outlive the process.

Only the owner calls a storage, one call at a time, from one task. A storage knows no rule of a
move: the owner decides all of them, whatever the storage. The life of a storage::

    open ──▶ ( checkout? ──▶ commit? ──▶ resolve? ──▶ count | page | history … )* ──▶ aclose

**A private storage** (memory, one file) belongs to one engine. The owner holds the live jobs in its
table and checks out only others: ended jobs, idempotency keys of ended jobs, unknown ids.

**A shared storage** (a database server, still to come) serves engines on many machines. The owner's
table is then empty at the start of each round, so the owner checks out every job that the round
names. The jobs stay locked until the commit; position and sequence numbers come with the checkout.
The decisions between the two calls are the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeAlias

from engine.storage.record import (
    Change,
    Damaged,
    Entry,
    Record,
)
from engine.storage.table import Table

ProgressCallback: TypeAlias = Callable[[int, int], None]
"""Receives how much is done, and of how much; an exception that it raises ends the operation."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The content of a storage when it was opened."""

    table: Table
    """The live jobs. The owner keeps it: it puts committed jobs in and takes ended ones out."""
    last_sequence: int = 0
    last_position: int = 0
    keeps_table: bool = False
    """The storage keeps the table instead: `commit` puts the jobs in, and ended ones stay."""


@dataclass(frozen=True, slots=True)
class CheckedOut:
    """The committed jobs of a checkout: those that exist."""

    jobs: dict[str, Record] = field(default_factory=dict)
    """By job id."""
    keys: dict[str, Record] = field(default_factory=dict)
    """By idempotency key."""
    damaged: dict[str, Damaged] = field(default_factory=dict)
    """Jobs that exist and can't be read, by their ids."""
    damaged_keys: dict[str, Damaged] = field(default_factory=dict)
    """The same, by their idempotency keys."""


class Storage(Protocol):
    """The storage protocol. The owner shields the calls from the cancellation of callers.

    Every call may raise `engine.domain.exceptions.StorageError` for a known failure, which goes to
    the callers of the round. Any other exception is a bug and crashes the owner.
    """

    async def open(self, final_statuses: Collection[str]) -> Opened:
        """Get ready. Jobs in one of the final statuses have ended.

        Raises:
            StorageInUseError: Another engine has it open.
            StorageError: It can't be opened.
        """
        ...

    async def checkout(self, job_ids: Collection[str], keys: Collection[str]) -> CheckedOut:
        """Return committed jobs with these ids and these idempotency keys; skip the unknown.

        Asked only for what is not in the table.
        """
        ...

    async def commit(self, changes: Sequence[Change]) -> None:
        """Make the changes durable, all or none, in their order. Returning promises that they are.

        A change without a sequence number leaves no line of history.

        Raises:
            StorageError: No change was applied.
            DuplicateJobIdError: A created job's id is taken by an ended job, which the owner
                doesn't hold. No change was applied.
            CommitUnknownError: It failed, and the changes may or may not be durable. The owner
                calls `resolve` before it commits anything else.
        """
        ...

    async def resolve(self, changes: Sequence[Change]) -> bool:
        """Find out the outcome of the changes whose commit raised `CommitUnknownError`.

        Returning True promises that they are durable, False that they are not applied and never
        will be. Until then `count`, `page`, `history` and `transitions` answer as before these
        changes, or refuse.

        Raises:
            StorageError: It is not known yet. The owner asks again before its next commit.
        """
        ...

    async def count(self, status: str | None) -> int:
        """Count the committed jobs that have this status; for None, all of them."""
        ...

    async def page(self, status: str | None, after: int, limit: int) -> Sequence[Record | Damaged]:
        """Return up to ``limit`` committed jobs with a position above ``after``, in that order."""
        ...

    async def history(self, job_id: str) -> Sequence[Entry] | None:
        """Return every committed transition of a job, oldest first; None for an unknown job.

        Raises:
            JobDamagedError: A line of the history can't be read.
        """
        ...

    async def transitions(
        self, after: int, limit: int, job_id: str | None = None
    ) -> Sequence[Entry]:
        """Return up to ``limit`` committed transitions with a sequence number above ``after``.

        They are in order, of all jobs or of one, which may be unknown. Removed jobs have none.

        Raises:
            StorageDamagedError: A transition, or its job's id, can't be read.
        """
        ...

    async def remove_ended(self, before: datetime | None, keep: int | None, limit: int) -> int:
        """Remove up to ``limit`` ended jobs with their histories; return how many.

        Removes jobs that ended before a time, and the oldest beyond the newest ``keep``; oldest end
        first. Returning 0 says that none is left to remove.
        """
        ...

    def backup(self, path: Path, progress: ProgressCallback) -> None:
        """Write a consistent copy of all that is committed into a new file, durable on return.

        It blocks, and runs in a thread of its own, at any time while the storage is open. Other
        calls may run beside it; it must not delay them by more than a commit takes.

        Raises:
            StorageError: It can't be copied, or the path can't be written. No file is left there.
        """
        ...

    async def aclose(self) -> None:
        """Release everything. Called once for each `open`, even for one that raised."""
        ...
