"""Creating: kinds, labels, payments, births, and the hash of an input."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    IdempotencyConflictError,
    InvalidValueError,
    Job,
    JobEngine,
    JobStatus,
    NewJob,
    PaymentInUseError,
)
from engine.domain.deadlines import Deadline
from engine.domain.ids import derived_id
from engine.testing import Lab, VirtualClock
from engine.testing.facades import FACADES, Engine, opened_engine
from tests.unit.claiming import Claim, NewPlace, claimed_one, release

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(params=FACADES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Any:  # noqa: ANN401 - either facade
    async with opened_engine(request.param, tmp_path / "jobs.db") as opened:
        yield opened


async def test_a_job_has_the_kind_and_the_labels_that_it_was_created_with(engine: Engine) -> None:
    plain = await engine.create("hash")
    assert (plain.kind, plain.labels) == ("default", {})
    labels = {"customer": "c17", "Ärea": "x" * 256}
    job = await engine.create("hash", kind="report.v2", labels=labels)
    [again] = await engine.create_many([NewJob("hash", kind="report.v2", labels=labels)])
    assert (job.kind, job.labels) == (again.kind, again.labels) == ("report.v2", labels)
    await engine.transition(job.job_id, JobStatus.RUNNING)
    done = await engine.transition(job.job_id, JobStatus.COMPLETED)
    assert (await engine.get(job.job_id)) == done
    assert (done.kind, done.labels) == ("report.v2", labels)


@pytest.mark.parametrize("kind", ["", "A", "a b", "ä", "a" * 65, "a\n", None, 1])
async def test_a_kind_is_a_short_plain_text(engine: Engine, kind: Any) -> None:  # noqa: ANN401 - wrong on purpose
    with pytest.raises(InvalidValueError, match="kind must be 1 to 64 of a-z"):
        await engine.create("hash", kind=kind)
    assert (await engine.create("hash", kind="a-z_0.9" + "a" * 57)).version == 1


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ({f"name {number}": "x" for number in range(17)}, "has 17 of them"),
        ({"": "x"}, "must have 1 to 64 characters"),
        ({"n" * 65: "x"}, "must have 1 to 64 characters"),
        ({"a=b": "x"}, "has a name with `=`: 'a=b'"),
        ({"name": ""}, "must have 1 to 256 characters"),
        ({"name": "x" * 257}, "must have 1 to 256 characters"),
        ({"name": 3}, "must be a str"),
        ({3: "x"}, "must be a str"),
        (["name"], "must map names to texts"),
    ],
)
async def test_labels_are_few_short_texts(labels: Any, problem: str) -> None:  # noqa: ANN401 - wrong on purpose
    async with JobEngine() as engine:
        with pytest.raises(InvalidValueError, match=problem):
            await engine.create("hash", labels=labels)
        assert await engine.count() == 0


async def test_an_input_hash_is_that_of_the_input(engine: Engine) -> None:
    given = {"b": [1.0, True], "a": "ü"}
    job = await engine.create(input=given)
    canonical = '{"a":"ü","b":[1,true]}'.encode()
    assert job.input_hash == sha256(canonical).hexdigest()
    assert (await engine.create(input=dict(reversed(given.items())))).input_hash == job.input_hash
    assert (await engine.create()).input_hash == sha256(b"null").hexdigest()
    assert (await engine.create(input=2**53 - 1)).input_hash == sha256(
        b"9007199254740991"
    ).hexdigest()
    with pytest.raises(InvalidValueError, match="give an input_hash, or the integer as a text"):
        await engine.create(input={"n": 2**53})
    assert (await engine.create("hash", input={"n": 2**53})).input == {"n": 2**53}


@pytest.mark.parametrize("given", [{"a": 1}, [1]])
async def test_an_input_in_the_place_of_a_hash_is_noticed(engine: Engine, given: Any) -> None:  # noqa: ANN401 - wrong on purpose
    with pytest.raises(InvalidValueError, match=r"input_hash must .* give an input as `input=`"):
        await engine.create(given)


async def test_a_payment_pays_for_one_job(engine: Engine) -> None:
    job = await engine.create("hash", payment_id="p1", idempotency_key="key")
    assert job.payment_id == job.blockchain_identifier == "p1"
    unpaid = await engine.create("hash")
    assert unpaid.payment_id is None
    assert unpaid.blockchain_identifier == f"mock_bc_{unpaid.job_id}"
    with pytest.raises(PaymentInUseError) as caught:
        await engine.create("other", payment_id="p1")
    assert caught.value.payment_id == "p1"
    assert job.job_id not in str(caught.value)
    with pytest.raises(PaymentInUseError):
        await engine.create_many([NewJob("a", payment_id="p2"), NewJob("b", payment_id="p2")])
    assert await engine.count() == 2
    await engine.create("hash", payment_id="p2")


async def test_a_payment_of_an_ended_job_is_in_use(engine: Engine) -> None:
    job = await engine.create("x" * 200, payment_id="p1", start=True)
    await engine.transition(job.job_id, JobStatus.COMPLETED, result="r" * 200_000)
    with pytest.raises(PaymentInUseError):
        await engine.create("other", payment_id="p1")


async def test_the_key_is_judged_before_the_payment(engine: Engine) -> None:
    job = await engine.create("hash", payment_id="p1", idempotency_key="key")
    assert await engine.create("hash", payment_id="p1", idempotency_key="key") == job
    assert await engine.create("hash", idempotency_key="key") == job
    with pytest.raises(IdempotencyConflictError, match="payment_id"):
        await engine.create("hash", payment_id="p2", idempotency_key="key")
    with pytest.raises(IdempotencyConflictError, match="kind"):
        await engine.create("hash", kind="other", idempotency_key="key")
    labelled = {"labels": {"a": "b"}, "priority": 5, "reason": "again"}
    assert await engine.create("hash", idempotency_key="key", **labelled) == job


async def test_the_default_name_of_a_payment_is_reserved(engine: Engine) -> None:
    with pytest.raises(InvalidValueError, match="payment_id must not begin with mock_bc_"):
        await engine.create("hash", payment_id="mock_bc_of mine")


async def test_a_job_may_be_born_running_in_one_transition(engine: Engine) -> None:
    job: Job = await engine.create(input=1, start=True, by="the shop", reason="free of charge")
    assert (job.status, job.version, job.started_at) == (JobStatus.RUNNING, 1, job.created_at)
    [birth] = await engine.history(job.job_id)
    assert (birth.from_status, birth.to_status) == (None, JobStatus.RUNNING)
    assert (birth.by, birth.reason) == ("the shop", "free of charge")
    waiting = await engine.create()
    assert waiting.started_at is None
    started = await engine.transition(waiting.job_id, JobStatus.RUNNING)
    assert started.started_at == started.updated_at


async def test_a_job_tells_the_number_of_its_newest_transition(engine: Engine) -> None:
    first, second = await engine.create(), await engine.create()
    assert (first.sequence, second.sequence) == (1, 2)
    running = await engine.transition(first.job_id, JobStatus.RUNNING)
    done = await engine.transition(first.job_id, JobStatus.COMPLETED, result="r" * 200_000)
    assert (running.sequence, done.sequence) == (3, 4)
    assert [each.sequence for each in (await engine.list_jobs()).jobs] == [4, 2]
    assert (await engine.get(first.job_id)).sequence == 4


@pytest.mark.parametrize("case", [str.lower, str.upper, str.swapcase, str.title])
async def test_ids_of_derived_jobs_are_the_engines_own(case: Callable[[str], str]) -> None:
    own = derived_id("parent", "1")
    assert own == derived_id("parent", "1") != derived_id("parent1")
    async with JobEngine(new_id=lambda: case(own)) as engine:
        with pytest.raises(InvalidValueError, match="UUID of version 8"):
            await engine.create()


async def test_not_before_delays_the_claim_and_the_deadline_of_running() -> None:
    begun: list[datetime] = []

    async def work(job: Job[AgentJobStatus]) -> None:
        assert job.claimed_at is not None
        begun.append(job.claimed_at)

    clock = VirtualClock(NOON)
    async with Lab(work, lifecycle=AGENT_JOB_LIFECYCLE, clock=clock) as lab:
        hour, deadlines = timedelta(hours=1), {AgentJobStatus.RUNNING: timedelta(minutes=5)}
        late = await lab.engine.create(start=True, not_before=hour, deadlines=deadlines)
        assert late.not_before == late.next_attempt_at == NOON + hour
        assert late.deadline_at == NOON + hour + timedelta(minutes=5)
        past = await lab.engine.create(start=True, not_before=NOON - hour)
        assert past.next_attempt_at is None
        assert (await lab.finish(past)).status is AgentJobStatus.COMPLETED
        ended = await lab.finish(late)
        assert ended.error is None
        assert ended.status is AgentJobStatus.COMPLETED
        assert begun == [NOON, NOON + hour]
        assert (await lab.engine.get(late.job_id)).not_before == NOON + hour


async def test_not_before_survives_a_restart(tmp_path: Path) -> None:
    clock = VirtualClock(NOON)
    path = tmp_path / "jobs.db"
    async with JobEngine(path, clock=clock) as engine:
        job = await engine.create(start=True, not_before=timedelta(hours=1))
        unpaid = await engine.create(not_before=NOON + timedelta(days=1))
    async with JobEngine(path, clock=clock) as engine:
        assert await engine.get(job.job_id) == job
        assert (await engine.statistics()).ready == 0
        await clock.advance(timedelta(hours=2))
        running = await engine.transition(unpaid.job_id, JobStatus.RUNNING)
        assert running.next_attempt_at == NOON + timedelta(days=1)
        await engine.create()  # a round, which readies what is due
        assert (await engine.statistics()).ready == 1


@pytest.mark.parametrize("end", ["failed", "failed, with a delay", "released", "died"])
async def test_no_later_attempt_comes_before_it_when_the_clock_was_set_back(
    end: str, lasting_place: NewPlace
) -> None:
    clock, hour = VirtualClock(NOON), timedelta(hours=1)
    async with JobEngine(lasting_place(), clock=clock) as engine:
        job = await engine.create(start=True, not_before=hour)
        await clock.advance(hour)
        _, token = await claimed_one(engine)
        clock.jump(-hour / 2)
        if end != "died":
            delay = 600 if end == "failed, with a delay" else 0
            await release(engine, job.job_id, token, delay, failed=end != "released")
    async with JobEngine(lasting_place(), clock=clock) as engine:
        claim = await Claim(engine.core).seen()
        assert not claim.is_told
        assert (await engine.get(job.job_id)).next_attempt_at == NOON + hour
        assert (await engine.statistics()).ready == 0
        await clock.advance(hour / 2)
        [record] = await claim.records()
        assert record.job_id == job.job_id


@pytest.mark.parametrize("given", [timedelta(0), datetime(2026, 1, 1), 5, "noon"])  # noqa: DTZ001 - without a zone
async def test_not_before_is_a_time(engine: Engine, given: Any) -> None:  # noqa: ANN401 - wrong on purpose
    with pytest.raises(InvalidValueError, match="not_before"):
        await engine.create(not_before=given)


async def test_deadlines_stay_readable_after_they_are_met() -> None:
    async with JobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        deadlines: dict[AgentJobStatus, Deadline] = {
            AgentJobStatus.AWAITING_PAYMENT: timedelta(hours=1),
            AgentJobStatus.RUNNING: NOON,
        }
        job = await engine.create(deadlines=deadlines)
        ended = await engine.cancel(job.job_id)
        assert ended.deadlines == job.deadlines == deadlines
        assert ended.deadline_at is None
        assert json.loads(ended.model_dump_json())["deadlines"]["awaiting_payment"] == "PT1H"


async def test_jobs_can_be_put_into_a_set(engine: Engine) -> None:
    job = await engine.create(input={"a": 1}, labels={"a": "b"})
    assert {job, await engine.get(job.job_id)} == {job}
