"""The end of the last attempt: whether a job fails, or waits for a person who may retry it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import (
    ORDER_LIFECYCLE,
    Context,
    Job,
    JobEngine,
    OrderStatus,
    Outcome,
    Retry,
    Worker,
)
from engine.domain.deaths import NOT_REPEATED
from engine.testing.virtual_clock import VirtualClock
from tests.proof.storages import PlainStorage
from tests.systems import needs_fork
from tests.unit.worker.at_work import ONCE, SECONDS, Turnstile, ended, working
from tests.unit.worker.in_processes import kill_itself

pytestmark = pytest.mark.anyio

RUNNING, ATTENTION, FAILED, CANCELLED = (
    OrderStatus.RUNNING,
    OrderStatus.NEEDS_ATTENTION,
    OrderStatus.FAILED,
    OrderStatus.CANCELLED,
)
AT_ONCE = Retry(max_attempts=2, first_delay_seconds=0)


class FinalError(Exception):
    retryable = False


def raising(error: BaseException) -> Any:  # noqa: ANN401 - a handler
    async def handler(_: Job[OrderStatus]) -> None:
        raise error

    return handler


@asynccontextmanager
async def ordering(
    handler: Any,  # noqa: ANN401 - any function
    place: Any = None,  # noqa: ANN401 - any place for jobs
    *,
    clock: VirtualClock | None = None,
    **how: Any,  # noqa: ANN401 - the worker's own arguments
) -> AsyncIterator[JobEngine[OrderStatus]]:
    """Open an engine for orders with one worker."""
    given: dict[str, Any] = {} if clock is None else {"clock": clock}
    with anyio.fail_after(SECONDS):
        async with (
            JobEngine(place, lifecycle=ORDER_LIFECYCLE, **given) as engine,
            Worker(engine, handler, **how),
        ):
            yield engine


async def stopped(engine: JobEngine[OrderStatus], given: object = None) -> Job[OrderStatus]:
    """Create a job, and return it when it has ended or needs attention."""
    job = await engine.create("hash", input=given, start=True)
    return await engine.wait(job.job_id, until=[ATTENTION])


@pytest.mark.parametrize(
    ("error", "how", "status"),
    [
        (OSError("not now"), {"retry": AT_ONCE}, ATTENTION),
        (OSError("not now"), {"idempotent": False}, ATTENTION),
        (FinalError("never"), {"retry": AT_ONCE}, FAILED),
        (FinalError("never"), {"retry": ONCE}, FAILED),
        (OSError("another one"), {"retry": Retry(retry_on=LookupError)}, FAILED),
        (SystemExit("no exception"), {"retry": AT_ONCE}, FAILED),
    ],
    ids=str,
)
async def test_used_up_attempts_need_attention_and_final_errors_fail(
    error: BaseException, how: dict[str, Any], status: OrderStatus
) -> None:
    async with ordering(raising(error), **how) as engine:
        job = await stopped(engine)
        text = f"{type(error).__name__}: {error}"
        assert (job.status, job.last_error) == (status, text)
        assert (job.error, job.outcome) == (
            (text, Outcome.FAILED) if status is FAILED else (None, None)
        )
        attempts = await engine.attempts(job.job_id)
        assert [each.error for each in attempts] == [text] * job.attempt


async def test_a_job_that_needs_attention_waits_for_a_person_alone() -> None:
    async with ordering(raising(OSError("not now")), retry=ONCE) as engine:
        job = await stopped(engine)
        assert (job.next_attempt_at, job.deadline_at, job.prompt) == (None, None, None)
        statistics = await engine.statistics()
        assert (statistics.ready, statistics.running, statistics.waiting) == (0, 0, 1)
        ended = await engine.transition(job.job_id, FAILED, error="refunded")
        assert (ended.error, ended.last_error) == ("refunded", "OSError: not now")


async def test_a_timeout_of_what_must_not_be_repeated_needs_attention() -> None:
    clock, gate = VirtualClock(), Turnstile()
    async with ordering(gate, clock=clock, idempotent=False, timeout_seconds=7) as engine:
        job = await clock.run_until(stopped(engine))
        assert job.status is ATTENTION
        assert job.last_error == "AttemptTimeoutError: the attempt took more than 7 s"


async def test_closing_on_what_must_not_be_repeated_needs_attention() -> None:
    storage, gate = PlainStorage(), Turnstile()
    async with ordering(gate, storage, idempotent=False, grace_seconds=0) as engine:
        job = await engine.create("hash", start=True)
        await gate.until(1)
    async with JobEngine(storage, lifecycle=ORDER_LIFECYCLE) as engine:
        now = await engine.get(job.job_id)
        error = f"attempt 1 was stopped: the worker is closing, and {NOT_REPEATED}"
        assert (now.status, now.last_error, now.error) == (ATTENTION, error, None)


@pytest.mark.thorough
@needs_fork
async def test_the_last_death_of_a_process_needs_attention(tmp_path: Path) -> None:
    how: dict[str, Any] = {"max_deaths": 1, "processes": True}
    async with ordering(kill_itself, **how) as engine:
        job = await stopped(engine, str(tmp_path / "ids"))
        assert (job.status, job.error) == (ATTENTION, None)
        [attempt] = await engine.attempts(job.job_id)
        assert (attempt.outcome, attempt.error) == (Outcome.DIED, job.last_error)
    async with working(kill_itself, **how) as agents:
        done = await ended(agents, str(tmp_path / "ids"))
        assert (done.outcome, done.error) == (Outcome.DIED, done.last_error)


async def test_a_job_that_is_to_be_cancelled_does_not_wait_for_attention() -> None:
    async def handler(job: Job[OrderStatus], context: Context[OrderStatus]) -> None:
        del context
        await engine.cancel(job.job_id, "enough")
        raise OSError("not now")

    async with ordering(handler, retry=ONCE) as engine:
        job = await stopped(engine)
        assert (job.status, job.error) == (CANCELLED, "cancelled: enough")


async def test_a_retry_by_hand_has_all_its_attempts_again() -> None:
    calls: list[int] = []

    async def handler(job: Job[OrderStatus]) -> str:
        calls.append(job.attempt)
        if len(calls) < 4:
            raise OSError("not now")
        return "at last"

    async with ordering(handler, retry=AT_ONCE) as engine:
        job = await stopped(engine)
        assert (job.status, calls) == (ATTENTION, [1, 2])
        await engine.retry(job.job_id)
        done = await engine.wait(job.job_id)
        assert (done.result, done.failures, calls) == ("at last", 1, [1, 2, 3, 4])
        assert done.last_error == "OSError: not now"
