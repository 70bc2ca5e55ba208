"""The shared part of a storage: what one for many engines has beside `engine.storage.Storage`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol, TypeAlias

from engine.domain.follow_up_rules import StoredRules
from engine.domain.models import Progress
from engine.storage.answers import CheckedOut, Names
from engine.storage.audit import AuditLine
from engine.storage.overview import CountedKinds, EngineRow
from engine.storage.record import Change, Record

Decide: TypeAlias = Callable[[CheckedOut, StoredRules], Sequence[Change]]
"""Decides about new jobs: gets the jobs that have their names, and the rules of follow-ups; returns
the changes."""


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
    """Those of the ready ones whose kind no open worker has, of this engine or a living one that is
    not drained."""
    paused: int
    """Those that would be ready, but for the pause of their kind."""


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
            decide: Gets the jobs that have them, and the rules of follow-ups, as the transaction
                sees them. Returns the changes, all of them creations.

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

    async def ready_counts(self, kinds: Collection[str], paused: Collection[str]) -> ReadyCounts:
        """Count the jobs that run, or could.

        Args:
            kinds: Those that have a handler in this engine.
            paused: Those that are paused.
        """
        ...

    async def kinds(
        self, status: str, after: int, now: datetime, *, is_running: bool
    ) -> CountedKinds:
        """Count the jobs of a status behind a position by kind, or the first ones of them.

        No call takes longer than some milliseconds.

        Args:
            status: Its jobs have not ended.
            after: 0 is the beginning.
            now: The time. A job whose next attempt comes later is not ready.
            is_running: Whether it is the running status. Only there a job may be ready.
        """
        ...

    async def engines(self) -> Sequence[EngineRow]:
        """Return the engines that have the storage open, and those that died, the oldest first."""
        ...

    async def unhandled_kinds(self, kinds: Collection[str], limit: int) -> Sequence[str]:
        """Return up to ``limit`` kinds of ready jobs that no living engine has a handler for.

        Args:
            kinds: Those to leave out: they have a handler in this engine, or are paused.
            limit: The most to return.
        """
        ...

    @property
    def instructions(self) -> object:
        """What tells whether operators have changed something: equal to what it was, if not.

        That is the pauses, and whether this engine is drained, as of the newest look of the storage
        at what the others do. It looks at each beat, and sooner at hints; `news` then returns. Two
        changes that cancel each other out differ, too: the engine may have followed the first one.
        """
        ...

    async def drain(
        self, engine_id: int | None, lines: Sequence[AuditLine] = (), *, draining: bool
    ) -> bool:
        """Drain an engine, or let it claim again; return whether there is such a one that lives.

        Args:
            engine_id: Its number; None for this one.
            lines: The lines of the audit, which are there if and only if this changes something.
            draining: Whether it is to claim nothing.

        Raises:
            LeaseLostError: The other engines take this one for dead.
            CommitUnknownError: As of `engine.storage.Storage.keep_pauses`.
        """
        ...

    async def is_draining(self) -> bool:
        """Return whether this engine is drained."""
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
