"""Inputs: an attempt ends with a prompt, a caller answers, the next attempt gets the answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, TypeAlias

import anyio
import pytest
from pydantic import AfterValidator, BaseModel, field_validator

from engine import (
    Context,
    InvalidValueError,
    JobEngine,
    JobStatus,
    Prompt,
    StalePromptError,
    Worker,
)
from engine.owner.commands.ask import AskForInput
from engine.testing.virtual_clock import VirtualClock
from tests.unit.claiming import AgentJob, NewPlace, agents, claimed_one, running
from tests.unit.costly import ROWS, WIDE, Left
from tests.unit.worker.at_work import (
    ASKING,
    COMPLETED,
    FAILED,
    ONCE,
    RUNNING,
    AgentEngine,
    ended,
    working,
)

pytestmark = pytest.mark.anyio


class Address(BaseModel):
    """The form of an answer."""

    street: str
    number: int

    @field_validator("number")
    @classmethod
    def _is_even(cls, number: int) -> int:
        if number % 2:
            raise ValueError("we deliver on one side of the street alone")
        return number


async def asks(job: AgentJob, context: Context[Any]) -> str:
    address = context.request_input(Address, question="Where to?")
    assert isinstance(address, Address)
    return f"{job.input} to {address.street} {address.number}"


async def _asking(engine: AgentEngine, job: AgentJob) -> Prompt:
    waiting = await engine.wait(job.job_id, until=[ASKING])
    assert waiting.status is ASKING
    assert waiting.prompt is not None
    return waiting.prompt


async def test_a_whole_round_with_a_restart_between(lasting_place: NewPlace) -> None:
    async with working(asks, lasting_place()) as engine:
        job = await running(engine, input="flowers")
        prompt = await _asking(engine, job)
        assert prompt.question == "Where to?"
        assert prompt.json_schema == Address.model_json_schema()
        assert (await engine.statistics()).waiting == 1
    async with working(asks, lasting_place()) as engine:
        assert (await engine.get(job.job_id)).prompt == prompt
        with pytest.raises(InvalidValueError, match=r'"number"'):
            await engine.provide_input(
                job.job_id, prompt.prompt_id, {"street": "High", "number": "x"}
            )
        with pytest.raises(StalePromptError):
            await engine.provide_input(job.job_id, "another", {"street": "High", "number": 2})
        answer = Address(street="High Street", number=12)
        answered = await engine.provide_input(job.job_id, prompt.prompt_id, answer)
        assert (answered.status, answered.prompt) == (RUNNING, None)
        with pytest.raises(StalePromptError):
            await engine.provide_input(job.job_id, prompt.prompt_id, answer)
        done = await engine.wait(job.job_id)
        assert (done.status, done.result, done.attempt) == (
            COMPLETED,
            "flowers to High Street 12",
            2,
        )
        history = await engine.history(job.job_id)
        assert [line.to_status for line in history[1:]] == [RUNNING, ASKING, RUNNING, COMPLETED]


async def test_an_answer_that_was_given_while_nobody_worked_is_found(
    lasting_place: NewPlace,
) -> None:
    async with working(asks, lasting_place()) as engine:
        job = await running(engine, input="flowers")
        prompt = await _asking(engine, job)
    async with agents(lasting_place()) as idle:
        await idle.provide_input(job.job_id, prompt.prompt_id, {"street": "A", "number": 2})
    async with working(asks, lasting_place()) as engine:
        assert (await engine.wait(job.job_id)).result == "flowers to A 2"


@pytest.mark.parametrize("names", [(None, None), ("first", "second")])
async def test_two_prompts_are_asked_one_after_the_other(names: tuple[str | None, ...]) -> None:
    def handler(_: AgentJob, context: Context[Any]) -> list[int]:
        return [context.request_input(int, name=name) for name in names]

    async with working(handler) as engine:
        job = await running(engine)
        prompts = []
        for value in (1, 2):
            prompts.append(await _asking(engine, job))
            await engine.provide_input(job.job_id, prompts[-1].prompt_id, value)
        assert await engine.result(job.job_id, list[int]) == [1, 2]
        assert (await engine.get(job.job_id)).attempt == 3
    assert len({each.prompt_id for each in prompts}) == 2
    assert len({each.name for each in prompts}) == 2


async def test_an_answer_that_the_model_itself_refuses_is_asked_for_again() -> None:
    async with working(asks) as engine:
        job = await running(engine, input="flowers")
        first = await _asking(engine, job)
        await engine.provide_input(job.job_id, first.prompt_id, {"street": "A", "number": 3})
        second = await _asking(engine, job)
        assert second.prompt_id != first.prompt_id
        assert first.refusal is None
        assert second.refusal == ("number: Value error, we deliver on one side of the street alone")
        assert second.name == first.name
        await engine.provide_input(job.job_id, second.prompt_id, {"street": "A", "number": 4})
        assert (await engine.wait(job.job_id)).result == "flowers to A 4"


def _says_much(_: int) -> int:
    raise ValueError("\0" + "x" * 100_000)


def _says_no(_: str) -> str:
    raise ValueError("no")


Talkative: TypeAlias = Annotated[int, AfterValidator(_says_much)]
Note: TypeAlias = Annotated[str, AfterValidator(_says_no)]


@pytest.mark.parametrize(
    ("schema", "answer", "refusal"),
    [
        (Talkative, 1, "Value error, \N{REPLACEMENT CHARACTER}xxx"),
        (dict[str, Talkative], {"k" * 200_000: 1}, "kkk"),
        (list[Note], ["a", "b"], "0: Value error, no; 1: Value error, no"),
        (
            list[Note],
            ["a"] * 9,
            "0: Value error, no; 1: Value error, no; 2: Value error, no; and 6",
        ),
        (list[Talkative], list(range(1_500)), "1,500 problems"),
    ],
    ids=["a long message", "a long key", "two problems", "nine problems", "many problems"],
)
async def test_the_reason_of_a_refusal_is_cut(schema: Any, answer: Any, refusal: str) -> None:  # noqa: ANN401
    def handler(_: AgentJob, context: Context[Any]) -> None:
        context.request_input(schema)

    async with working(handler) as engine:
        job = await running(engine)
        first = await _asking(engine, job)
        await engine.provide_input(job.job_id, first.prompt_id, answer)
        second = await _asking(engine, job)
        assert second.refusal is not None
        assert second.refusal.startswith(refusal)
        assert second.refusal.count("Value error") == refusal.count("Value error")
        assert len(second.refusal) <= 1_024


async def test_an_answer_that_its_type_would_read_for_long_is_asked_for_again() -> None:
    def handler(_: AgentJob, context: Context[Any]) -> str:
        return f"{len(context.request_input(list[WIDE]))} rows"

    async with working(handler) as engine:
        job = await running(engine)
        first = await _asking(engine, job)
        await engine.provide_input(job.job_id, first.prompt_id, ROWS)
        second = await _asking(engine, job)
        assert (second.refusal or "").startswith("is too large for its type: reading it may take")
        await engine.provide_input(job.job_id, second.prompt_id, ROWS[:9])
        assert (await engine.wait(job.job_id)).result == "9 rows"


async def test_a_type_that_can_take_long_to_read_is_refused_when_it_is_asked_for() -> None:
    def handler(_: AgentJob, context: Context[Any]) -> None:
        context.request_input(dict[str, Left])

    async with working(handler) as engine:
        job = await ended(engine)
        assert (job.status, job.attempt) == (FAILED, 1)
        assert (job.error or "").startswith(
            "InvalidValueError: schema has a union of which 2 alternatives hold the union again, "
            "Left, Right: "
        )


LOOKS_AHEAD = {"type": "string", "pattern": r"^(?!0)\d+(\.\d+)?$"}
KEPT: dict[str, tuple[Any, dict[str, Any]]] = {
    "a property": ({"properties": {"pattern": LOOKS_AHEAD}}, {"pattern": "zero"}),
    "a definition": (
        {"$ref": "#/$defs/a", "$defs": {"a": {"additionalProperties": LOOKS_AHEAD}}},
        {"pattern": "zero"},
    ),
    "an alternative": ({"additionalProperties": {"anyOf": [LOOKS_AHEAD]}}, {"pattern": "zero"}),
    "names": (
        {"patternProperties": {"^(?!0)p": {}}, "additionalProperties": False},
        {"pattern": "zero"},
    ),
}


class Priced(BaseModel):
    """The form of an answer whose pattern no schema tells any more."""

    pattern: Decimal


async def _keep_prompt(engine: AgentEngine, schema: object) -> AgentJob:
    """Suspend a job by a prompt as it is, as an earlier version of the engine may have kept it."""
    job = await running(engine)
    job_id, token = await claimed_one(engine)
    assert job_id == job.job_id
    fields = {"prompt_id": "p", "name": "price", "question": None, "refusal": None}
    prompt = json.dumps({**fields, "json_schema": schema})
    await engine.core.ask(AskForInput(job_id, token, prompt, timedelta(days=1)))
    return job


@pytest.mark.parametrize("case", KEPT)
async def test_a_kept_pattern_that_can_not_be_judged_is_left_to_the_type(
    case: str, lasting_place: NewPlace
) -> None:
    def handler(_: AgentJob, context: Context[Any]) -> str:
        return f"{context.request_input(Priced, name='price').pattern}"

    schema, wrong = KEPT[case]
    async with agents(lasting_place()) as engine:
        job = await _keep_prompt(engine, {"type": "object", **schema})
        with pytest.raises(InvalidValueError, match="doesn't fit the prompt's JSON Schema"):
            await engine.provide_input(job.job_id, "p", ["no object"])
    async with working(handler, lasting_place()) as engine:
        await engine.provide_input(job.job_id, "p", wrong)
        again = await _asking(engine, job)
        assert (again.refusal or "").startswith("pattern: ")
        await engine.provide_input(job.job_id, again.prompt_id, {"pattern": "1.5"})
        assert (await engine.wait(job.job_id)).result == "1.5"


async def test_a_kept_schema_keeps_its_values_and_other_patterns() -> None:
    data = {"enum": [{"pattern": "(?!0)"}, {"pattern": "x"}]}
    schema = {"properties": {"a": data, "b": {"pattern": "^b$"}, "c": LOOKS_AHEAD}}
    async with agents() as engine:
        job = await _keep_prompt(engine, schema)
        refused: list[dict[str, Any]] = [{"a": {}}, {"b": "c"}]
        for wrong in refused:
            with pytest.raises(InvalidValueError, match="doesn't fit the prompt's JSON Schema"):
                await engine.provide_input(job.job_id, "p", wrong)
        right = {"a": {"pattern": "(?!0)"}, "b": "b", "c": "0"}
        assert (await engine.provide_input(job.job_id, "p", right)).prompt is None


async def test_a_json_schema_gives_the_answer_as_it_is() -> None:
    def handler(_: AgentJob, context: Context[Any]) -> Any:  # noqa: ANN401
        return context.request_input({"type": "array", "maxItems": 2})

    async with working(handler) as engine:
        job = await running(engine)
        prompt = await _asking(engine, job)
        with pytest.raises(InvalidValueError):
            await engine.provide_input(job.job_id, prompt.prompt_id, [1, 2, 3])
        await engine.provide_input(job.job_id, prompt.prompt_id, ["é", None])
        assert await engine.result(job.job_id, list[Any]) == ["é", None]


async def test_who_does_not_answer_in_time_is_not_waited_for(lasting_place: NewPlace) -> None:
    clock = VirtualClock()

    async def handler(_: AgentJob, context: Context[Any]) -> None:
        context.request_input(int, timedelta(hours=1))

    async with working(handler, lasting_place(), clock=clock) as engine:
        job = await running(engine)
        prompt = await clock.run_until(_asking(engine, job))
        assert (await engine.get(job.job_id)).deadline_at == clock() + timedelta(hours=1)
        await clock.advance(3_599)
    async with working(handler, lasting_place(), clock=clock) as engine:
        assert (await engine.get(job.job_id)).status is ASKING
        await clock.advance(1)
        expired = await engine.get(job.job_id)
        assert (expired.status, expired.error, expired.prompt) == (FAILED, "expired", None)
        with pytest.raises(StalePromptError):
            await engine.provide_input(job.job_id, prompt.prompt_id, 1)
        assert (await engine.statistics()).expired == 1


async def _swallows(_: AgentJob, context: Context[Any]) -> str:
    try:
        context.request_input(int)
    except BaseException:  # noqa: BLE001 - as such a handler does
        return "it goes on without an answer"
    return "answered"


async def _asks_in_a_task(_: AgentJob, context: Context[Any]) -> str:
    async def ask() -> None:
        context.request_input(int)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
    return "answered"


def _asks_in_a_thread(_: AgentJob, context: Context[Any]) -> str:
    context.request_input(int)
    return "answered"


@pytest.mark.parametrize("handler", [_swallows, _asks_in_a_task, _asks_in_a_thread])
async def test_asking_ends_the_attempt_whatever_the_handler_does(
    handler: Callable[..., Any],
) -> None:
    async with working(handler, retry=ONCE) as engine:
        job = await running(engine)
        prompt = await _asking(engine, job)
        await engine.provide_input(job.job_id, prompt.prompt_id, 1)
        assert (await engine.wait(job.job_id)).result == "answered"


async def test_asking_is_no_failure_and_takes_no_attempt_of_the_retries() -> None:
    def handler(job: AgentJob, context: Context[Any]) -> int:
        answers = [context.request_input(int) for _ in range(5)]
        if job.attempt == 6:
            raise ValueError("the first failure")
        return sum(answers)

    clock = VirtualClock()
    async with working(handler, clock=clock) as engine:
        job = await running(engine)
        for value in range(5):
            prompt = await _asking(engine, job)
            await engine.provide_input(job.job_id, prompt.prompt_id, value)
        done = await clock.run_until(engine.wait(job.job_id))
        assert (done.result, done.attempt) == ("10", 7)


async def test_a_job_that_asks_can_be_cancelled() -> None:
    async with working(asks) as engine:
        job = await running(engine)
        prompt = await _asking(engine, job)
        assert (await engine.cancel(job.job_id, "no")).status is FAILED
        with pytest.raises(StalePromptError):
            await engine.provide_input(job.job_id, prompt.prompt_id, {"street": "A", "number": 2})


@pytest.mark.parametrize(
    "arguments",
    [
        {"schema": {"type": "no such type"}},
        {"schema": {"$ref": "#"}},
        {"schema": {"pattern": "(?=a)"}},
        {"schema": object()},
        {"schema": int, "name": ""},
        {"schema": int, "question": ""},
        {"schema": int, "deadline": timedelta(0)},
        {"schema": int, "deadline": 5},
    ],
    ids=str,
)
async def test_a_bad_request_fails_as_any_error(arguments: dict[str, Any]) -> None:
    async def handler(_: AgentJob, context: Context[Any]) -> None:
        context.request_input(**arguments)

    async with working(handler, retry=ONCE) as engine:
        job = await ended(engine)
        assert (job.error or "").startswith("InvalidValueError")


async def test_who_can_not_ask_is_told() -> None:
    async def handler(_: Any, context: Context[Any]) -> None:  # noqa: ANN401
        context.request_input(int)

    async with JobEngine() as engine, Worker(engine, handler, retry=ONCE):
        job = await engine.create("hash")
        await engine.transition(job.job_id, JobStatus.RUNNING)
        error = (await engine.wait(job.job_id)).error or ""
        assert error.startswith("LifecycleError")
        assert "ORDER_LIFECYCLE and AGENT_JOB_LIFECYCLE have one" in error


def _wrapped(error: BaseException, how: str) -> BaseException:
    wrapper = RuntimeError("wrapped")
    if how == "cause":
        wrapper.__cause__ = error
    elif how == "second cause":
        wrapper.__cause__ = ValueError("between")
        wrapper.__cause__.__cause__ = error
    elif how == "group":
        return BaseExceptionGroup("both", [ValueError("beside"), wrapper, error])
    return wrapper


@pytest.mark.parametrize("how", ["cause", "second cause", "context", "group"])
@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_question_that_is_wrapped_is_asked(how: str, kind: str) -> None:
    def ask(_: AgentJob, context: Context[Any]) -> str:
        try:
            return str(context.request_input({"type": "integer"}))
        except BaseException as error:  # noqa: BLE001 - as a careless handler does
            raise _wrapped(error, how)  # noqa: B904 - its own cause, or the context

    async def ask_async(job: AgentJob, context: Context[Any]) -> str:
        return ask(job, context)

    async with working(ask if kind == "thread" else ask_async, retry=ONCE) as engine:
        job = await running(engine)
        prompt = await _asking(engine, job)
        await engine.provide_input(job.job_id, prompt.prompt_id, 7)
        assert await engine.result(job.job_id) == "7"


async def test_an_error_after_a_question_that_was_answered_fails_the_job() -> None:
    """An error counts as a question only where the question ended this very attempt."""

    async def fail(_: AgentJob, context: Context[Any]) -> str:
        context.request_input({"type": "integer"})
        raise RuntimeError("planted")

    async with working(fail, retry=ONCE) as engine:
        job = await running(engine)
        prompt = await _asking(engine, job)
        await engine.provide_input(job.job_id, prompt.prompt_id, 7)
        assert (await engine.wait(job.job_id)).error == "RuntimeError: planted"
