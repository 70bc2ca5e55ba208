"""Prompts: each is answered once, by a valid answer, and the answers are stored."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import anyio
import pytest
from pydantic import BaseModel, Field

from engine import (
    AgentJobStatus,
    InvalidStateTransitionError,
    InvalidValueError,
    JobEngine,
    JobNotFoundError,
    StaleAttemptError,
    StalePromptError,
    SyncJobEngine,
)
from engine.domain.lifecycle import Lifecycle
from engine.owner.commands.answer import AnswerPrompt
from engine.owner.commands.ask import AskForInput
from engine.owner.prompts import Schema, prompt_text
from engine.testing.virtual_clock import VirtualClock
from tests.unit.claiming import Claim, NewPlace, agents, claimed, claimed_one, running

pytestmark = pytest.mark.anyio

RUNNING, AWAITING_INPUT, FAILED = (
    *(AgentJobStatus.RUNNING, AgentJobStatus.AWAITING_INPUT, AgentJobStatus.FAILED),
)


class Size(BaseModel):
    width: int = Field(ge=1)
    unit: str = "mm"


async def ask(
    engine: JobEngine[Any],
    prompt_id: str,
    schema: Schema,
    *,
    name: str = "size",
    deadline: timedelta | datetime | None = None,
) -> None:
    """Claim the next job, and ask for an input as its attempt."""
    job_id, token = await claimed_one(engine)
    prompt = prompt_text(prompt_id, schema, name, "How large?")
    await engine.core.ask(AskForInput(job_id, token, prompt, deadline))


async def test_a_prompt_is_shown_answered_and_gone(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        job = await running(engine)
        await ask(engine, "p-1", Size)
        asking = await engine.get(job.job_id)
        assert (asking.status, asking.version) == (AWAITING_INPUT, 3)
        assert asking.prompt is not None
        assert asking.prompt.json_schema == Size.model_json_schema()
        assert (asking.prompt.prompt_id, asking.prompt.name) == ("p-1", "size")
        claim = await Claim(engine.core).seen()
        assert not claim.is_told
        answered = await engine.provide_input(job.job_id, "p-1", Size(width=3))
        assert (answered.status, answered.prompt) == (RUNNING, None)
        [record] = await claim.records()
        work = record.execution
        assert json.loads(work.answers or "") == {"size": {"width": 3, "unit": "mm"}}
        assert (work.attempt, work.failures) == (2, 0)


async def test_threads_answer_as_well(lasting_place: NewPlace) -> None:
    async with agents(lasting_place()) as engine:
        job = await running(engine)
        await ask(engine, "p-1", Size)

    def answer() -> None:
        lifecycle = engine.core.lifecycle
        with SyncJobEngine(lasting_place(), lifecycle=lifecycle) as blocking:
            with pytest.raises(InvalidValueError):
                blocking.provide_input(job.job_id, "p-1", {"width": "wide"})
            with pytest.raises(StalePromptError):
                blocking.provide_input(job.job_id, "p-0", {"width": 1})
            assert blocking.provide_input(job.job_id, "p-1", {"width": 1}).status is RUNNING

    await anyio.to_thread.run_sync(answer)


async def test_answers_outlive_the_engine_and_gather_by_their_names(
    lasting_place: NewPlace,
) -> None:
    async with agents(lasting_place()) as engine:
        job = await running(engine)
        await ask(engine, "p-1", str, name="colour")
    async with agents(lasting_place()) as engine:
        prompt = (await engine.get(job.job_id)).prompt
        assert (prompt and prompt.prompt_id, prompt and prompt.question) == ("p-1", "How large?")
        await engine.provide_input(job.job_id, "p-1", "röt \u2028")
        await ask(engine, "p-2", int, name="size")
    async with agents(lasting_place()) as engine:
        await engine.provide_input(job.job_id, "p-2", 7)
    async with agents(lasting_place()) as engine:
        [record] = await claimed(engine, idempotent=False)
        answers = json.loads(record.execution.answers or "")
        assert answers == {"colour": "röt \u2028", "size": 7}


BAD_ANSWERS: list[tuple[Schema, object, str]] = [
    (Size, {"width": 0}, "doesn't fit"),
    (Size, {"width": "3"}, "doesn't fit"),
    (Size, {}, "doesn't fit"),
    (Size, None, '"width"'),
    ({"type": "string", "maxLength": 2}, "abc", '"maxLength": 2'),
    ({"enum": ["red", "blue"]}, "green", r'\["red", "blue"\]'),
    (False, 1, "doesn't fit"),
    (int, float("nan"), "value"),
    (int, object(), "value"),
    (str, "x" * 300_000, "262144"),
]


@pytest.mark.parametrize(("schema", "value", "problem"), BAD_ANSWERS, ids=range(len(BAD_ANSWERS)))
async def test_an_answer_that_does_not_fit_is_refused_and_the_job_waits_on(
    schema: Schema, value: object, problem: str
) -> None:
    async with agents() as engine:
        job = await running(engine)
        await ask(engine, "p-1", {"not": {}} if schema is False else schema)
        asking = await engine.get(job.job_id)
        with pytest.raises(InvalidValueError, match=problem) as wrong:
            await engine.provide_input(job.job_id, "p-1", value)
        assert wrong.value.field == "value"
        assert await engine.get(job.job_id) == asking


async def test_a_prompt_is_answered_once_and_never_after_the_next(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        job = await running(engine)
        with pytest.raises(StalePromptError, match="not open: the job waits for no answer") as none:
            await engine.provide_input(job.job_id, "p-1", 1)
        assert (none.value.prompt_id, none.value.current) == ("p-1", None)
        with pytest.raises(JobNotFoundError):
            await engine.provide_input("unheard of", "p-1", 1)
        await ask(engine, "p-1", int)
        await engine.provide_input(job.job_id, "p-1", 1)
        await ask(engine, "p-2", int)
        for doubled in (
            engine.provide_input(job.job_id, "p-1", 2),
            engine.core.ask(AnswerPrompt(job.job_id, "p-1", "2")),  # when both came in time
        ):
            with pytest.raises(StalePromptError) as stale:
                await doubled
            assert stale.value.current == "p-2"


async def test_of_many_who_answer_one_wins(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        job = await running(engine)
        await ask(engine, "p-1", int)
        won: list[int] = []
        stale: list[int] = []

        async def answer(value: int) -> None:
            try:
                await engine.provide_input(job.job_id, "p-1", value)
                won.append(value)
            except StalePromptError:
                stale.append(value)

        async with anyio.create_task_group() as tasks:
            for value in range(20):
                tasks.start_soon(answer, value)
        assert (len(won), len(stale)) == (1, 19)
        [record] = await claimed(engine)
        assert json.loads(record.execution.answers or "") == {"size": won[0]}


async def test_only_the_attempt_that_has_the_job_may_ask() -> None:
    async with agents() as engine:
        job = await running(engine)
        await ask(engine, "p-1", int)
        with pytest.raises(StaleAttemptError):
            message = AskForInput(job.job_id, "unheard of", prompt_text("p", int, "n", None), None)
            await engine.core.ask(message)


async def test_whoever_moves_the_job_on_takes_the_prompt_away() -> None:
    async with agents() as engine:
        job = await running(engine)
        await ask(engine, "p-1", int)
        assert (
            await engine.transition(job.job_id, RUNNING, expected_status=AWAITING_INPUT)
        ).prompt is None
        with pytest.raises(StalePromptError):
            await engine.provide_input(job.job_id, "p-1", 1)


DEADLINES: dict[str, Callable[[datetime], timedelta | datetime]] = {
    "a delay": lambda _: timedelta(hours=1),
    "a time": lambda now: now + timedelta(hours=1),
    "a time elsewhere": lambda now: (now + timedelta(hours=1)).astimezone(
        timezone(timedelta(hours=5))
    ),
}


@pytest.mark.parametrize("kind", DEADLINES)
async def test_who_does_not_answer_in_time_comes_too_late(
    lasting_place: NewPlace, kind: str
) -> None:
    clock = VirtualClock()
    async with agents(lasting_place(), clock=clock) as engine:
        job = await running(engine)
        await ask(engine, "p-1", int, deadline=DEADLINES[kind](clock()))
        asking = await engine.get(job.job_id)
        assert asking.deadline_at == clock() + timedelta(hours=1)
        assert asking.deadline_at.tzinfo is UTC
    async with agents(lasting_place(), clock=clock) as engine:
        await clock.advance(3_599)
        assert (await engine.get(job.job_id)).status is AWAITING_INPUT
        await clock.advance(1)
        ended = await engine.wait(job.job_id, timeout=5)
        assert (ended.status, ended.error, ended.prompt) == (FAILED, "expired", None)
        with pytest.raises(StalePromptError):
            await engine.provide_input(job.job_id, "p-1", 1)


async def test_a_lifecycle_without_asking_refuses_it() -> None:
    async with JobEngine() as engine:
        await engine.transition((await engine.create("hash")).job_id, "running")  # type: ignore[arg-type]
        with pytest.raises((InvalidStateTransitionError, InvalidValueError)):
            await ask(engine, "p-1", int)
        assert isinstance(engine.core.lifecycle, Lifecycle)


@pytest.mark.parametrize(
    "schema",
    [{"type": "nothing"}, {"type": 5}, {"minimum": "1"}, object(), 5, Awaitable],
    ids=str,
)
def test_what_is_no_schema_is_refused(schema: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidValueError) as wrong:
        prompt_text("p", schema, "name", None)
    assert wrong.value.field == "schema"


def test_a_schema_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="262144"):
        prompt_text("p", {"enum": ["x" * 300_000]}, "name", None)


MOVES: dict[AgentJobStatus, set[AgentJobStatus]] = {
    AgentJobStatus.AWAITING_PAYMENT: {RUNNING, FAILED},
    AgentJobStatus.AWAITING_INPUT: {FAILED},  # and not back to running
    RUNNING: {AWAITING_INPUT, AgentJobStatus.COMPLETED, FAILED},
    AgentJobStatus.COMPLETED: set(),
    FAILED: set(),
}


async def test_an_answer_moves_a_job_only_along_a_way_of_the_lifecycle(
    lasting_place: NewPlace,
) -> None:
    """Reopen the storage under a lifecycle without `awaiting_input`."""
    async with agents(lasting_place()) as engine:
        job = await running(engine)
        await ask(engine, "p-1", int)
    silent = Lifecycle(
        AgentJobStatus,
        MOVES,
        initial=AgentJobStatus.AWAITING_PAYMENT,
        running=RUNNING,
        success={AgentJobStatus.COMPLETED},
        failure={FAILED},
    )
    async with JobEngine(lasting_place(), lifecycle=silent) as engine:
        before = await engine.get(job.job_id)
        with pytest.raises(InvalidStateTransitionError, match="in awaiting_input can't be answere"):
            await engine.provide_input(job.job_id, "p-1", 7)
        assert await engine.get(job.job_id) == before
        assert [line.to_status for line in await engine.history(job.job_id)][-1] is AWAITING_INPUT
