"""The storage protocol: a storage makes a round's changes outlive the process.

Only the owner calls a storage, one call at a time, from one task. A storage knows no rule of a
move; the owner decides every move. The life of a storage::

    open ──▶ keep_lifecycle ──▶ ( checkout? ──▶ commit? ──▶ resolve? ──▶ page … )* ──▶ aclose

**A private storage** (memory, one file) belongs to one engine. The owner holds the live jobs in its
table, and those that ended a short time ago. It checks out only others: older ended jobs, by their
ids, idempotency keys and payments, and unknown names.

**A shared storage** (a database server) serves engines on many machines, and has a `Shared` part.
The owner holds no jobs but those of its own attempts, and what it has written lately. It checks out
every other job that the round names, and nothing is locked until the commit. That compares the
``revision`` of each record that was decided on with the stored one; if others have written it
meanwhile, it applies nothing and returns the jobs as they are now (`Committed.in_the_way`). The
owner then decides again, by the same code. The commit also gives the changes their numbers
(`Committed.sequence_shift`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeAlias

from engine.domain.epochs import Epoch
from engine.domain.follow_up_rules import NO_RULES, StoredRules
from engine.storage.answers import CheckedOut, Committed, Names, StoredCount, StoredPage
from engine.storage.audit import AuditLine, DamagedAuditLine, KeptAuditLine
from engine.storage.filter import JobFilter
from engine.storage.record import AttemptRecord, Change, Entry
from engine.storage.shared import Shared
from engine.storage.table import Table
from engine.storage.throughput import MinuteCount

ProgressCallback: TypeAlias = Callable[[int, int], None]
"""Receives how much is done, and of how much; an exception that it raises ends the operation."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The content of a storage when it was opened."""

    table: Table
    """The live jobs. The owner keeps it: it puts committed jobs in, and later takes ended ones
    out."""
    last_sequence: int = 0
    last_position: int = 0
    epochs: Sequence[Epoch] = ()
    """The epochs of the history, oldest first. A new storage has one, an opened copy one more."""
    keeps_table: bool = False
    """The storage keeps the table instead: `commit` puts the jobs in, and ended ones stay."""
    rules: StoredRules = NO_RULES
    """The rules of follow-ups."""
    shared: Shared | None = None
    """What only a storage of many engines has. Its table is empty."""


class Storage(Protocol):
    """The storage protocol. The owner shields the calls from the cancellation of callers.

    The records that `open`, `checkout` and `page` return carry ``sequence``, the number of the
    job's newest transition, filled from its history.

    Every call may raise `engine.domain.exceptions.StorageError` for a known failure, which goes to
    the callers of the round: nothing was applied. Any other exception is a bug and crashes the
    owner.

    `keep_rules`, `keep_pauses`, `note_acts` and `remove_ended` find out by themselves what became
    of a commit that failed, before they answer or raise. If they can't, they raise
    `engine.domain.exceptions.CommitUnknownError`; until it is found out, every call finds it out
    first, or refuses. The owner doesn't call `resolve` for that. A shared storage refuses them with
    `engine.domain.exceptions.LeaseLostError` if the others take this engine for dead.
    """

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        """Get ready. Jobs in one of the final statuses have ended.

        A job may have a status of another lifecycle, which is neither among these nor renamed. A
        private storage that has one returns it in the table, and changes nothing: the owner refuses
        to open it. In a shared one it stays as it is, for the engine that knows the status.

        Args:
            outcomes: All statuses. A final one has the outcome of a job that has none yet, and the
                others have None. They need not be those of the opening before. Of a job that has
                ended by them, nothing is left to wait for (`Execution.ended`).
            renamed: The new names of old statuses. All jobs, lines of history and deadlines get
                them, and keep them (`Record.reopened`).
            running: The running status. A job that is in it, and was not running before, because
                the status has a new name or a new role, has started when it entered it
                (`Record.reopened`).

        Raises:
            StorageInUseError: Another engine has it open.
            StorageError: It can't be opened.
        """
        ...

    async def keep_lifecycle(self, description: str) -> str | None:
        """Keep the description of the lifecycle; return that of the opening before, None for none.

        Called once, after `open`. The text is a JSON object; see
        `engine.domain.lifecycle.description`.
        """
        ...

    async def rules(self) -> StoredRules:
        """Return the rules of follow-ups as they are now; see `engine.domain.follow_up_rules`.

        A shared storage applies no transition that was decided before others have changed the
        rules, unless the owner has got these since: by this call, by `open`, or by the answer to a
        commit.
        """
        ...

    async def keep_rules(self, text: str, lines: Sequence[AuditLine] = ()) -> StoredRules | None:
        """Keep other rules of follow-ups, with the next number; return them as they are kept.

        The lines of the audit are there if and only if the rules are; see `commit`.

        A private storage may leave the number as it is, for nobody else changes its rules. A shared
        storage returns None, and keeps those that are there, if others have changed the rules since
        the owner got them.
        """
        ...

    async def pauses(self) -> str:
        """Return the pauses as they are now, in the form of `engine.domain.pauses`."""
        ...

    async def keep_pauses(self, text: str, before: str, lines: Sequence[AuditLine] = ()) -> bool:
        """Keep other pauses, durably; return whether they are kept.

        The lines of the audit are there if and only if these are; see `commit`.

        A private storage keeps them. A shared one keeps those that are there, and returns False, if
        these are not the same text as ``before``: others have changed them.
        """
        ...

    async def checkout(self, names: Names) -> CheckedOut:
        """Return committed jobs with these ids, idempotency keys and payments; skip the unknown.

        The owner asks only for jobs that it doesn't know, for each once. Reads ids, then keys, then
        payments, in their order; stops before the first job that `ReadLimit` refuses, and reports
        the rest as left out. The owner asks for those again.
        """
        ...

    async def commit(
        self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()
    ) -> Committed | None:
        """Make the changes durable, all or none, in their order. Returning promises that they are.

        The lines of the audit are part of the batch: they are there if and only if the changes are,
        behind all lines before. Of all lines a storage keeps the newest `KEPT_AUDIT_LINES`. There
        is no line without a change.

        A private storage returns None: it keeps the numbers as they are. A shared one returns
        `Committed`, which may say that nothing was applied.

        A change without a sequence number leaves no line of history. The ``failed_attempt`` of a
        change is part of it.
        A change with ``is_compared`` changes nothing; see `Change`.
        A change with ``is_payment`` records the payment of a job that had none, also of an ended
        one, which is found by it from then on.

        Raises:
            StorageError: No change was applied.
            DuplicateJobIdError: In a private storage, a created job's id is taken by an ended job,
                which the owner doesn't hold. No change was applied.
            LeaseLostError: In a shared storage, the others take this engine for dead. No change
                was applied.
            CommitUnknownError: It failed, and the changes may or may not be durable. The owner
                calls `resolve` before it commits anything else.
        """
        ...

    async def resolve(self, changes: Sequence[Change]) -> bool | Committed:
        """Find out the outcome of the changes whose commit raised `CommitUnknownError`.

        The lines of the audit that went with them share it.

        Returning True promises that they are durable, False that they are not applied and never
        will be. A shared storage returns `Committed` instead of True. Until then `count`, `page`,
        `history` and `transitions` answer as before these changes, or refuse.

        Raises:
            StorageError: It is not known yet. The owner asks again before its next commit.
        """
        ...

    async def count(self, jobs: JobFilter, at_most: int, after: int = 0) -> StoredCount:
        """Count committed jobs with a position above ``after``: ``at_most``, if there are more.

        Counts the jobs of a status, and all jobs, in one step: from position 0 on, with ``after``
        0. May end any other count early: no step takes longer than some milliseconds.
        """
        ...

    async def page(
        self, jobs: JobFilter, after: int, limit: int, *, newest_first: bool = False
    ) -> StoredPage:
        """Return up to ``limit`` committed jobs behind a position, in the order of their positions.

        Ends before the first job that `ReadLimit` does not admit. `StoredPage.of` counts, and takes
        jobs from an iterator: make it one that reads a job when it is asked for it.

        A filter with one of status, kind (but for ``default``), label and root, and one without
        any, has full pages. A page by several of them, by the kind ``default``, by a time or
        without follow-ups may end early, with fewer jobs or none: no page takes longer than some
        milliseconds.

        Args:
            jobs: Which jobs.
            after: The page begins with the first job above this position; with ``newest_first``,
                with the first below it. 0 is the beginning of either order.
            limit: The most to return.
            newest_first: Whether the order is the reverse one.
        """
        ...

    async def history(
        self, job_id: str, newest: int | None = None, before: int | None = None
    ) -> Sequence[Entry] | None:
        """Return the committed transitions of a job, oldest first; None for an unknown job.

        Args:
            job_id: The job.
            newest: Only so many, the newest, in a time that does not grow with the others.
            before: Only those with a lower sequence number.

        Raises:
            JobDamagedError: A line of the history can't be read.
        """
        ...

    async def attempts(self, job_id: str) -> Sequence[AttemptRecord] | None:
        """Return the committed failed attempts of a job, oldest first; None for an unknown job.

        A change has each one as ``failed_attempt``; `KEPT_ATTEMPTS` says how many are kept.

        Raises:
            JobDamagedError: One of them can't be read.
        """
        ...

    async def note_acts(self, lines: Sequence[AuditLine]) -> None:
        """Make lines of the audit durable that belong to no change of a job; see `commit`."""
        ...

    async def audit(
        self, before: int | None, limit: int, job_id: str | None = None
    ) -> Sequence[KeptAuditLine | DamagedAuditLine]:
        """Return up to ``limit`` lines of the audit with a number below ``before``, newest first.

        They are of all acts or of those on one job, which may be unknown. None begins with the
        newest line.
        """
        ...

    async def count_throughput(self) -> bool:
        """Count the next transitions by minute and status, durably; return whether more are left.

        It begins behind the newest one that is counted, and goes on to `STEP_TRANSITIONS` of them.
        Each counts once, whoever counts: the counts and the number of the newest one that is
        counted change together. What is more than `KEPT_SPAN` away from the newest transition is
        neither counted nor kept. `remove_ended` counts what it removes, and a commit counts
        nothing.
        """
        ...

    async def throughput(self, since: datetime) -> Sequence[MinuteCount]:
        """Return how many transitions are counted, of the minutes from one on, in their order."""
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

    async def removed_up_to(self) -> int:
        """Return the highest number of a transition that was ever removed; 0 if none was."""
        ...

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        """Remove up to ``limit`` ended jobs with all that is kept of them; return their ids.

        A job and its follow-ups, and theirs, leave together, once all have ended; the last of these
        ends is that of all. So there may be a few more jobs than the limit. Removes jobs that ended
        before a time, and the oldest while more than ``keep`` have ended; oldest end first, where
        it may be the job's own end that counts. Returning none says that none is left to remove.

        A line of the audit gets the number of the jobs, by `removal_line`, and is there if and only
        if they are gone; see `commit`. There is none if no job was removed.
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
