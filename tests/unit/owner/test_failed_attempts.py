"""Failed attempts: each leaves its error, with the change that ends it; a good life leaves none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    ORDER_LIFECYCLE,
    FailedAttempt,
    JobEngine,
    JobNotFoundError,
    Lifecycle,
    Outcome,
    StorageFullError,
)
from engine.domain.deaths import NOT_REPEATED
from engine.domain.lifecycle import Event
from engine.owner.commands.finish import FinishJob
from engine.owner.commands.release import Failed, ReleaseJob
from engine.storage.record import KEPT_ATTEMPTS
from engine.testing.facades import FACADES, Engine, opened_engine
from engine.testing.virtual_clock import VirtualClock
from tests.proof.storages import PlainStorage
from tests.unit.claiming import (
    Claim,
    NewPlace,
    agents,
    claimed_one,
    release,
    running,
)
from tests.unit.failing import FailingStorage
from tests.unit.worker.at_work import COMPLETED, FAILED, RUNNING

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


async def fail(engine: Any, job_id: str, token: str, error: str, **how: Any) -> None:  # noqa: ANN401
    """End an attempt by an error, as a worker does."""
    await engine.core.ask(ReleaseJob(job_id, token, failed=Failed(error, **how)))


async def test_every_failed_attempt_is_kept_with_its_error(new_place: NewPlace) -> None:
    clock = VirtualClock()
    async with agents(new_place(), clock=clock) as engine:
        job = await running(engine)
        expected = []
        for number, (error, outcome) in enumerate(
            (("OSError: no paper", Outcome.FAILED), ("killed", Outcome.DIED), ("", Outcome.FAILED)),
            start=1,
        ):
            _, token = await claimed_one(engine)
            began_at = clock()
            await clock.advance(number)
            await fail(engine, job.job_id, token, error, is_death=outcome is Outcome.DIED)
            expected.append(
                FailedAttempt(
                    number=number,
                    began_at=began_at,
                    ended_at=clock(),
                    outcome=outcome,
                    error=error,
                )
            )
            assert await engine.attempts(job.job_id) == expected
            now = await engine.get(job.job_id)
            assert (now.last_error, now.error, now.claimed_at) == (error, None, began_at)
        assert (now.failures, now.deaths, now.attempt) == (2, 1, 3)
        assert len(await engine.history(job.job_id)) == 2, "attempts are no transitions"


async def test_the_last_error_stays_when_the_job_ends_well(lasting_place: NewPlace) -> None:
    async with agents(lasting_place()) as engine:
        job = await running(engine)
        _, token = await claimed_one(engine)
        await fail(engine, job.job_id, token, "OSError: no paper")
        _, token = await claimed_one(engine)
        done = await engine.transition(job.job_id, COMPLETED, attempt_token=token)
        assert (done.last_error, done.error) == ("OSError: no paper", None)
        attempts = await engine.attempts(job.job_id)
    async with agents(lasting_place()) as engine:
        assert await engine.get(job.job_id) == done
        assert await engine.attempts(job.job_id) == attempts
        assert [each.error for each in attempts] == ["OSError: no paper"]


async def test_a_job_that_runs_well_has_no_failed_attempts(engine: Engine) -> None:
    job = await engine.create("hash", start=True)
    assert await engine.attempts(job.job_id) == []
    with pytest.raises(JobNotFoundError):
        await engine.attempts("unheard of")


@pytest.mark.parametrize("facade", FACADES)
async def test_both_engines_show_them(facade: type[Any], lasting_place: NewPlace) -> None:
    async with agents(lasting_place()) as engine:
        job = await running(engine)
        _, token = await claimed_one(engine)
        await fail(engine, job.job_id, token, "OSError: no paper")
    async with opened_engine(facade, lasting_place(), lifecycle=AGENT_JOB_LIFECYCLE) as either:
        [attempt] = await either.attempts(job.job_id)
        assert isinstance(attempt, FailedAttempt)
        assert (attempt.number, attempt.error) == (1, "OSError: no paper")
        assert FailedAttempt.model_validate_json(attempt.model_dump_json()) == attempt
        assert (await either.get(job.job_id)).last_error == attempt.error


async def test_only_the_newest_are_kept_and_only_the_beginning_of_an_error(
    new_place: NewPlace,
) -> None:
    async with agents(new_place()) as engine:
        job = await running(engine)
        for number in range(KEPT_ATTEMPTS + 3):
            _, token = await claimed_one(engine)
            await fail(engine, job.job_id, token, f"{number:02}" + "x" * 5_000)
        attempts = await engine.attempts(job.job_id)
        assert [each.number for each in attempts] == [*range(4, KEPT_ATTEMPTS + 4)]
        assert [each.error[:2] for each in attempts] == [f"{n:02}" for n in range(3, 23)]
        assert {len(each.error) for each in attempts} == {4_000}
        assert (await engine.get(job.job_id)).last_error == attempts[-1].error


@pytest.mark.parametrize("how", ["released", "cancelled", "expired", "moved", "asked to stop"])
async def test_an_attempt_that_is_cut_short_has_not_failed(how: str) -> None:
    clock = VirtualClock()
    async with agents(clock=clock) as engine:
        job = await running(engine, deadlines={RUNNING: HOUR})
        _, token = await claimed_one(engine)
        if how == "released":
            await release(engine, job.job_id, token, failed=False)
        elif how == "expired":
            await clock.advance(3_600)
        elif how == "moved":
            await engine.transition(job.job_id, COMPLETED, attempt_token=token)
        else:
            await engine.cancel(job.job_id)
            if how == "cancelled":
                await release(engine, job.job_id, token, failed=False)
        assert await engine.attempts(job.job_id) == []
        assert (await engine.get(job.job_id)).last_error is None


@pytest.mark.parametrize("last", [False, True])
async def test_a_failure_before_the_wish_to_cancel_is_known_is_kept(*, last: bool) -> None:
    async with agents() as engine:
        job = await running(engine)
        _, token = await claimed_one(engine)
        await engine.cancel(job.job_id, "enough")
        if last:
            await engine.core.ask(FinishJob(job.job_id, token, Event.EXHAUST, error="no paper"))
        else:
            await fail(engine, job.job_id, token, "no paper")
        ended = await engine.get(job.job_id)
        assert (ended.status, ended.last_error) == (FAILED, "no paper")
        assert [each.error for each in await engine.attempts(job.job_id)] == ["no paper"]


async def test_a_death_is_kept_when_a_later_engine_judges_it(lasting_place: NewPlace) -> None:
    clock = VirtualClock()
    async with agents(lasting_place(), clock=clock) as engine:
        jobs = [await running(engine) for _ in range(2)]
        began_at = clock()
        for _ in jobs:
            await claimed_one(engine)
    await clock.advance(60)
    async with agents(lasting_place(), clock=clock) as engine:
        assert await engine.attempts(jobs[0].job_id) == []
        await Claim(engine.core).seen()
        for job in jobs:
            [died] = await engine.attempts(job.job_id)
            assert (died.number, died.outcome) == (1, Outcome.DIED)
            assert (died.began_at, died.ended_at) == (began_at, began_at + timedelta(minutes=1))
            assert died.error == "the process ended during attempt 1"
            assert (await engine.get(job.job_id)).last_error == died.error


async def test_the_last_death_says_why_it_is_the_last(lasting_place: NewPlace) -> None:
    async with agents(lasting_place()) as engine:
        job = await running(engine)
        await claimed_one(engine)
    async with agents(lasting_place()) as engine:
        await Claim(engine.core, idempotent=False).seen()
        ended = await engine.get(job.job_id)
        assert ended.error == f"the process ended during attempt 1, and {NOT_REPEATED}"
        assert (ended.last_error, ended.outcome) == (ended.error, Outcome.DIED)
        assert [each.error for each in await engine.attempts(job.job_id)] == [ended.error]


@pytest.mark.parametrize("lifecycle", [AGENT_JOB_LIFECYCLE, ORDER_LIFECYCLE])
@pytest.mark.parametrize("event", [Event.FAIL, Event.EXHAUST, Event.DIE])
async def test_the_attempt_that_ends_its_job_counts(
    new_place: NewPlace, lifecycle: Lifecycle[Any], event: Event
) -> None:
    async with JobEngine(new_place(), lifecycle=lifecycle) as engine:
        job = await engine.create(start=True)
        for is_death in (True, False):
            _, token = await claimed_one(engine)
            await fail(engine, job.job_id, token, "no paper", is_death=is_death)
        _, token = await claimed_one(engine)
        await engine.core.ask(FinishJob(job.job_id, token, event, error="no paper"))
        now = await engine.get(job.job_id)
        died = event is Event.DIE
        assert (now.attempt, now.failures, now.deaths) == (3, 2 - died, 1 + died)


@pytest.mark.parametrize("lifecycle", [AGENT_JOB_LIFECYCLE, ORDER_LIFECYCLE])
@pytest.mark.parametrize("how", [{"idempotent": False}, {"max_deaths": 1}])
async def test_the_death_that_ends_its_job_counts(
    lasting_place: NewPlace, lifecycle: Lifecycle[Any], how: dict[str, Any]
) -> None:
    async with JobEngine(lasting_place(), lifecycle=lifecycle) as engine:
        job = await engine.create(start=True)
        await claimed_one(engine)
    async with JobEngine(lasting_place(), lifecycle=lifecycle) as engine:
        await Claim(engine.core, **how).seen()
        now = await engine.get(job.job_id)
        assert (now.status.value == "running", now.attempt) == (False, 1)
        assert (now.failures, now.deaths) == (0, 1)
        if lifecycle is ORDER_LIFECYCLE:
            again = await engine.retry(job.job_id)
            assert (again.failures, again.deaths) == (0, 0)


@pytest.mark.parametrize("end", ["cancel", "transition", "deadline", "retry"])
async def test_whatever_ends_a_dead_attempt_keeps_its_death(
    lasting_place: NewPlace, end: str
) -> None:
    clock = VirtualClock()
    async with agents(lasting_place(), clock=clock) as engine:
        job = await running(engine, deadlines={RUNNING: HOUR})
        await claimed_one(engine)
    async with agents(lasting_place(), clock=clock) as engine:
        if end == "cancel":
            await engine.cancel(job.job_id)
        elif end == "transition":
            await engine.transition(job.job_id, COMPLETED)
        elif end == "retry":
            await engine.retry(job.job_id)
        else:
            await clock.advance(3_600)
        [died] = await engine.attempts(job.job_id)
        assert (died.number, died.outcome) == (1, Outcome.DIED)
        now = await engine.get(job.job_id)
        assert (now.last_error, now.deaths) == (died.error, 0), "no rule has counted it"


async def test_an_attempt_that_ends_before_it_began_by_the_clock_ends_when_it_began() -> None:
    clock = VirtualClock()
    async with agents(clock=clock) as engine:
        job = await running(engine)
        _, token = await claimed_one(engine)
        began_at = clock()
        clock.jump(-HOUR)
        await fail(engine, job.job_id, token, "no paper")
        [attempt] = await engine.attempts(job.job_id)
        assert (attempt.began_at, attempt.ended_at) == (began_at, began_at)


async def test_a_failure_and_its_error_are_one_commit() -> None:
    storage = FailingStorage()
    async with agents(storage) as engine:
        job = await running(engine)
        _, token = await claimed_one(engine)
        before = await engine.get(job.job_id)
        storage.failures = [StorageFullError("full")]
        with pytest.raises(StorageFullError):
            await fail(engine, job.job_id, token, "no paper")
        assert await engine.get(job.job_id) == before
        assert await engine.attempts(job.job_id) == []
        await fail(engine, job.job_id, token, "no paper")
        [change] = storage.batches[-1]
        assert change.failed_attempt is not None
        assert change.record.execution.last_error == change.failed_attempt.error == "no paper"


async def test_attempts_go_with_their_job() -> None:
    storage = PlainStorage()
    async with agents(storage, new_id=lambda: "one") as engine:
        job = await running(engine)
        _, token = await claimed_one(engine)
        await engine.core.ask(FinishJob(job.job_id, token, Event.FAIL, error="no paper"))
        await storage.remove_ended(None, 0, 1)
        engine.core.state.forget_all()
        await running(engine)
        assert await engine.attempts("one") == []
