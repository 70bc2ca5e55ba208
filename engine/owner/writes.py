"""Writes: check out, decide, commit and publish the writes of a round, and answer them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from engine.domain.exceptions import (
    CommitUnknownError,
    EngineError,
    StorageDamagedError,
    StorageError,
    shown,
)
from engine.owner.batch import Batch
from engine.owner.commands.command import Write
from engine.owner.commands.expire import apply_deadlines
from engine.owner.committer import Committer
from engine.owner.message import refuse
from engine.owner.sources import Counters
from engine.owner.state import State
from engine.owner.waiting_claims import ServedClaim, WaitingClaims
from engine.portal.logs import TaskLogger
from engine.portal.time import Clock, read_clock
from engine.storage.protocol import CheckedOut, Names, Storage
from engine.storage.record import Record

logger = TaskLogger("engine")


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

    @property
    def is_committing(self) -> bool:
        """Whether a batch is on its way, so that a crash leaves its outcome unknown."""
        return self._committer.is_committing

    async def answer(self, messages: Sequence[Write]) -> None:
        """Check out, decide, commit, publish and answer the writes of a round."""
        now = read_clock(self._clock)  # a clock that fails is a bug
        served: Sequence[ServedClaim] = ()
        self.claims.add(messages)
        try:
            await self.settle()
            self._state.ready_queue.advance(now)
            named = await self._state.named_by(messages)
            batch, answers, served = self._decide(messages, named, now)
            while taken_id := await self._committer.commit(batch):
                # A new id belongs to an ended job: refuse that creation alone, and decide again.
                await self._check_out_again(batch, named, taken_id)
                batch, answers, served = self._decide(messages, named, now)
        except (StorageError, CommitUnknownError) as error:
            self._committer.is_committing = False
            if isinstance(error, CommitUnknownError):
                self.claims.doubt(served)
            self.claims.refuse_all(error)
            refuse([message for message in messages if not message.answered], error)
            return
        for message, answer in zip(messages, answers, strict=True):
            if answer is not None:
                message.answer(answer)
        self.claims.answer(served)
        self._committer.is_committing = False
        self._count(batch, served)

    def _count(self, batch: Batch, served: Sequence[ServedClaim]) -> None:
        self._counters.attempts += sum(len(each.records) for each in served)
        self._counters.retried += batch.retried
        self._counters.expired += len(batch.expired)
        for record in batch.expired:
            fields = {"job_id": record.job_id, "status": record.status}
            logger.info("job %s expired", record.job_id, extra=fields)

    async def settle(self) -> None:
        """Find out the outcome of an earlier commit, if it is unknown.

        Raises:
            StorageError: The outcome is still unknown.
        """
        if (applied := await self._committer.resolve()) is not None:
            self.claims.resolve(applied=applied)

    async def _check_out_again(self, batch: Batch, named: CheckedOut, taken_id: str) -> None:
        """Add the jobs that have the ids of new ones to the jobs that are named.

        Raises:
            StorageDamagedError: The storage has no job with the id that it says is taken.
        """
        others = batch.new_ids() - {taken_id}
        ended = await self._storage.checkout(Names([taken_id, *others]))
        ended.take_left_out()  # if one of these is taken, the commit says so
        named.add(ended)
        if taken_id not in named.ids.jobs and taken_id not in named.ids.damaged:
            raise StorageDamagedError(
                f"the storage says that the id {shown(taken_id)} is taken, but has no such job"
            )

    def _decide(
        self, messages: Sequence[Write], named: CheckedOut, now: datetime
    ) -> tuple[Batch, list[Sequence[Record] | EngineError | None], Sequence[ServedClaim]]:
        """Decide a round: return its batch, an answer for each write, and the claims served."""
        batch = Batch(
            self._state.lifecycle,
            now=now,
            last_sequence=self._state.last_sequence,
            last_position=self._state.last_position,
            named=named,
            find=self._state.table.find,
            is_orphan=self._state.ready_queue.orphans.has,
            strays=self._state.ready_queue.strays,
        )
        answers: list[Sequence[Record] | EngineError | None] = []
        for message in messages:
            try:
                if batch.has_late:
                    apply_deadlines(batch, message)
                answers.append(message.decide(batch))
            except EngineError as error:
                # Its traceback holds this frame: do not let this frame hold the traceback.
                answers.append(error.with_traceback(None))
        return batch, answers, self.claims.decide(batch)
