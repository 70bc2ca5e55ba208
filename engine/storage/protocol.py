"""What a storage is: the part that makes a batch of changes outlive the process.

Only the owner calls it, one call at a time, from one task. The rules of a transition are not here:
the owner decides, in Python, whatever the storage. The life of a storage::

    open ──▶ ( checkout? ──▶ commit? ──▶ resolve? ──▶ count | page | history … )* ──▶ aclose

**A private storage** (memory, one file) belongs to one engine. The owner holds the live jobs in its
table and checks out only those that it doesn't hold: jobs that have ended, idempotency keys of
ended jobs, ids that nobody has.

**A shared storage** (a database server, still to come) is used by engines on many machines. The
owner's table is then empty at the start of each batch, so that every job that the batch names
is checked out, and stays locked until the commit; position and sequence numbers come with the
checkout. The decisions between the two calls are the same code.
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
    """What a storage held when it was opened."""

    table: Table
    """The jobs that have not ended. The owner keeps it: committed jobs come in, ended ones go."""
    last_sequence: int = 0
    last_position: int = 0
    keeps_table: bool = False
    """Instead, the storage keeps it: `commit` puts the jobs in, and those that ended stay."""


@dataclass(frozen=True, slots=True)
class CheckedOut:
    """The committed jobs that were asked for and exist."""

    jobs: dict[str, Record] = field(default_factory=dict)
    """By job id."""
    keys: dict[str, Record] = field(default_factory=dict)
    """By idempotency key."""
    damaged: dict[str, Damaged] = field(default_factory=dict)
    """Jobs that exist and can't be read, by their ids."""
    damaged_keys: dict[str, Damaged] = field(default_factory=dict)
    """The same, by the idempotency keys that they have."""


class Storage(Protocol):
    """The storage protocol. Its calls are not cancelled by callers: the owner is shielded.

    Every call may raise `engine.domain.exceptions.StorageError` for a known failure, which goes to
    the callers of the batch. Any other exception is a bug, and crashes the owner.
    """

    async def open(self, final_statuses: Collection[str]) -> Opened:
        """Make ready; called once. Jobs in one of the final statuses have ended.

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
        """Make the changes durable, all or none, in their order. Returning means: they are.

        Those without a sequence number leave no line of history.

        Raises:
            StorageError: None was applied.
            DuplicateJobIdError: A created job's id is taken by one that the owner doesn't hold,
                because it has ended. None was applied.
            CommitUnknownError: It failed at a point from which it can't tell. The owner calls
                `resolve` before it commits anything else.
        """
        ...

    async def resolve(self, changes: Sequence[Change]) -> bool:
        """Find out what became of the changes whose commit raised `CommitUnknownError`.

        Returning True means: they are durable; False: they are not applied and never will be. Until
        then `count`, `page`, `history` and `transitions` answer from before these changes, or they
        refuse.

        Raises:
            StorageError: It can't tell yet. The owner asks again before it next commits.
        """
        ...

    async def count(self, status: str | None) -> int:
        """Return how many committed jobs have this status; None counts all."""
        ...

    async def page(self, status: str | None, after: int, limit: int) -> Sequence[Record | Damaged]:
        """Return up to ``limit`` committed jobs with a position above ``after``, in that order."""
        ...

    async def history(self, job_id: str) -> Sequence[Entry] | None:
        """Return every committed change of a job, oldest first; None if there is no such job.

        Raises:
            JobDamagedError: A line of it can't be read.
        """
        ...

    async def transitions(
        self, after: int, limit: int, job_id: str | None = None
    ) -> Sequence[Entry]:
        """Return up to ``limit`` committed transitions with a sequence number above ``after``.

        In their order; of all jobs or of one, which may be unknown. Removed jobs have none.

        Raises:
            StorageDamagedError: One of them can't be read, or whose it is.
        """
        ...

    async def remove_ended(self, before: datetime | None, keep: int | None, limit: int) -> int:
        """Remove up to ``limit`` ended jobs with their histories; return how many.

        Those that ended before a time, and the oldest of those that are more than ``keep``; oldest
        end first. Returning 0 means: there are no more of them.
        """
        ...

    def backup(self, path: Path, progress: ProgressCallback) -> None:
        """Write a consistent copy of what is committed into a new file; durable on return.

        Blocking: it is called in a thread of its own, at any time while the storage is open, and
        also beside other calls, which it must not hold up for longer than a commit takes.

        Raises:
            StorageError: It can't be copied, or the path can't be written. No file is left there.
        """
        ...

    async def aclose(self) -> None:
        """Let go of everything. Called once for each `open`, also if that did not return."""
        ...
