"""Cancelling: a waiting job ends at once, a running one is asked to stop, and one end wins."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    ORDER_LIFECYCLE,
    PAID_JOB_LIFECYCLE,
    AgentJobStatus,
    InvalidStateTransitionError,
    InvalidValueError,
    JobEndedError,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    Lifecycle,
    Outcome,
)
from engine.domain.lifecycle import Event
from engine.owner.commands.answer import AnswerPrompt
from engine.owner.commands.ask import AskForInput
from engine.owner.commands.finish import FinishJob
from engine.owner.prompts import prompt_text
from engine.testing.facades import FACADES, Engine, opened_engine
from engine.testing.virtual_clock import VirtualClock
from tests.unit.claiming import (
    Claim,
    NewPlace,
    agents,
    claimed_one,
    release,
    running,
)
from tests.unit.finishing import finished

pytestmark = pytest.mark.anyio

RUNNING, COMPLETED, FAILED = (
    *(AgentJobStatus.RUNNING, AgentJobStatus.COMPLETED, AgentJobStatus.FAILED),
)


def paid_with(outcome: Outcome | None) -> Lifecycle[JobStatus]:
    """Return the default lifecycle, with one outcome of all failures, or with the causes."""
    return Lifecycle(
        JobStatus,
        PAID_JOB_LIFECYCLE.moves,
        initial=JobStatus.AWAITING_PAYMENT,
        running=JobStatus.RUNNING,
        success={JobStatus.COMPLETED},
        failure={JobStatus.FAILED},
        outcomes=None if outcome is None else {JobStatus.FAILED: outcome},
    )


CANCELLING: dict[str, Lifecycle[Any]] = {
    "agent": AGENT_JOB_LIFECYCLE,
    "order": ORDER_LIFECYCLE,
    "causes": paid_with(None),
    "all failed": paid_with(Outcome.FAILED),
    "all expired": paid_with(Outcome.EXPIRED),
}
OTHER_ENDS = [
    pytest.param(lifecycle, end, id=f"{name}, {end}")
    for name, lifecycle in CANCELLING.items()
    for end in ("completed", "failed", "failed in these words", "expired")
    # Neither outcome nor error would tell such a failure from a cancel.
    if not (name.startswith("all") and end == "failed in these words")
]


async def test_what_waits_ends_at_once(engine: Engine) -> None:
    job = await engine.create("hash")
    await engine.transition(job.job_id, JobStatus.RUNNING)
    ended = await engine.cancel(job.job_id, "not wanted")
    assert (ended.status, ended.error) == (JobStatus.FAILED, "cancelled: not wanted")
    assert (ended.cancel_reason, ended.version) == ("not wanted", 3)
    for _ in range(2):
        assert await engine.cancel(job.job_id, "again") == ended
    assert len(await engine.history(job.job_id)) == 3


async def test_what_cannot_be_cancelled_is_refused(engine: Engine) -> None:
    done = await finished(engine)
    with pytest.raises(JobEndedError) as ended:
        await engine.cancel(done.job_id)
    assert (ended.value.status, ended.value.item) == ("completed", None)
    unpaid = await engine.create("hash")
    with pytest.raises(InvalidStateTransitionError) as illegal:
        await engine.cancel(unpaid.job_id)
    assert (illegal.value.from_state, illegal.value.item) == ("awaiting_payment", None)
    assert await engine.get(unpaid.job_id) == unpaid
    with pytest.raises(JobNotFoundError):
        await engine.cancel("unheard of")
    for wrong in ("x" * 4_097, 5, "\0"):
        with pytest.raises(InvalidValueError):
            await engine.cancel(unpaid.job_id, wrong)


@pytest.mark.parametrize("facade", FACADES)
@pytest.mark.parametrize("reason", [(), (None,), ("",)], ids=["left out", "none", "empty"])
async def test_a_job_is_cancelled_without_a_reason_too(facade: type, reason: Any) -> None:  # noqa: ANN401
    async with opened_engine(facade, lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        waiting = await engine.create("hash")
        assert waiting.cancel_reason is None
        ended = await engine.cancel(waiting.job_id, *reason)
        assert (ended.error, ended.cancel_reason) == ("cancelled", "")
        assert await engine.cancel(ended.job_id, *reason) == ended
        assert (await engine.history(ended.job_id))[-1].reason is None


async def test_a_failure_of_its_own_is_no_cancellation(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        job = await running(engine)
        _, token = await claimed_one(engine)
        await engine.transition(job.job_id, FAILED, error="no paper", attempt_token=token)
        with pytest.raises(JobEndedError):
            await engine.cancel(job.job_id)


async def test_what_runs_is_asked_to_stop_and_may_complete_first(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        job = await running(engine)
        _, token = await claimed_one(engine)
        asked = await engine.cancel(job.job_id, "too slow")
        assert (asked.status, asked.cancel_reason, asked.version) == (RUNNING, "too slow", 2)
        assert await engine.cancel(job.job_id, "again") == asked
        done = await engine.transition(job.job_id, COMPLETED, attempt_token=token)
        assert done.cancel_reason == "too slow"
        with pytest.raises(JobEndedError):
            await engine.cancel(job.job_id)


@pytest.mark.parametrize(("lifecycle", "end"), OTHER_ENDS)
async def test_a_job_that_ends_otherwise_before_its_cancel_takes_effect_was_not_cancelled(
    lifecycle: Lifecycle[Any], end: str
) -> None:
    clock = VirtualClock()
    async with JobEngine(lifecycle=lifecycle, clock=clock) as engine:
        due = {lifecycle.running: timedelta(hours=1)}
        job = await engine.create(start=True, deadlines=due)
        _, token = await claimed_one(engine)
        await engine.cancel(job.job_id, "too slow")
        if end == "expired":
            clock.jump(timedelta(hours=2))
        elif end == "completed":
            await engine.core.ask(FinishJob(job.job_id, token, Event.SUCCEED))
        else:
            error = "no paper" if end == "failed" else "cancelled: too slow"
            await engine.core.ask(FinishJob(job.job_id, token, Event.FAIL, error=error))
        for _ in range(2):
            with pytest.raises(JobEndedError):
                await engine.cancel(job.job_id, "still")
        assert (await engine.get(job.job_id)).cancel_reason == "too slow"


@pytest.mark.parametrize("lifecycle", CANCELLING.values(), ids=CANCELLING)
@pytest.mark.parametrize("reason", ["too slow", None])
@pytest.mark.parametrize("is_held", [True, False], ids=["held", "free"])
async def test_another_cancel_of_a_cancelled_job_changes_nothing(
    lifecycle: Lifecycle[Any], reason: str | None, *, is_held: bool
) -> None:
    async with JobEngine(lifecycle=lifecycle) as engine:
        job = await engine.create(start=True)
        if is_held:
            _, token = await claimed_one(engine)
            await engine.cancel(job.job_id, reason)
            await release(engine, job.job_id, token, failed=True)
        else:
            await engine.cancel(job.job_id, reason)
        ended = await engine.get(job.job_id)
        for _ in range(2):
            assert await engine.cancel(job.job_id, "again") == ended
        assert len(await engine.history(job.job_id)) == 2


async def test_an_attempt_that_gives_its_job_back_ends_it(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        job = await running(engine)
        _, token = await claimed_one(engine)
        await engine.cancel(job.job_id, "too slow")
        await release(engine, job.job_id, token, 60, failed=True)
        ended = await engine.get(job.job_id)
        assert (ended.status, ended.error) == (FAILED, "cancelled: too slow")
        assert (await engine.statistics()).retried == 0
        assert not (await Claim(engine.core).seen()).is_told


async def test_an_attempt_that_asks_ends_its_job_instead() -> None:
    async with agents() as engine:
        job = await running(engine)
        _, token = await claimed_one(engine)
        await engine.cancel(job.job_id)
        prompt = prompt_text("p", {}, "name", None)
        await engine.core.ask(AskForInput(job.job_id, token, prompt, None))
        assert (await engine.get(job.job_id)).error == "cancelled"


async def test_a_job_that_waits_for_an_answer_is_cancelled_with_its_prompt() -> None:
    async with agents() as engine:
        job = await running(engine)
        _, token = await claimed_one(engine)
        prompt = prompt_text("p", {}, "name", None)
        await engine.core.ask(AskForInput(job.job_id, token, prompt, None))
        ended = await engine.cancel(job.job_id)
        assert (ended.status, ended.prompt) == (FAILED, None)
        with pytest.raises(Exception, match="the job waits for no answer"):
            await engine.core.ask(AnswerPrompt(job.job_id, "p", "1"))


async def test_the_wish_to_cancel_outlives_a_crash(lasting_place: NewPlace) -> None:
    async with agents(lasting_place()) as engine:
        jobs = [await running(engine) for _ in range(2)]
        for _ in jobs:
            await claimed_one(engine)
        for job in jobs:
            await engine.cancel(job.job_id, "too slow")
    async with agents(lasting_place()) as engine:
        assert (await engine.get(jobs[0].job_id)).status is RUNNING
        ended = [await engine.cancel(jobs[0].job_id, "again")]
        assert not (await Claim(engine.core).seen()).is_told
        ended.append(await engine.get(jobs[1].job_id))
        assert [job.status for job in ended] == [FAILED] * 2
        assert ended[1].error == "cancelled: too slow"
