"""A program with typed inputs, answers and results. Type checkers check it; nothing runs it.

Each line with a ``type: ignore`` is a mistake that they must find: they report an unused ignore.
"""

from dataclasses import dataclass
from typing import Annotated, Any, assert_type

from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    Context,
    Gate,
    Job,
    JobEngine,
    NewJob,
    SyncJobEngine,
    WaitingJobs,
    Worker,
)

Positive = TypeAliasType("Positive", Annotated[int, Field(gt=0)])


class Order(BaseModel):
    """An input."""

    pages: int


@dataclass
class Report:
    """A result."""

    title: str


def ask(context: Context[AgentJobStatus]) -> None:
    assert_type(context.request_input(Order), Order)
    assert_type(context.request_input(Report, name="report", question="Which?"), Report)
    assert_type(context.request_input(str), str)
    assert_type(context.request_input(list[Order]), list[Order])
    assert_type(context.request_input({"type": "string"}), Any)
    context.request_input(Positive)  # checkers differ about the types of such
    context.request_input(Annotated[int, Field(gt=0)])
    wrong: Report = context.request_input(Order)  # type: ignore[assignment]
    context.request_input()  # type: ignore[call-overload]
    assert_type(wrong, Report)


async def awaited(handler: Any, check: Any) -> None:  # noqa: ANN401 - any function
    async with (
        JobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine,
        Worker(engine, handler),
        Gate(engine, check),
    ):
        job = await engine.create("hash", input=Order(pages=3))
        await engine.create_many([NewJob("hash", input=Order(pages=3))])
        assert_type(await engine.result(job.job_id), str | None)
        assert_type(await engine.result(job.job_id, None), str | None)
        assert_type(await engine.result(job.job_id, Report), Report)
        assert_type(await engine.result(job.job_id, list[Report], timeout=1), list[Report])
        await engine.result(job.job_id, Positive)
        await engine.result(job.job_id, Order | Report | None)
        assert_type(job.value, Any)
        wrong: Order = await engine.result(job.job_id, Report)  # type: ignore[arg-type]
        assert_type(wrong, Order)


def blocking() -> None:
    def paid(jobs: WaitingJobs) -> list[Job]:
        return list(jobs)

    with SyncJobEngine() as engine, Gate(engine, paid):
        job = engine.create("hash", input=Order(pages=3))
        assert_type(engine.result(job.job_id), str | None)
        assert_type(engine.result(job.job_id, Report), Report)
        assert_type(engine.result(job.job_id, list[Report], timeout=1), list[Report])
        engine.result(job.job_id, Positive)
        engine.result(job.job_id, Order | Report | None)
        wrong: Order = engine.result(job.job_id, Report)  # type: ignore[assignment]
        assert_type(wrong, Order)


async def wrong_with() -> None:
    with JobEngine():  # type: ignore[attr-defined]
        pass
    async with SyncJobEngine():  # type: ignore[attr-defined]
        pass
