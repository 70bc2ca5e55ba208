"""The handler of a follow-up: its parent, its key, and retries over three days."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import anyio
import pytest

from engine import (
    ORDER_LIFECYCLE,
    Context,
    FollowUp,
    Handler,
    InvalidValueError,
    Job,
    JobEngine,
    Retry,
    StorageError,
    Worker,
)
from engine import OrderStatus as S
from engine.domain.exceptions import JobDamagedError
from engine.domain.follow_ups import FOLLOW_UP_RETRY
from engine.storage import CheckedOut, Names
from engine.testing import Lab, VirtualClock
from tests.proof.storages import PlainStorage
from tests.unit.worker.at_work import SECONDS

pytestmark = pytest.mark.anyio

OrderContext = Context[S]
SETTLE = FollowUp("settle", to={S.COMPLETED})
ORDERS: dict[str, Any] = {"lifecycle": ORDER_LIFECYCLE, "follow_ups": [SETTLE]}
ONCE = Retry(max_attempts=1)


async def work(text: str) -> str:
    return text.upper()


def _sync(function: Callable[..., Any]) -> Callable[..., Any]:
    def blocking(job: Job[S], context: OrderContext) -> Any:  # noqa: ANN401 - a handler's result
        return function(job, context)

    return blocking


def _asynchronous(function: Callable[..., Any]) -> Callable[..., Any]:
    async def awaited(job: Job[S], context: OrderContext) -> Any:  # noqa: ANN401 - a handler's result
        return function(job, context)

    return awaited


@pytest.mark.parametrize("made", [_sync, _asynchronous])
async def test_it_gets_its_parent_and_its_key(made: Callable[..., Any]) -> None:
    seen: list[Job[S]] = []

    def settle(job: Job[S], context: OrderContext) -> str:
        assert context.key == job.job_id
        assert (job.input, job.parent_id) == (None, context.parent.job_id)
        seen.append(context.parent)
        return "settled"

    handlers: Any = {"default": work, "settle": made(settle)}
    async with Lab(handlers, **ORDERS) as lab:
        job = await lab.run("a")
        done = await lab.finish(job, follow_ups=True)
        assert seen == [await lab.engine.get(done.job_id)]
        [child] = await lab.engine.follow_ups(done.job_id)
        assert (child.status, child.result) == (S.COMPLETED, "settled")


async def test_a_job_that_is_no_follow_up_has_no_parent() -> None:
    async def ask(context: OrderContext) -> None:
        with pytest.raises(InvalidValueError, match=r"^context\.parent is there for follow-ups "):
            _ = context.parent

    async with Lab(ask, lifecycle=ORDER_LIFECYCLE) as lab:
        assert (await lab.run()).status is S.COMPLETED


async def test_the_key_stays_over_attempts_and_repeats() -> None:
    keys: list[str] = []

    async def settle(context: OrderContext) -> None:
        keys.append(context.key)
        assert context.parent.status is S.COMPLETED
        raise RuntimeError("the provider is down")

    handlers: Any = {"default": work, "settle": Handler(settle, retry=Retry(2))}
    async with Lab(handlers, **ORDERS) as lab:
        job = await lab.run("a")
        [child] = await lab.engine.follow_ups(job.job_id)
        for _ in range(3):
            await lab.finish(child)
            await lab.engine.cancel(child.job_id)
            child = await lab.engine.repeat(child.job_id)
        await lab.finish(child)
        [first, *_] = await lab.engine.follow_ups(job.job_id)
        assert keys == [first.job_id] * 8


async def test_the_key_of_any_job_stays_over_repeats() -> None:
    keys: list[str] = []

    async def note(context: OrderContext) -> None:
        keys.append(context.key)

    async with Lab(note, lifecycle=ORDER_LIFECYCLE) as lab:
        first = job = await lab.run()
        for _ in range(2):
            job = await lab.finish(await lab.engine.repeat(job.job_id))
        assert keys == [first.job_id] * 3


async def _down(_: OrderContext) -> None:
    raise RuntimeError("the provider is down")


async def _failures(settle: Any, **worker: Any) -> tuple[int, timedelta]:  # noqa: ANN401 - a handler
    """Return how often a follow-up is tried, and for how long."""
    handlers: Any = {"default": work, "settle": settle}
    async with Lab(handlers, **ORDERS, **worker) as lab:
        job = await lab.run("a")
        began = lab.clock()
        [child] = await lab.engine.follow_ups(job.job_id)
        child = await lab.finish(child)
        assert child.status is S.NEEDS_ATTENTION
        return child.attempt, lab.clock() - began


async def test_it_is_tried_over_three_days() -> None:
    attempts, seconds = await _failures(_down)
    assert attempts == FOLLOW_UP_RETRY.max_attempts == 42
    assert timedelta(days=3) < seconds < timedelta(days=5)


async def test_the_retry_of_the_worker_is_for_other_jobs() -> None:
    assert (await _failures(_down, retry=ONCE))[0] == 42
    assert (await _failures(Handler(_down), retry=ONCE))[0] == 42


async def test_its_own_retry_is_its_own() -> None:
    assert (await _failures(Handler(_down, retry=Retry(3))))[0] == 3


@pytest.mark.parametrize("settle", [_down, Handler(_down, idempotent=False)])
async def test_one_that_must_not_run_again_does_not(settle: Any) -> None:  # noqa: ANN401 - a handler
    assert (await _failures(settle, idempotent=False))[0] == 1


class Unreadable(PlainStorage):
    """Can't read ended jobs, as often as a test says."""

    def __init__(self, planned: Sequence[StorageError]) -> None:
        super().__init__()
        self.planned = planned
        self.errors: list[StorageError] = []

    async def checkout(self, names: Names) -> CheckedOut:
        if self.errors:
            raise self.errors.pop(0)
        return await super().checkout(names)


async def _settled_by(storage: Unreadable, retry: Retry) -> Job[S]:
    """Return the follow-up of an ended job, when its handler is done with it."""
    clock = VirtualClock()
    handlers: Any = {"settle": Handler(work_on_parent, retry=retry)}
    async with JobEngine(storage, clock=clock, **ORDERS) as engine:
        job = await engine.create(start=True)
        await engine.transition(job.job_id, S.COMPLETED, result="done")
        [child] = await engine.follow_ups(job.job_id)
        storage.errors = [*storage.planned]
        with anyio.fail_after(SECONDS):
            async with Worker(engine, handlers):
                return await clock.run_until(
                    engine.wait(child.job_id, until=[S.NEEDS_ATTENTION, S.FAILED])
                )


async def work_on_parent(context: OrderContext) -> str:
    return f"settled {context.parent.result}"


@pytest.mark.usefixtures("ended_jobs_leave")
async def test_a_parent_that_cannot_be_read_for_a_while_is_no_failure() -> None:
    child = await _settled_by(Unreadable([StorageError("not now")] * 5), ONCE)
    assert (child.status, child.result) == (S.COMPLETED, "settled done")
    assert (child.attempt, child.last_error) == (6, None)


@pytest.mark.usefixtures("ended_jobs_leave")
async def test_a_parent_that_is_damaged_is_one() -> None:
    child = await _settled_by(Unreadable([JobDamagedError("a", "a bit has flipped")] * 2), Retry(2))
    assert (child.status, child.attempt) == (S.NEEDS_ATTENTION, 2)
    assert "a bit has flipped" in (child.error or child.last_error or "")
