"""The batch: what it takes back, and how much a claim may expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from engine import ORDER_LIFECYCLE, InvalidStateTransitionError, JobNotFoundError, Retry
from engine.domain.deaths import DeathRule
from engine.owner.batch import Batch
from engine.owner.free_places import FreePlaces, KindPlaces
from engine.owner.offer import Offer
from engine.owner.ranked_jobs import RankedByKind
from engine.owner.waiting_claims import _serve
from engine.storage.answers import CheckedOut
from engine.storage.record import Execution, Record
from engine.storage.table import Table

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATE = Execution(deadline_at=NOON, deadline_since=NOON - timedelta(hours=1))


def record(name: str, execution: Execution = LATE) -> Record:
    return Record(name, "running", "hash", None, NOON, NOON, 1, execution=execution)


def batch(*records: Record) -> Batch:
    named = CheckedOut()
    named.ids.jobs.update({each.job_id: each for each in records})
    return Batch(
        ORDER_LIFECYCLE,
        now=NOON,
        last_sequence=7,
        last_position=7,
        named=named,
        find=Table(records).find,
        is_orphan=lambda _: False,
        strays=(),
    )


def test_a_recorded_payment_is_taken_back_with_its_bulk_call() -> None:
    job, kept = record("a"), record("b")
    changes = batch(job, kept)
    changes.record_payment(kept, "q")

    def pay(changes: Batch, job_id: str) -> Record:
        return changes.record_payment(changes.job(job_id), "p")

    with pytest.raises(JobNotFoundError):
        changes.all_or_none(["a", "unheard of"], pay)
    assert changes.job_with_payment("p") is None
    assert changes.job("a") == job
    assert changes.job_with_payment("q") == changes.job("b")
    assert [change.is_payment for change in changes.changes] == [True]

    def pay_and_move(changes: Batch, job_id: str) -> Record:
        paid = changes.record_payment(changes.job(job_id), "p")
        changes.lifecycle.validate(paid.status, "awaiting_payment")
        return paid

    with pytest.raises(InvalidStateTransitionError):
        changes.all_or_none(["a"], pay_and_move)
    assert changes.job_with_payment("p") is None


def test_a_claim_expires_a_bounded_number_of_jobs() -> None:
    late = [record(f"late {number}") for number in range(250)]
    good = record("good", Execution())
    table = Table([*late, good])
    rule = DeathRule(3, idempotent=True, retry=Retry())
    for ready, expected in (([*late[:190], good], [good.job_id]), ([*late, good], [])):
        changes = batch()
        offer = Offer(RankedByKind(table.find), RankedByKind(table.find), (), ready, 1)
        served = _serve(changes, offer, FreePlaces(10, {"default": KindPlaces(10, rule)}))
        assert [each.job_id for each in served] == expected
        assert len(changes.expired) == min(len(ready) - len(expected), 200)
