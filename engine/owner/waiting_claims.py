"""Waiting claims: give ready jobs to workers, in the batch in which they become ready.

A claim that finds no job waits, and every round that writes decides it again. So the commit that
records a payment also claims the job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from engine.domain.exceptions import EngineError
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
from engine.storage.record import Record

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

    def add(self, messages: Sequence[Write]) -> None:
        """Add the claims among the messages of a round."""
        claims = [each for each in messages if isinstance(each, ClaimJobs)]
        if claims:
            self._ready_queue.fill()
            self._waiting += claims

    def decide(self, batch: Batch) -> Sequence[ServedClaim]:
        """Give each claim its jobs, after all other decisions of the batch."""
        for record in self._still_unclaimed(batch):
            release(batch, record)
        if not self._waiting:
            return []
        claims = [each for each in self._waiting if not each.is_abandoned]
        served = [ServedClaim(each) for each in self._waiting if each.is_abandoned]
        if self._ready_queue.orphans:
            for each in claims:
                judge_orphans(batch, self._ready_queue.orphans, each.places)
        changed = batch.changed()
        fresh = sorted(filter(batch.is_ready, changed.values()), key=rank)
        offer = self._ready_queue.offer(changed, fresh)
        for each in claims:
            records = _serve(batch, offer, each.places)
            if records:
                served.append(ServedClaim(each, records))
        return served

    def _still_unclaimed(self, batch: Batch) -> list[Record]:
        """Return the unclaimed jobs that still have the same attempt, as they are now."""
        records = map(batch.newest, self._unclaimed.values())
        return [each for each in records if each and each.execution.token in self._unclaimed]

    def answer(self, served: Sequence[ServedClaim]) -> None:
        """Answer the claims of a committed batch."""
        for each in served:
            self._waiting.remove(each.claim)
            each.claim.answer(each.records)
            each.claim.notify()
        self._unclaimed.clear()  # the same commit released them

    def doubt(self, served: Sequence[ServedClaim]) -> None:
        """Keep the claims of a commit of unknown outcome."""
        self._in_doubt = list(chain.from_iterable(each.records for each in served))

    def resolve(self, *, applied: bool) -> None:
        """Take the outcome of that commit. If it was applied, the next batch releases its jobs."""
        if applied:  # no worker has them: their claims were refused
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
