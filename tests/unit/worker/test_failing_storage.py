"""A storage that fails for a while: each outcome is reported later, once; nothing is lost."""

from __future__ import annotations

import anyio
import pytest

from engine import (
    CommitUnknownError,
    StorageError,
    Worker,
)
from engine.testing.virtual_clock import VirtualClock
from tests.unit.claiming import AgentJob, agents, running
from tests.unit.failing import FailingStorage
from tests.unit.worker.at_work import (
    COMPLETED,
    ONCE,
    SECONDS,
    Turnstile,
    ended,
    working,
)

pytestmark = pytest.mark.anyio


def _unknown() -> CommitUnknownError:
    return CommitUnknownError(StorageError("the disk has gone"))


@pytest.mark.parametrize("times", [1, 2, 12])
async def test_an_outcome_that_can_not_be_kept_is_told_later(times: int) -> None:
    clock, storage, gate = VirtualClock(), FailingStorage(), Turnstile()
    async with working(gate, storage, clock=clock) as engine:
        job = await running(engine, input="a job")
        await gate.until(1)
        storage.failures = [StorageError("not now") for _ in range(times)]
        gate.open()
        done = await clock.run_until(engine.wait(job.job_id))
        assert (done.status, done.result, done.attempt) == (COMPLETED, "through", 1)
        assert len(await engine.history(job.job_id)) == 3
    assert gate.entered == ["a job"], "it is not run again"
    assert storage.failures == []


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("silent", [0, 3])
async def test_an_outcome_of_which_nothing_is_known_is_told_once(
    *, applied: bool, silent: int
) -> None:
    clock, storage, gate = VirtualClock(), FailingStorage(), Turnstile()
    async with working(gate, storage, clock=clock) as engine:
        job = await running(engine, input="a job")
        await gate.until(1)
        storage.applied, storage.silent = applied, silent
        storage.failures = [_unknown()]
        gate.open()
        done = await clock.run_until(engine.wait(job.job_id))
        assert (done.status, done.result, done.attempt) == (COMPLETED, "through", 1)
        assert len(await engine.history(job.job_id)) == 3
    assert gate.entered == ["a job"]


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("silent", [0, 2])
async def test_a_claim_that_fails_or_is_unknown_is_made_up_for(
    *, applied: bool, silent: int
) -> None:
    clock, storage, gate = VirtualClock(), FailingStorage(), Turnstile.opened()
    async with agents(storage, clock=clock) as engine:
        jobs = [await running(engine, input=number) for number in range(3)]
        storage.applied, storage.silent = applied, silent
        storage.failures = [StorageError("not now"), _unknown()]
        with anyio.fail_after(SECONDS):
            async with Worker(engine, gate, retry=ONCE):
                for job in jobs:
                    done = await clock.run_until(engine.wait(job.job_id))
                    assert done.status is COMPLETED
        assert (await engine.statistics()).retried == 0
    assert sorted(gate.entered) == [0, 1, 2], "each once"


async def test_a_job_that_was_cancelled_while_its_claim_was_unknown_is_not_run_to_its_end() -> None:
    """The unknown commit gave the job to the attempt: it is asked to stop before it begins."""
    clock, storage = VirtualClock(), FailingStorage()
    entered: list[AgentJob] = []

    async def handler(job: AgentJob) -> None:
        entered.append(job)
        await clock.sleep(3_600)

    async with agents(storage, clock=clock) as engine:
        job = await running(engine)
        storage.applied, storage.silent = True, 1
        storage.failures = [_unknown()]
        with anyio.fail_after(SECONDS):
            async with Worker(engine, handler):
                await anyio.wait_all_tasks_blocked()
                await engine.cancel(job.job_id, "not wanted")
                done = await clock.run_until(engine.wait(job.job_id))
    assert done.error == "cancelled: not wanted"


async def test_a_storage_that_never_comes_back_does_not_hold_up_the_end() -> None:
    clock, storage, gate = VirtualClock(), FailingStorage(), Turnstile()

    async def main() -> None:
        async with agents(storage, clock=clock) as engine, Worker(engine, gate, grace_seconds=5):
            await running(engine, input="a job")
            await gate.until(1)
            storage.failures = [StorageError("gone") for _ in range(1_000)]
            gate.open()

    with anyio.fail_after(SECONDS):
        await clock.run_until(main)
    assert 0 < len(storage.failures) < 1_000


async def test_a_claim_that_is_refused_does_not_hold_up_the_end() -> None:
    storage, gate = FailingStorage(), Turnstile.opened()
    with anyio.fail_after(SECONDS):
        async with agents(storage) as engine:
            await running(engine, input="a job")
            storage.failures = [StorageError("gone")] * 100
            async with Worker(engine, gate):
                await anyio.wait_all_tasks_blocked()
            storage.failures = []
            assert (await engine.statistics()).ready == 1
            async with Worker(engine, gate):
                assert (await ended(engine)).status is COMPLETED
