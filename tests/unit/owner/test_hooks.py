"""The transition hook: gets each one once, in order, after its commit; its errors do no harm."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    Context,
    InvalidStateTransitionError,
    InvalidValueError,
    JobEngine,
    JobStatus,
    Move,
    NewJob,
    Retry,
    StorageError,
    Transition,
    Worker,
)
from engine.testing import VirtualClock
from engine.testing.facades import FACADES, opened_engine
from tests.unit.claiming import NewPlace
from tests.unit.finishing import finished

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("facade", FACADES)
async def test_it_sees_every_transition_once_in_order(
    facade: type[Any], new_place: NewPlace
) -> None:
    seen: list[Transition] = []
    async with opened_engine(facade, new_place(), on_transition=seen.append) as engine:
        job = await finished(engine)
        assert seen == await engine.history(job.job_id)  # and before the calls return
        many = await engine.create_many(NewJob(f"hash {number}") for number in range(2_500))
        await engine.transition_many(Move(each.job_id, JobStatus.RUNNING) for each in many)
        with pytest.raises(InvalidStateTransitionError):
            await engine.transition(job.job_id, JobStatus.RUNNING)
        assert [line.sequence for line in seen] == list(range(1, 3 + 2 * len(many) + 1))
        assert [line.job_id for line in seen[3:]] == 2 * [each.job_id for each in many]
        some = many[17].job_id
        assert [each for each in seen if each.job_id == some] == await engine.history(some)


async def test_it_sees_what_handlers_prompts_and_deadlines_do_and_no_more() -> None:
    seen: list[Transition[AgentJobStatus]] = []
    clock, status = VirtualClock(), AgentJobStatus

    async def ask(_job: object, context: Context) -> str:
        context.progress(1)
        if context.attempt == 1:
            raise ConnectionError
        return str(context.request_input(str, timedelta(hours=1)))

    async with (
        JobEngine(lifecycle=AGENT_JOB_LIFECYCLE, clock=clock, on_transition=seen.append) as engine,
        Worker(engine, ask, retry=Retry(first_delay_seconds=60)),
    ):
        job = await engine.create("hash")
        await engine.transition(job.job_id, status.RUNNING)
        await clock.advance(3 * 3_600)
        assert seen == await engine.history(job.job_id)
    assert [line.to_status for line in seen] == [
        *(status.AWAITING_PAYMENT, status.RUNNING, status.AWAITING_INPUT, status.FAILED)
    ]


async def test_it_sees_only_what_is_new_after_a_restart(lasting_place: NewPlace) -> None:
    async with JobEngine(lasting_place()) as engine:
        await finished(engine)
    seen: list[Transition] = []
    async with JobEngine(lasting_place(), on_transition=seen.append) as engine:
        assert seen == []
        job = await engine.create("hash")
        assert seen == await engine.history(job.job_id)


@pytest.mark.parametrize("facade", FACADES)
async def test_its_errors_are_logged_and_change_nothing(
    facade: type[Any], caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []

    def fail_at_the_second(transition: Transition) -> None:
        seen.append(transition.sequence)
        if transition.sequence == 2:
            raise StorageError("of its own")

    async with opened_engine(facade, on_transition=fail_at_the_second) as engine:
        job = await finished(engine)
        assert job.status is JobStatus.COMPLETED
    assert seen == [1, 2, 3]
    [record] = [each for each in caplog.records if each.levelno > logging.INFO]
    assert (record.name, record.getMessage()) == ("engine", "a hook failed at transition 2")
    assert record.exc_info is not None


async def test_it_may_be_any_callable() -> None:
    counts: dict[str, int] = {}

    class Count:
        def __call__(self, transition: Transition) -> int:
            counts[transition.to_status] = counts.get(transition.to_status, 0) + 1
            return counts[transition.to_status]

    hooks: list[Callable[[Transition], object]] = [Count(), lambda _line: None]
    for hook in hooks:
        async with JobEngine(on_transition=hook) as engine:
            await finished(engine)
    assert counts == dict.fromkeys(
        (JobStatus.AWAITING_PAYMENT, JobStatus.RUNNING, JobStatus.COMPLETED), 1
    )


async def never_awaited(_transition: Transition) -> None:
    """An async hook: its call would not be awaited."""


@pytest.mark.parametrize("facade", FACADES)
@pytest.mark.parametrize("hook", ["print", 17, never_awaited])
def test_what_is_no_plain_function_is_refused(facade: type[Any], hook: object) -> None:
    with pytest.raises(InvalidValueError, match="on_transition must be a function, and not async"):
        facade(on_transition=hook)
