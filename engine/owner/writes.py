"""Writes: check out, decide, commit and publish the writes of a round, and answer them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import count
from typing import Final, NamedTuple

from engine.domain.exceptions import CommitUnknownError, EngineError, StorageError
from engine.owner.batch import Batch
from engine.owner.commands.claim import ClaimJobs
from engine.owner.commands.command import Write
from engine.owner.commands.expire import apply_deadlines
from engine.owner.committer import FATAL, Committer, InTheWay, Stored
from engine.owner.doubts import settle_doubts
from engine.owner.message import refuse
from engine.owner.sources import Counters
from engine.owner.state import State
from engine.owner.waiting_claims import ServedClaim, WaitingClaims
from engine.portal.logs import TaskLogger
from engine.portal.time import Clock, read_clock
from engine.storage.answers import CheckedOut, Found
from engine.storage.protocol import Storage
from engine.storage.record import Record

logger = TaskLogger("engine")

# For all messages together, if others write the same jobs; the first may go by what is old.
_MOST_ROUNDS: Final = 3


class Decided(NamedTuple):
    """A round that is decided, and not yet committed."""

    batch: Batch
    answers: Sequence[Sequence[Record] | EngineError | None]
    """One for each write; None for a claim, which waits, and for what is decided later."""
    served: Sequence[ServedClaim]
    later: Sequence[Write] = ()
    """The writes that are to be decided again behind this commit."""


class Writes:
    """Answers the writes of a round.

    Args:
        state: The committed jobs.
        storage: Makes changes durable.
        clock: Read once for each round.
        counters: Count attempts, retries and expired jobs.

    Attributes:
        claims: The claims that wait for jobs.
    """

    def __init__(self, state: State, storage: Storage, clock: Clock, counters: Counters) -> None:
        self.claims = WaitingClaims(state.ready_queue)
        self._state = state
        self._storage = storage
        self._clock = clock
        self._counters = counters
        self._committer = Committer(storage, state)
        self._decided: Decided | None = None  # in this round

    @property
    def is_committing(self) -> bool:
        """Whether a batch is on its way, so that a crash leaves its outcome unknown."""
        return self._committer.is_committing

    async def answer(self, messages: Sequence[Write]) -> None:
        """Check out, decide, commit, publish and answer the writes of a round."""
        may_wait = True
        while True:
            later = await self._answer_once(messages, may_wait=may_wait)
            if not later:
                return
            # If no message was answered, only deadlines or claims have changed jobs, and may go on.
            may_wait = len(later) < len(messages)
            messages = later

    async def _answer_once(self, messages: Sequence[Write], *, may_wait: bool) -> Sequence[Write]:
        """Answer the writes of a round; return those that are to be decided again behind them."""
        now = self._state.time_of(read_clock(self._clock))  # a clock that fails is a bug
        self.claims.add(messages)
        try:
            await self.settle()
            self._state.ready_queue.advance(now)
            reserved = await self.claims.reserve(self._state)
            written = await self._write(messages, reserved, now, may_wait=may_wait)
        except FATAL:
            raise
        except (StorageError, CommitUnknownError) as error:
            self._refuse(messages, error)
            return ()
        finally:
            self._decided = None  # its errors have tracebacks with frames of the callers
        if written is None:
            await self._answer_halves(messages)
            return ()
        decided, stored = written
        self._answer(messages, decided, stored)
        return decided.later

    async def _write(
        self,
        messages: Sequence[Write],
        reserved: Sequence[Record],
        now: datetime,
        *,
        may_wait: bool,
    ) -> tuple[Decided, Stored] | None:
        """Decide and commit messages, until nothing is in the way.

        Args:
            messages: The messages.
            reserved: The jobs that are reserved for claims.
            now: The time of the round.
            may_wait: Whether messages that are refused beside a change may be decided again.

        Returns:
            None if others write the same jobs again and again: nothing was applied.
        """
        named = await self._named_by(messages, reserved)
        for rounds in count(1):
            decided = self._decided = self._decide(messages, named, now, may_wait=may_wait)
            while self._goes_by_unread(decided, named):
                named = await self._named_by(messages, reserved)
                decided = self._decided = self._decide(messages, named, now, may_wait=may_wait)
            stored = await self._committer.commit(decided.batch)
            if not isinstance(stored, InTheWay):
                return decided, stored
            if stored.rules is not None:
                self._state.take_rules(stored.rules)
            elif rounds >= _MOST_ROUNDS and len(messages) > 1:
                break
            self._state.replace(named, stored.jobs, stored.gone)
        return None

    def _goes_by_unread(self, decided: Decided, named: CheckedOut) -> bool:
        """Return whether a job has to be read that nothing else compares with the stored one."""
        if self._state.shared is None:
            return False
        return self._state.lookup.forget_unread(named, decided.batch.changed())

    async def _named_by(self, messages: Sequence[Write], reserved: Sequence[Record]) -> CheckedOut:
        """Return the jobs that messages name, and those that are reserved for claims."""
        named = await self._state.lookup.named_by(messages)
        if reserved:
            taken = CheckedOut(Found({record.job_id: record for record in reserved}))
            self._state.replace(named, taken, ())
        return named

    async def _answer_halves(self, messages: Sequence[Write]) -> None:
        """Answer messages in smaller batches, which are less in the way of others."""
        half = len(messages) // 2
        for part in (messages[:half], messages[half:]):
            await self.answer([each for each in part if not isinstance(each, ClaimJobs)])

    def _answer(self, messages: Sequence[Write], decided: Decided, stored: Stored) -> None:
        for message, answer in zip(messages, decided.answers, strict=True):
            if isinstance(answer, EngineError):
                message.answer(answer)
            elif answer is not None:
                message.answer(stored(answer))
        served = [ServedClaim(each.claim, stored(each.records)) for each in decided.served]
        if self._state.shared is not None:
            for each in served:
                for record in each.records:
                    self._state.hold(record)
        self.claims.answer(served)
        self._committer.is_committing = False
        self._count(decided.batch, served)

    def _refuse(self, messages: Sequence[Write], error: StorageError | CommitUnknownError) -> None:
        self._committer.is_committing = False
        if isinstance(error, CommitUnknownError) and self._decided is not None:
            self.claims.doubt(self._decided.served)
        self.claims.refuse_all(error)
        refuse([message for message in messages if not message.answered], error)

    def _count(self, batch: Batch, served: Sequence[ServedClaim]) -> None:
        self._counters.attempts += sum(len(each.records) for each in served)
        self._counters.retried += batch.retried
        self._counters.expired += len(batch.expired)
        for record in batch.expired:
            fields = {"job_id": record.job_id, "status": record.status}
            logger.info("job %s expired", record.job_id, extra=fields)

    async def settle(self) -> None:
        """Find out the outcome of an earlier commit, if it is unknown, and settle all doubts.

        Raises:
            StorageError: The outcome is still unknown.
        """
        if (applied := await self._committer.resolve()) is not None:
            self.claims.resolve(applied=applied)
        await settle_doubts(self._state, self._storage, self._clock)

    def _decide(
        self, messages: Sequence[Write], named: CheckedOut, now: datetime, *, may_wait: bool
    ) -> Decided:
        """Decide a round."""
        numbers = self._state.newest_numbers
        batch = Batch(
            self._state.lifecycle,
            now=now,
            last_sequence=numbers.sequence,
            last_position=numbers.position,
            named=named,
            find=self._state.table.find,
            is_orphan=self._state.ready_queue.orphans.has,
            strays=self._state.ready_queue.strays,
            rules=self._state.rules,
        )
        answers: list[Sequence[Record] | EngineError | None] = []
        for message in messages:
            try:
                if batch.has_late:
                    apply_deadlines(batch, message)
                before = len(batch.changes)
                answers.append(message.decide(batch))
                if message.acted is not None:
                    batch.lines += message.lines(batch.changes[before:], now)
            except EngineError as error:
                # Its traceback holds this frame: do not let this frame hold the traceback.
                answers.append(error.with_traceback(None))
        served = self.claims.decide(batch)
        later: Sequence[Write] = ()
        if self._state.shared is not None:
            later = _tie_together(batch, messages, answers, may_wait=may_wait)
        return Decided(batch, answers, served, later)


def _tie_together(
    batch: Batch,
    messages: Sequence[Write],
    answers: list[Sequence[Record] | EngineError | None],
    *,
    may_wait: bool,
) -> Sequence[Write]:
    """Let each answer about several jobs be true of one moment, if the batch changes one of these.

    Others may change another one between its read and the commit. So the commit compares all that
    an answer shows. Takes back the answers of messages that are refused beside a change, if these
    may wait: the reason may be a job that is not there, which nothing can compare.

    Returns:
        These messages, which are to be decided again.
    """
    changed = batch.changed()
    compared: dict[str, Record] = {}
    later: list[Write] = []
    for place, (message, answer) in enumerate(zip(messages, answers, strict=True)):
        jobs = {record.job_id: record for record in batch.jobs_named_by(message)}
        if isinstance(answer, EngineError):
            names = {*message.job_ids, *message.keys, *message.payments}
            if may_wait and len(names) > 1 and not changed.keys().isdisjoint(jobs):
                later.append(message)
                answers[place] = None
        elif answer:
            jobs |= {record.job_id: record for record in answer}
            if not changed.keys().isdisjoint(jobs):
                compared |= {each: jobs[each] for each in jobs if each not in changed}
    for record in compared.values():
        batch.compare(record)
    return later
