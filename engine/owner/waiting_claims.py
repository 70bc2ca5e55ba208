"""Waiting claims: give ready jobs to workers, in the batch in which they become ready.

A claim that finds no job waits, and every round that writes decides it again. So the commit that
records a payment also claims the job.

A shared storage reserves ready jobs for this engine before the round decides; the same batch claims
them, or lets them go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from engine.domain.exceptions import EngineError
from engine.domain.validation import MAX_READ_CHARACTERS
from engine.owner.batch import Batch
from engine.owner.commands.claim import ClaimJobs, claim
from engine.owner.commands.command import Write
from engine.owner.commands.expire import expire
from engine.owner.commands.orphans import judge_orphans
from engine.owner.commands.release import release
from engine.owner.free_places import FreePlaces
from engine.owner.message import refuse
from engine.owner.offer import Offer
from engine.owner.ranked_jobs import rank
from engine.owner.ready_queue import ReadyQueue
from engine.owner.state import State
from engine.storage.record import Record, died_with
from engine.storage.shared import Shared

_MOST_LATE: Final = 200  # ready jobs that a round expires: as many as a step of the timers


@dataclass(frozen=True, slots=True)
class ServedClaim:
    """A claim that is answered in this round, and its jobs."""

    claim: ClaimJobs
    records: Sequence[Record] = field(default_factory=list)


class WaitingClaims:
    """Holds the claims that wait for jobs, and serves them.

    Args:
        ready_queue: Has the committed jobs that are ready.
    """

    def __init__(self, ready_queue: ReadyQueue) -> None:
        self._ready_queue = ready_queue
        self._waiting: list[ClaimJobs] = []
        self._in_doubt: list[Record] = []  # claimed in a commit of unknown outcome
        # Claimed, though their claims were refused; job ids by token.
        self._unclaimed: dict[str, str] = {}
        self._reserved: dict[str, Record] = {}
        self._has_lost_some = False  # a shared storage keeps jobs for this engine, unknown here
        self._shared: Shared | None = None
        # Kinds of which a shared storage had no more jobs to give, until there may be news.
        self._empty: set[str] = set()
        self._holds_back_suspects = False  # a shared storage may have more of the "empty" kinds

    def add(self, messages: Sequence[Write]) -> None:
        """Add the claims among the messages of a round."""
        claims = [each for each in messages if isinstance(each, ClaimJobs)]
        if claims:
            self._ready_queue.fill()
            self._waiting += claims

    def search_again(self) -> None:
        """Note that others may have made jobs of any kind ready in a shared storage."""
        self._empty.clear()

    @property
    def are_waiting(self) -> bool:
        """Whether a claim waits."""
        return bool(self._waiting)

    @property
    def have_left_some(self) -> bool:
        """Whether jobs are kept for claims that were refused: the next round lets them go."""
        return bool(self._reserved or self._unclaimed or self._has_lost_some)

    async def reserve(self, state: State) -> Sequence[Record]:
        """Have a shared storage reserve jobs for the claims; return all that are reserved.

        Raises:
            StorageError: It can't. What it has reserved all the same is found the next time.
        """
        shared = state.shared
        if shared is None:
            return ()
        self._shared = shared
        strays = self._ready_queue.strays
        if self._has_lost_some or strays.have_ended:
            strays.have_ended = False
            self._has_lost_some = True
            known = {*strays, *(record.job_id for record in state.table.records())}
            while held := await shared.held(known):
                for record in held:
                    self._keep(record)
                    known.add(record.job_id)
            self._has_lost_some = False
        if wanted := self._wanted():
            self._has_lost_some = True
            if self._holds_back_suspects and not self._ready_queue.has_suspect:
                self._holds_back_suspects = False
                self._empty.clear()
            for free, limit in wanted:
                kinds = {kind: its for kind, its in free.items() if kind not in self._empty}
                if not kinds:
                    continue
                await self._take(shared, kinds, limit)
            self._has_lost_some = False
        return tuple(self._reserved.values())

    async def _take(self, shared: Shared, kinds: Mapping[str, int], limit: int) -> None:
        """Have so many jobs reserved, one suspect among them, and none while one is at work."""
        suspects = not self._ready_queue.has_suspect
        taken = await shared.take(kinds, limit, suspects=suspects)
        for record in taken:
            self._keep(record)
            suspects = suspects and record.execution.died_attempt is None
        self._holds_back_suspects |= not suspects
        if len(taken) < limit:
            self._note_empty(kinds, taken)

    def _note_empty(self, kinds: Mapping[str, int], taken: Sequence[Record]) -> None:
        """Note which kinds gave less than they might have, though not for the size of the jobs."""
        if sum(record.characters for record in taken) < MAX_READ_CHARACTERS:
            given = Counter(record.kind for record in taken)
            self._empty |= {kind for kind, most in kinds.items() if given[kind] < most}

    def _keep(self, record: Record) -> None:
        self._reserved[record.job_id] = record
        token = record.execution.token
        if token is None:
            return
        if died_with(token) is None:  # a claim whose answer was lost
            self._unclaimed[token] = record.job_id
        else:
            self._ready_queue.orphans.add(record)

    def _wanted(self) -> list[tuple[dict[str, int], int]]:
        """Return how many jobs each claim can take now: of each kind, and in all."""
        intake = self._ready_queue.intake
        if intake.is_draining:
            return []
        room, paused = len(self._reserved), intake.pauses.by_kind
        wanted = []
        for places in (each.places for each in self._waiting if not each.is_abandoned):
            kinds = {
                kind: its.free
                for kind, its in places.kinds.items()
                if its.free > 0 and kind not in paused
            }
            if kinds and places.free > room:
                wanted.append((kinds, places.free - room))
        return wanted

    def decide(self, batch: Batch) -> Sequence[ServedClaim]:
        """Give each claim its jobs, after all other decisions of the batch."""
        served = self._serve_all(batch)
        if self._empty:
            left = (job.kind for job in batch.changed().values() if batch.is_ready(job))
            self._empty.difference_update(left)
        return served

    def _serve_all(self, batch: Batch) -> Sequence[ServedClaim]:
        for record in self._still_unclaimed(batch):
            release(batch, record)
        if not self._waiting and not self._reserved:
            return []
        is_draining = self._ready_queue.intake.is_draining
        claims = [each for each in self._waiting if not (each.is_abandoned or is_draining)]
        served = [ServedClaim(each) for each in self._waiting if each.is_abandoned]
        if self._ready_queue.orphans:
            for each in claims:
                judge_orphans(batch, self._ready_queue.orphans, each.places)
        changed = batch.changed()
        reserved = [job for job_id in self._reserved if (job := batch.newest(job_id)) is not None]
        own = self._own(changed, batch)
        offered = {job.job_id: job for job in (*own, *reserved) if batch.is_ready(job)}
        fresh = sorted(offered.values(), key=rank)
        offer = self._ready_queue.offer(changed, fresh)
        for each in claims:
            records = _serve(batch, offer, each.places)
            if records:
                served.append(ServedClaim(each, records))
        if reserved:
            self._let_go(batch)
        return served

    def _own(self, changed: Mapping[str, Record], batch: Batch) -> Collection[Record]:
        """Return the jobs that this batch changes and may give to a claim.

        In a shared storage, another engine may keep a job that was running before: for its claims,
        or because a stray thread holds it back.
        """
        if self._shared is None:
            return changed.values()
        started = batch.started_ids()
        return [job for job in changed.values() if job.job_id in started or batch.holds(job.job_id)]

    def _let_go(self, batch: Batch) -> None:
        """Change nothing about the reserved jobs that no claim has taken: that lets them go."""
        changed, running = batch.changed(), batch.lifecycle.running_value
        for job_id in self._reserved:
            record = None if job_id in changed else batch.newest(job_id)
            if record is not None and record.status == running:
                batch.amend(record, record.execution)
                self._ready_queue.orphans.forget(record)

    def _still_unclaimed(self, batch: Batch) -> list[Record]:
        """Return the unclaimed jobs that still have the same attempt, as they are now."""
        records = map(batch.newest, self._unclaimed.values())
        return [each for each in records if each and each.execution.token in self._unclaimed]

    def answer(self, served: Sequence[ServedClaim]) -> None:
        """Answer the claims of a committed batch."""
        self._reserved.clear()
        for each in served:
            self._waiting.remove(each.claim)
            each.claim.answer(each.records)
            each.claim.notify()
        self._wake_for_suspects()
        self._unclaimed.clear()  # the same commit released those that this engine still had

    def _wake_for_suspects(self) -> None:
        """Let another round begin if the last suspect has ended, and there may be a next one."""
        may_go_on = self._holds_back_suspects and not self._ready_queue.has_suspect
        if may_go_on and self._waiting and self._shared is not None:
            self._shared.wake()

    def doubt(self, served: Sequence[ServedClaim]) -> None:
        """Keep the claims of a commit of unknown outcome."""
        self._in_doubt = list(chain.from_iterable(each.records for each in served))

    def resolve(self, *, applied: bool) -> None:
        """Take the outcome of that commit. If it was applied, the next batch releases its jobs."""
        if applied:  # no worker has them: their claims were refused
            self._reserved.clear()
            self._has_lost_some = True
            self._unclaimed |= {each.execution.token or "": each.job_id for each in self._in_doubt}
        self._in_doubt = []

    def refuse_all(self, error: EngineError) -> None:
        """Answer all claims with an error."""
        refused, self._waiting = self._waiting, []
        refuse(refused, error)
        for each in refused:
            each.notify()


def _serve(batch: Batch, offer: Offer, places: FreePlaces) -> list[Record]:
    """Claim jobs for the free places, and expire the ready ones whose time is up.

    Gives up after many of these: the timers move the rest, and each of their rounds decides the
    claims again.
    """
    late = 0
    while late < _MOST_LATE and (taken := offer.take(places)):
        if in_time := [record for record in taken if not expire(batch, record)]:
            return [claim(batch, record) for record in in_time]
        late += len(taken)
    return []
