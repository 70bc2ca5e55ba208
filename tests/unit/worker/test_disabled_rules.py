"""A handler's error may disable the rule that made its follow-up, until `enable_rule`."""

from __future__ import annotations

from typing import Any

import pytest

from engine import (
    FollowUp,
    Handler,
    InvalidValueError,
    Job,
    JobEngine,
    JobStatus,
    Retry,
    SyncJobEngine,
    Worker,
)
from engine.worker.handler import HandlerFunction
from tests.tries import thorough
from tests.unit.claiming import NewPlace

pytestmark = pytest.mark.anyio
COMPLETED, FAILED = JobStatus.COMPLETED, JobStatus.FAILED
TELL = FollowUp("tell", to={COMPLETED})


class GoneError(Exception):
    retryable = False
    disables_rule = True


class OddlyGoneError(Exception):
    disables_rule = "yes"


async def told(_: Job[Any]) -> str:
    return "told"


async def gone(_: Job[Any]) -> None:
    raise GoneError


def gone_in_a_process(_: Job[Any]) -> None:
    raise GoneError


async def oddly_gone(_: Job[Any]) -> None:
    raise OddlyGoneError


async def ended(engine: JobEngine[JobStatus]) -> Job[JobStatus]:
    """Let a job end, and its follow-ups."""
    job = await engine.create("a hash")
    await engine.transition(job.job_id, JobStatus.RUNNING)
    await engine.transition(job.job_id, COMPLETED, result="done")
    return await engine.wait(job.job_id, follow_ups=True)


async def followed(engine: JobEngine[JobStatus]) -> list[JobStatus]:
    """Return the statuses of the follow-ups of a job that ends now."""
    job = await ended(engine)
    return [each.status for each in await engine.follow_ups(job.job_id)]


@pytest.mark.parametrize("handler", [gone, *thorough(gone_in_a_process)])
async def test_a_rule_stays_disabled_through_openings_until_it_is_enabled(
    lasting_place: NewPlace, handler: HandlerFunction
) -> None:
    processes = handler is gone_in_a_process
    async with JobEngine(lasting_place(), follow_ups=[TELL]) as engine:
        async with Worker(engine, {"tell": handler}, processes=processes):
            assert await followed(engine) == [FAILED]
            assert await followed(engine) == []
        assert [rule.disabled for rule in await engine.rules()] == [True]
    async with (
        JobEngine(lasting_place(), follow_ups=[TELL]) as engine,
        Worker(engine, {"tell": told}),
    ):
        assert await followed(engine) == []
        assert await engine.backfill("tell") == 0
        assert await engine.enable_rule("tell")
        assert await engine.rules() == [TELL]
        assert await followed(engine) == [COMPLETED]
        assert await engine.backfill("tell") == 2
        assert not await engine.enable_rule("unheard-of")


async def test_what_a_program_says_itself_goes_first(lasting_place: NewPlace) -> None:
    for disabled, expected in ((True, True), (None, True), (False, None), (None, None)):
        rule = FollowUp("tell", to={COMPLETED}, disabled=disabled)
        async with JobEngine(lasting_place(), follow_ups=[rule]) as engine:
            assert [each.disabled for each in await engine.rules()] == [expected]
    with pytest.raises(InvalidValueError, match="disabled must be True or False"):
        FollowUp("tell", to={COMPLETED}, disabled="no")  # type: ignore[arg-type]


async def test_another_value_disables_nothing() -> None:
    once = Handler(oddly_gone, retry=Retry(1))
    async with JobEngine(follow_ups=[TELL]) as engine, Worker(engine, {"tell": once}):
        assert await followed(engine) == [FAILED]
        assert await followed(engine) == [FAILED]
        assert await engine.rules() == [TELL]


async def test_it_is_disabled_for_all_engines_of_a_database(postgres_url: str) -> None:
    async with (
        JobEngine(postgres_url, follow_ups=[TELL]) as one,
        JobEngine(postgres_url) as other,
        Worker(one, {"tell": gone}),
    ):
        assert await followed(other) == [FAILED]
        assert await followed(other) == []
        assert await followed(one) == []


async def test_a_blocking_engine_enables_it(lasting_place: NewPlace) -> None:
    async with JobEngine(
        lasting_place(), follow_ups=[FollowUp("tell", to={COMPLETED}, disabled=True)]
    ):
        pass
    with SyncJobEngine(lasting_place(), may_block_event_loop=True) as engine:
        assert engine.enable_rule("tell")
        assert engine.rules() == [TELL]
        assert engine.disable_rule("tell")
        assert [rule.disabled for rule in engine.rules()] == [True]
        assert not engine.disable_rule("unheard-of")


async def test_a_disabled_rule_creates_nothing_until_it_is_enabled() -> None:
    async with JobEngine(follow_ups=[TELL]) as engine, Worker(engine, {"tell": told}):
        assert await engine.disable_rule("tell")
        assert await followed(engine) == []
        assert await engine.enable_rule("tell")
        assert await followed(engine) == [COMPLETED]
