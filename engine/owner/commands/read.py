"""Read jobs, histories and statistics."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Self

from engine.domain.epochs import Cursor, parsed_cursor
from engine.domain.exceptions import (
    CursorExpiredError,
    EngineError,
    InvalidValueError,
    JobDamagedError,
    JobNotFoundError,
    UnknownCursorError,
    shown,
)
from engine.domain.lifecycle import Lifecycle
from engine.domain.validation import (
    MAX_IDENTIFIER_CHARACTERS,
    MAX_INTEGER,
    check_each,
    check_integer,
    check_job_id,
    check_text,
)
from engine.owner.commands.command import Read
from engine.owner.commands.create import check_payment_name
from engine.owner.doubts import settle_doubts
from engine.owner.message import UNANSWERED
from engine.owner.sources import Sources
from engine.storage.answers import CheckedOut, Names
from engine.storage.filter import JobFilter
from engine.storage.record import (
    AttemptRecord,
    Entry,
    Record,
    default_identifier,
    job_id_in,
)


class GetJobs(Read[Sequence[Record]]):
    """Read these jobs, all or none; `engine.owner.reads` reads those of a round together."""

    __slots__ = ("job_ids",)

    def __init__(self, job_ids: Sequence[str]) -> None:
        self.weight = len(job_ids) or 1
        self.is_abandoned = False
        self._outcome = UNANSWERED
        self.job_ids = job_ids

    @classmethod
    def one(cls, job_id: str) -> Self:
        """Check a job id.

        Raises:
            InvalidValueError: The id is no text of 1 to 256 characters.
        """
        return cls([check_job_id(job_id)])

    @classmethod
    def many(cls, job_ids: Iterable[str]) -> Self:
        """Check job ids.

        Raises:
            InvalidValueError: An id is no text of 1 to 256 characters; or there are too many.
        """
        if isinstance(job_ids, str):
            raise InvalidValueError(
                "job_ids", f"must be several ids, not {shown(job_ids)}; for one use `get`"
            )
        return cls(check_each(job_ids, str, check_job_id))


class FindJob(Read[Sequence[Record]]):
    """Find the job that has an idempotency key, or that a payment pays for.

    Attributes:
        job_ids, keys, payments: One of them has one name; see `Message`.
    """

    __slots__ = ("job_ids", "keys", "payments")

    def __init__(self, names: Names) -> None:
        super().__init__()
        self.job_ids, self.keys, self.payments = names

    @classmethod
    def checked(cls, idempotency_key: str | None, payment_id: str | None) -> Self:
        """Check the names, of which one is given.

        Raises:
            InvalidValueError: It is no text of 1 to 256 characters; or both or none are given.
        """
        if (idempotency_key is None) is (payment_id is None):
            raise InvalidValueError(
                "payment_id", "must be given if idempotency_key is not, and only then"
            )
        if payment_id is None:
            key = check_text("idempotency_key", idempotency_key, MAX_IDENTIFIER_CHARACTERS)
            return cls(Names(keys=[key]))
        name = check_payment_name(payment_id)
        job_id = job_id_in(name)
        return cls(Names(payments=[name]) if job_id is None else Names([job_id]))

    def found(self, named: CheckedOut) -> Sequence[Record] | EngineError:
        """Return the job among those that were found, or the error that it is not there."""
        for part, names in zip(named.parts, (self.job_ids, self.keys, self.payments), strict=True):
            for name in names:
                if (damaged := part.damaged.get(name)) is not None:
                    return JobDamagedError(damaged.job_id, damaged.problem)
                if (job := part.jobs.get(name)) is not None:
                    return [job]
        return self._not_found()

    def _not_found(self) -> JobNotFoundError:
        for key in self.keys:
            return JobNotFoundError(None, idempotency_key=key)
        payments = [*self.payments, *map(default_identifier, self.job_ids)]
        return JobNotFoundError(None, payment_id=payments[0])


class ReadHistory(Read[Sequence[Entry]]):
    """Read the transitions of one job, oldest first.

    Attributes:
        job_id: The job.
        newest: Only so many, the newest; None for all.
        before: Only those with a lower sequence number; None for any.
    """

    __slots__ = ("before", "job_id", "newest")

    def __init__(self, job_id: str, newest: int | None = None, before: int | None = None) -> None:
        super().__init__()
        self.job_id = job_id
        self.newest = newest
        self.before = before

    @classmethod
    def checked(cls, job_id: str) -> Self:
        """Check a job id.

        Raises:
            InvalidValueError: The id is no text of 1 to 256 characters.
        """
        return cls(check_job_id(job_id))

    async def read(self, sources: Sources) -> Sequence[Entry]:
        """See `Read.read`.

        Raises:
            JobNotFoundError: There is no such job.
        """
        entries = await sources.storage.history(self.job_id, self.newest, self.before)
        if entries is None:
            raise JobNotFoundError(self.job_id)
        return entries


class ReadAttempts(Read[Sequence[AttemptRecord]]):
    """Read the failed attempts of one job that are kept, oldest first."""

    __slots__ = ("job_id",)

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self.job_id = job_id

    @classmethod
    def checked(cls, job_id: str) -> Self:
        """Check a job id.

        Raises:
            InvalidValueError: The id is no text of 1 to 256 characters.
        """
        return cls(check_job_id(job_id))

    async def read(self, sources: Sources) -> Sequence[AttemptRecord]:
        """See `Read.read`.

        Raises:
            JobNotFoundError: There is no such job.
        """
        attempts = await sources.storage.attempts(self.job_id)
        if attempts is None:
            raise JobNotFoundError(self.job_id)
        return attempts


class ReadTransitions(Read[Sequence[Entry]]):
    """Read up to ``limit`` transitions behind a sequence number, of one job or of all.

    Attributes:
        after: The number.
        limit: The most to return.
        job_id: The job; None for all. A job keeps all its transitions.
        epoch: The epoch of the number; empty if it is not known.
        removed_before: Transitions up to this number may have been removed; None asks for those
            that are left. `read` sets it to the highest number that was removed by now.
    """

    __slots__ = ("after", "epoch", "job_id", "limit", "removed_before")

    def __init__(
        self,
        after: int,
        limit: int,
        job_id: str | None,
        removed_before: int | None = 0,
        epoch: str = "",
    ) -> None:
        super().__init__()
        self.epoch = epoch
        self.after = after
        self.limit = limit
        self.job_id = job_id
        self.removed_before = removed_before

    async def read(self, sources: Sources) -> Sequence[Entry]:
        """See `Read.read`.

        Raises:
            UnknownCursorError: The newest transition has a lower number, or the number is of
                another epoch here.
            CursorExpiredError: Transitions behind the number have been removed.
        """
        state, cursor = sources.state, Cursor(self.after, self.epoch)
        if self.after > state.last_sequence and state.shared is not None:
            state.last_sequence = await state.shared.newest_sequence()
        if self.after > state.last_sequence or not state.epochs.has(cursor):
            after = str(cursor) if self.epoch else self.after
            raise UnknownCursorError(after, state.last_sequence)
        lines = await sources.storage.transitions(self.after, self.limit, self.job_id)
        if self.job_id is None:  # behind the lines: others may remove some meanwhile
            removed = await sources.storage.removed_up_to()
            if self.removed_before is None:
                self.removed_before = removed
            has_gap = not lines or lines[-1].sequence - self.after > len(lines)
            if has_gap and removed > max(self.after, self.removed_before):
                raise CursorExpiredError(self.after, removed)
        return lines


class ReadStatistics(Read[dict[str, Any]]):
    """Read the engine's statistics."""

    __slots__ = ()

    async def read(self, sources: Sources) -> dict[str, Any]:
        """See `Read.read`."""
        state, done = sources.state, sources.counters
        await settle_doubts(state, sources.storage, sources.clock)
        lifecycle = state.lifecycle
        counts = {
            status: await _in_status(lifecycle.value(status), sources)
            for status in lifecycle.statuses
        }
        live = sum(count for status, count in counts.items() if not lifecycle.is_final(status))
        intake = state.ready_queue.intake
        if state.shared is None:
            now = state.ready_queue.counts()
        else:
            handled = () if intake.is_draining else state.ready_queue.handled.kinds
            now = await state.shared.ready_counts(handled, [*intake.pauses.by_kind])
            state.last_sequence = await state.shared.newest_sequence()
        return {
            "jobs": counts,
            "last_sequence": state.last_sequence,
            "answered": done.answered,
            "batches": done.rounds,
            "largest_batch": done.largest_round,
            "removed": done.removed,
            **now._asdict(),
            "waiting": live - now.ready - now.running - now.paused,
            "draining": intake.is_draining,
            "strays": len(state.ready_queue.strays),
            "attempts": done.attempts,
            "retried": done.retried,
            "expired": done.expired,
            "watchers": len(state.events),
        }


async def _in_status(status: str, sources: Sources) -> int:
    return (await sources.storage.count(JobFilter(status), MAX_INTEGER)).jobs


def checked_until(
    lifecycle: Lifecycle[Any], statuses: Collection[object] | None
) -> Collection[str]:
    """Check statuses to wait for; those that are final are among them anyway.

    Raises:
        InvalidValueError: The lifecycle doesn't have one of them.
    """
    if statuses is None:
        return lifecycle.final_values
    given: object = statuses
    if isinstance(given, str) or not isinstance(given, Collection):
        example = f"[{shown(lifecycle.running_value)}]"
        raise InvalidValueError(
            "until", f"must be a collection of statuses, such as {example}, not {shown(given)}"
        )
    return lifecycle.final_values | {lifecycle.value(each) for each in statuses}


def checked_watch(job_id: str | None, after: int | str | None) -> tuple[str | None, Cursor | None]:
    """Check a job id, and a sequence number or cursor to watch from.

    Raises:
        InvalidValueError: One of them is not right.
    """
    checked_id = None if job_id is None else check_job_id(job_id)
    if after is None:
        return checked_id, None
    if isinstance(after, str):
        return checked_id, parsed_cursor(after)
    return checked_id, Cursor(check_integer("after", after, 0))
