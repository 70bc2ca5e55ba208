"""The storage protocol: a storage makes a round's changes outlive the process.

Only the owner calls a storage, one call at a time, from one task. A storage knows no rule of a
move; the owner decides every move. The life of a storage::

    open ──▶ keep_lifecycle ──▶ ( checkout? ──▶ commit? ──▶ resolve? ──▶ page … )* ──▶ aclose

**A private storage** (memory, one file) belongs to one engine. The owner holds the live jobs in its
table, and those that ended a short time ago. It checks out only others: older ended jobs, by their
ids, idempotency keys and payments, and unknown names.

**A shared storage** (a database server) serves engines on many machines, and has a `Shared` part.
The owner holds no jobs but those of its own attempts. It checks out every other job that the round
names, and nothing is locked until the commit. That compares the ``revision`` of each record that
was decided on with the stored one; if others have written it meanwhile, it applies nothing and
returns the jobs as they are now (`Committed.in_the_way`). The owner then decides again, by the same
code. The commit also gives the changes their numbers (`Committed.sequence_shift`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol, Self, TypeAlias

from engine.domain.epochs import Epoch
from engine.domain.models import Progress
from engine.domain.validation import MAX_READ_CHARACTERS
from engine.storage.filter import JobFilter
from engine.storage.record import AttemptRecord, Change, Damaged, Entry, Record
from engine.storage.table import Table

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
    shared: Shared | None = None
    """What only a storage of many engines has. Its table is empty."""


class ReadLimit:
    """Counts the long texts of the jobs of one read: 16,777,216 characters at most."""

    def __init__(self) -> None:
        self._characters = 0
        self._is_empty = True

    def admits(self, job: Record | Damaged) -> bool:
        """Count a job in, if it still fits; the first one always does."""
        characters = self._characters + job.characters
        if characters > MAX_READ_CHARACTERS and not self._is_empty:
            return False
        self._characters = characters
        self._is_empty = False
        return True


@dataclass(frozen=True, slots=True)
class StoredPage:
    """Some committed jobs in the order of their positions, or in the reverse order."""

    jobs: Sequence[Record | Damaged] = ()
    next_after: int | None = None
    """The position behind which the next page begins; None if no job follows. The page may be
    shorter than it could be, even empty, and have one."""

    @classmethod
    def of(
        cls, jobs: Iterable[Record | Damaged], limit: int, searched_to: int | None = None
    ) -> Self:
        """Return the first jobs as a page: up to ``limit``, and no more than `ReadLimit` admits.

        Takes no more than one job that is not on the page.

        Args:
            jobs: Those that were found.
            limit: The most to return.
            searched_to: The position where the search for them ended; None if it was complete.
        """
        page: list[Record | Damaged] = []
        following, characters = iter(jobs), 0
        for job in islice(following, limit):
            characters += job.characters  # not by `ReadLimit`, which takes twice as long
            if characters > MAX_READ_CHARACTERS and page:
                return cls(page, page[-1].position)
            page.append(job)
        if len(page) == limit and next(following, None) is not None:
            return cls(page, page[-1].position)
        return cls(page, searched_to)


class StoredCount(NamedTuple):
    """A number of committed jobs: all of them, or those up to a position."""

    jobs: int
    next_after: int | None = None
    """The position behind which to count on; None if all are counted."""


class Names(NamedTuple):
    """The names by which jobs are looked for."""

    job_ids: Sequence[str] = ()
    keys: Sequence[str] = ()
    """Idempotency keys."""
    payments: Sequence[str] = ()
    """Given payments; the default one has the job's id in it."""


@dataclass(frozen=True, slots=True)
class Found:
    """The committed jobs that were found by one sort of name, each by its name."""

    jobs: dict[str, Record] = field(default_factory=dict)
    damaged: dict[str, Damaged] = field(default_factory=dict)
    """Jobs that exist and can't be read."""
    left_out: set[str] = field(default_factory=set)
    """Names that were not looked for, because the jobs found before them took all the room."""

    def add(self, other: Found) -> None:
        """Add another one's jobs and left-out names."""
        self.jobs.update(other.jobs)
        self.damaged.update(other.damaged)
        self.left_out.update(other.left_out)


@dataclass(frozen=True, slots=True)
class CheckedOut:
    """The committed jobs of a checkout: those that exist."""

    ids: Found = field(default_factory=Found)
    keys: Found = field(default_factory=Found)
    payments: Found = field(default_factory=Found)

    @property
    def parts(self) -> tuple[Found, Found, Found]:
        """Those by ids, by keys and by payments, in the order of `Names`."""
        return (self.ids, self.keys, self.payments)

    def take_left_out(self) -> Names:
        """Return the names that were not looked for, and forget them here."""
        left_out = Names(*(tuple(part.left_out) for part in self.parts))
        for part in self.parts:
            part.left_out.clear()
        return left_out

    def add(self, other: CheckedOut) -> None:
        """Add another checkout's jobs and left-out names."""
        for part, its in zip(self.parts, other.parts, strict=True):
            part.add(its)

    def replace(self, newer: CheckedOut, gone: Collection[str] = ()) -> None:
        """Replace jobs by newer records of them, and leave out those that are gone."""
        self.add(newer)
        by_id = {record.job_id: record for part in newer.parts for record in part.jobs.values()}
        for part in self.parts:
            for name, record in tuple(part.jobs.items()):
                if record.job_id in gone:
                    del part.jobs[name]
                elif record.job_id in by_id:
                    part.jobs[name] = by_id[record.job_id]


class Committed(NamedTuple):
    """The answer of a shared storage to a commit."""

    sequence_shift: int = 0
    """The changes have got sequence numbers that are so much higher than those given."""
    position_shift: int = 0
    """New jobs have got positions that are so much higher."""
    in_the_way: CheckedOut | None = None
    """None if the changes are committed. Otherwise nothing was applied: these are the jobs, as they
    are now, that others have written meanwhile, or that have an id, a key or a payment that the
    changes give to another one."""
    gone: Collection[str] = ()
    """The ids of jobs that were to change, and that others have removed meanwhile."""


Decide: TypeAlias = Callable[[CheckedOut], Sequence[Change]]
"""Decides about new jobs: gets the jobs that have their names, and returns the changes."""


class DueJobs(NamedTuple):
    """What is due in a shared storage."""

    late: Sequence[str] = ()
    """The ids of jobs whose deadline has passed."""
    is_full: bool = False
    """Whether more may be due."""
    next_at: datetime | None = None
    """When the next one is; None if none is known."""


class ReadyCounts(NamedTuple):
    """The numbers of jobs that run, or could."""

    ready: int
    """Those that may be claimed."""
    running: int
    """Those that an attempt has."""
    unhandled: int
    """Those of the ready ones whose kind no open worker has, of this engine or a living one."""


class Shared(Protocol):
    """What a storage of many engines has beside `Storage`."""

    @property
    def clock_offset(self) -> timedelta:
        """How far the server's clock is ahead of this machine's."""
        ...

    @property
    def listens(self) -> bool:
        """Whether `news` hears of the commits of others. If not, only polling finds them."""
        ...

    async def take(
        self, kinds: Mapping[str, int], limit: int, *, suspects: bool
    ) -> Sequence[Record]:
        """Reserve ready jobs for this engine: nobody else gets them.

        The next commit decides about them: a claim keeps a job, and any other change of it, or a
        change that changes nothing, lets it go. A job whose newest attempt died with its engine has
        the token of that (`dead_token`), and the owner judges it. Takes no more jobs once they have
        `MAX_READ_CHARACTERS`. A job whose deadline has passed
        may be taken, too: the owner expires it, if its lifecycle does that.

        Args:
            kinds: How many jobs of each kind at most, in the order of their turns: each gets one
                job first.
            limit: How many in all, at most.
            suspects: Whether a suspect may be among them: one, see `engine.domain.deaths`.

        Raises:
            StorageError: It is not known whether jobs were taken: see `held`.
        """
        ...

    async def arrive(self, connection: object, names: Names, decide: Decide) -> None:
        """Create jobs in a transaction of the caller's, which is open on a connection of his.

        They get their numbers when it commits, and never exist if it doesn't.

        Args:
            connection: One whose calls are awaited.
            names: Those of the new jobs.
            decide: Gets the jobs that have them, as the transaction sees them. Returns the changes,
                all of them creations.

        Raises:
            InvalidValueError: The connection or its transaction is not of a kind that can be used,
                or is not one to this storage.
            Exception: The connection's own, from its driver. Nobody knows what of the transaction
                is left.
        """
        ...

    def arrive_blocking(self, connection: object, names: Names, decide: Decide) -> None:
        """Do as `arrive`, on a connection whose calls block. Any thread may call it."""
        ...

    async def held(self, known: Collection[str] = ()) -> Sequence[Record]:
        """Return jobs that this engine has reserved, or that its attempts have.

        There may be more than one read may give. There are no others if it returns none. A call of
        `take` that has raised reserves none after this.

        Args:
            known: The ids of jobs to leave out.
        """
        ...

    async def changed(self, records: Sequence[Record]) -> Sequence[Record | None]:
        """Return these jobs: those that others have written since as they are now.

        The others are the same objects; None stands for a job that was removed.
        """
        ...

    async def newest_sequence(self) -> int:
        """Return the number of the newest transition; 0 if there is none."""
        ...

    async def due(self, now: datetime, limit: int) -> DueJobs:
        """Return jobs whose deadline has passed, and keep them from others for 5 s.

        Also makes jobs ready whose next attempt is due: up to ``limit`` jobs of both sorts. Leaves
        those in statuses that the opening has not named.
        """
        ...

    async def news(self, seconds: float) -> None:
        """Return when another engine may have changed something, or after some seconds.

        Raises:
            LeaseLostError: The other engines take this one for dead.
        """
        ...

    def wake(self) -> None:
        """End a call of `news` that waits, or the next one. For the event loop of the owner."""
        ...

    async def ready_counts(self, kinds: Collection[str]) -> ReadyCounts:
        """Count the jobs that run, or could.

        Args:
            kinds: Those that have a handler in this engine.
        """
        ...

    async def unhandled_kinds(self, kinds: Collection[str], limit: int) -> Sequence[str]:
        """Return up to ``limit`` kinds of ready jobs that no living engine has a handler for.

        Args:
            kinds: Those that have a handler in this engine.
            limit: The most to return.
        """
        ...

    async def exchange_progress(
        self, reports: Sequence[Progress], ended: Sequence[str]
    ) -> Sequence[Progress]:
        """Keep the newest progress of this engine's attempts; return that of all the others.

        It need not outlive the server.

        Args:
            reports: The newest one of each job that has changed.
            ended: Jobs whose progress is to be forgotten.

        Raises:
            LeaseLostError: The other engines take this one for dead.
        """
        ...

    async def lead(self, name: str) -> bool:
        """Return whether this engine leads: it is the first one that has asked and lives.

        Args:
            name: Of what only one engine at a time does.

        Raises:
            LeaseLostError: The other engines take this one for dead.
        """
        ...

    async def resign(self, name: str) -> None:
        """Lead no more. Does nothing for an engine that doesn't."""
        ...

    def hold_back(self, job_ids: Container[str]) -> None:
        """Keep these jobs reserved for this engine when an attempt of it lets them go.

        The storage keeps the container itself, whose content changes.
        """
        ...

    def handles(self, kinds: Collection[str]) -> None:
        """Take note of the kinds that have a handler in this engine, for others to see."""
        ...


class Storage(Protocol):
    """The storage protocol. The owner shields the calls from the cancellation of callers.

    The records that `open`, `checkout` and `page` return carry ``sequence``, the number of the
    job's newest transition, filled from its history.

    Every call may raise `engine.domain.exceptions.StorageError` for a known failure, which goes to
    the callers of the round. Any other exception is a bug and crashes the owner.
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

    async def checkout(self, names: Names) -> CheckedOut:
        """Return committed jobs with these ids, idempotency keys and payments; skip the unknown.

        The owner asks only for jobs that it doesn't hold, for each once. Reads ids, then keys, then
        payments, in their order; stops before the first job that `ReadLimit` refuses, and reports
        the rest as left out. The owner asks for those again.
        """
        ...

    async def commit(self, changes: Sequence[Change]) -> Committed | None:
        """Make the changes durable, all or none, in their order. Returning promises that they are.

        A private storage returns None: it keeps the numbers as they are. A shared one returns
        `Committed`, which may say that nothing was applied.

        A change without a sequence number leaves no line of history. The ``failed_attempt`` of a
        change is part of it.
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

        A filter with one of status, kind (but for ``default``) and label, and one without any, has
        full pages. A page by several of them, by the kind ``default`` or by the time of creation
        may end early, with fewer jobs or none: no page takes longer than some milliseconds.

        Args:
            jobs: Which jobs.
            after: The page begins with the first job above this position; with ``newest_first``,
                with the first below it. 0 is the beginning of either order.
            limit: The most to return.
            newest_first: Whether the order is the reverse one.
        """
        ...

    async def history(self, job_id: str) -> Sequence[Entry] | None:
        """Return every committed transition of a job, oldest first; None for an unknown job.

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
        self, before: datetime | None, keep: int | None, limit: int
    ) -> Sequence[str]:
        """Remove up to ``limit`` ended jobs with all that is kept of them; return their ids.

        Removes jobs that ended before a time, and the oldest beyond the newest ``keep``; oldest end
        first. Returning none says that none is left to remove.
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
