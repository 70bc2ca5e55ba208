"""Each transition has one follow-up by each rule, whoever decides it and however often."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from engine import (
    ORDER_LIFECYCLE,
    CommitUnknownError,
    InvalidStateTransitionError,
    InvalidValueError,
    Job,
)
from engine import OrderStatus as S
from engine.domain.follow_up_rule import follow_up_id
from engine.testing.facades import FACADES, Engine, opened_engine
from tests.unit.follow_ups.conftest import RULES, Open
from tests.unit.follow_ups.families import ended, numbers, only, started
from tests.unit.owner.test_unknown_outcome import Doubtful

pytestmark = pytest.mark.anyio


async def test_the_id_is_told_by_parent_version_and_rule(engine: Engine) -> None:
    job = await ended(engine)
    child = await only(engine, job)
    assert child.job_id == follow_up_id(job.job_id, job.version, "settle")
    others = [(job.job_id, job.version + 1, "settle"), (job.job_id, job.version, "notify")]
    assert child.job_id not in {follow_up_id(*each) for each in others}
    assert child.job_id[14] == "8"  # the version of the UUID


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("facade", FACADES)
async def test_an_unknown_commit_has_made_all_or_nothing(
    facade: type[Any],
    applied: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    storage = Doubtful()
    how: dict[str, Any] = {"lifecycle": ORDER_LIFECYCLE, "follow_ups": RULES}
    async with opened_engine(facade, storage, **how) as engine:
        job = await started(engine)
        storage.failures, storage.applied, storage.silent = 1, applied, 1
        with pytest.raises(CommitUnknownError):
            await engine.transition(job.job_id, S.COMPLETED)
        with suppress(InvalidStateTransitionError):  # it was applied
            await engine.transition(job.job_id, S.COMPLETED)
        child = await only(engine, job)
        assert child.job_id == follow_up_id(job.job_id, 3, "settle")
        assert await numbers(engine) == [1, 2, 3, 4]


@pytest.mark.usefixtures("ended_jobs_leave")
async def test_by_hand_and_by_backfill_it_is_the_same_one(engine: Engine) -> None:
    job = await ended(engine)
    child = await only(engine, job)
    assert await engine.follow_up(job.job_id, "settle", by="ann") == child
    done: Job[S] = await engine.transition(child.job_id, S.COMPLETED)
    before = await numbers(engine)
    for _ in range(2):
        assert await engine.follow_up(job.job_id, "settle", reason="again") == done
        assert await engine.backfill("settle") == 0
    assert await numbers(engine) == before


@pytest.mark.usefixtures("ended_jobs_leave")
async def test_another_engine_finds_it_there(reopen_engine: Open) -> None:
    async with reopen_engine(*RULES) as engine:
        job = await ended(engine)
        child = await only(engine, job)
        await engine.transition(child.job_id, S.COMPLETED)
    async with reopen_engine() as engine:
        assert (await engine.follow_up(job.job_id, "settle")).job_id == child.job_id
        assert await engine.backfill("settle") == 0
        assert await engine.backfill("notify") == 0
        assert await engine.count() == 3


async def test_no_caller_can_take_the_id_before(open_engine: Open) -> None:
    ids = iter(["a", follow_up_id("a", 3, "settle")])
    async with open_engine(*RULES, new_id=lambda: next(ids)) as engine:
        await started(engine)
        with pytest.raises(InvalidValueError, match="job_id must be no UUID of version 8"):
            await engine.create()
