"""The table of `idempotent`: each event, with a handler that is safe to repeat and one that isn't.

`docs/attempts.md` has the same table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import AgentJobStatus, Context, Retry, Worker
from engine.domain.deaths import NOT_REPEATED
from engine.testing.virtual_clock import VirtualClock
from tests.proof.storages import PlainStorage
from tests.reliability.planted import PlantedStorage, begun
from tests.systems import needs_fork
from tests.tries import thorough, trio_later
from tests.unit.claiming import AgentJob, agents, claimed_one, running
from tests.unit.worker.at_work import (
    ASKING,
    COMPLETED,
    FAILED,
    RUNNING,
    Turnstile,
    ended,
    until,
    until_killed,
    working,
)
from tests.unit.worker.in_processes import kill_itself, process_id, sleep_for_ever

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("idempotent", [True, False])

AT_ONCE = Retry(first_delay_seconds=0)


class Repeated:
    """A handler that goes wrong at its first attempt, and returns at later ones.

    Attributes:
        calls: How often it was called.
    """

    def __init__(self, wrong: Any) -> None:  # noqa: ANN401 - an async function, or an error
        self._wrong = wrong
        self.calls = 0

    async def __call__(self, _: AgentJob) -> str:
        self.calls += 1
        if self.calls == 1:
            if isinstance(self._wrong, Exception):
                raise self._wrong
            await self._wrong()
        return "done"


def _check(job: AgentJob, error: str | None, calls: int) -> None:
    """Check that a job has failed with this error, or that it has run again."""
    if error is None:
        assert (job.status, job.result, job.attempt, calls) == (COMPLETED, "done", 2, 2)
    else:
        assert (job.status, job.error, job.attempt, calls) == (FAILED, error, 1, 1)


async def _finished(storage: PlainStorage, handler: Any, job: AgentJob, **how: Any) -> AgentJob:  # noqa: ANN401
    """Work again with the same handler, and return the ended job."""
    async with working(handler, storage, **how) as engine:
        return await engine.wait(job.job_id)


@both
async def test_closing(*, idempotent: bool) -> None:
    storage, gate = PlainStorage(), Turnstile()
    how: dict[str, Any] = {"idempotent": idempotent}
    async with working(gate, storage, grace_seconds=0, **how) as engine:
        job = await running(engine, input="cut short")
        await gate.until(1)
    gate.open()
    done = await _finished(storage, gate, job, **how)
    if idempotent:
        assert (done.status, done.attempt) == (COMPLETED, 2)
    else:
        error = f"attempt 1 was stopped: the worker is closing, and {NOT_REPEATED}"
        assert (done.status, done.error) == (FAILED, error)
    assert len(gate.entered) == done.attempt


@both
@pytest.mark.parametrize("retry", [None, AT_ONCE], ids=["", "with a retry"])
async def test_a_timeout(retry: Retry | None, *, idempotent: bool) -> None:
    clock, handler = VirtualClock(), Repeated(anyio.sleep_forever)
    how = {"idempotent": idempotent, "timeout_seconds": 7, "retry": retry}
    async with working(handler, clock=clock, **how) as engine:
        job = await clock.run_until(ended(engine))
    error = None if idempotent else "AttemptTimeoutError: the attempt took more than 7 s"
    _check(job, error, handler.calls)


@both
@pytest.mark.parametrize("retry", [None, AT_ONCE], ids=["", "with a retry"])
async def test_the_death_of_the_engine(retry: Retry | None, *, idempotent: bool) -> None:
    storage, clock, handler = PlainStorage(), VirtualClock(), Repeated(anyio.sleep_forever)
    handler.calls = 1
    async with agents(storage) as engine:
        job = await running(engine)
        await claimed_one(engine)
    async with working(handler, storage, clock=clock, idempotent=idempotent, retry=retry) as engine:
        job = await clock.run_until(engine.wait(job.job_id))
    error = None if idempotent else f"the process ended during attempt 1, and {NOT_REPEATED}"
    _check(job, error, handler.calls)


@needs_fork
@pytest.mark.parametrize("attempts", [1, *thorough(2)])
@trio_later
async def test_the_death_of_the_handlers_process(tmp_path: Path, attempts: int) -> None:
    ids = tmp_path / "ids"
    how: dict[str, Any] = {
        "idempotent": attempts > 1,
        "retry": AT_ONCE,
        "max_deaths": 2,
        "processes": True,
    }
    async with working(kill_itself, **how) as engine:
        job = await ended(engine, str(ids))
    assert (job.error or "").startswith("HandlerProcessError")
    assert len(ids.read_text().split()) == job.attempt == attempts


@both
@pytest.mark.parametrize("retry", [None, AT_ONCE], ids=["", "with a retry"])
async def test_an_error_that_the_handler_raises(retry: Retry | None, *, idempotent: bool) -> None:
    clock, handler = VirtualClock(), Repeated(OSError("not now"))
    async with working(handler, clock=clock, idempotent=idempotent, retry=retry) as engine:
        job = await clock.run_until(ended(engine))
    again = idempotent or retry is not None
    _check(job, None if again else "OSError: not now", handler.calls)


@both
async def test_the_answer_to_a_question(*, idempotent: bool) -> None:
    calls: list[int] = []

    def handler(job: AgentJob, context: Context[AgentJobStatus]) -> str:
        calls.append(job.attempt)
        return str(context.request_input({"type": "string"}))

    async with working(handler, idempotent=idempotent) as engine:
        job = await running(engine)
        asking = await engine.wait(job.job_id, until=[ASKING])
        assert asking.prompt is not None
        await engine.provide_input(job.job_id, asking.prompt.prompt_id, "done")
        _check(await engine.wait(job.job_id), None, len(calls))


@both
async def test_cancelling(*, idempotent: bool) -> None:
    gate = Turnstile()
    async with working(gate, idempotent=idempotent) as engine:
        job = await running(engine)
        await gate.until(1)
        await engine.cancel(job.job_id, "enough")
        _check(await engine.wait(job.job_id), "cancelled: enough", len(gate.entered))


async def test_a_job_whose_handler_has_not_begun_is_ready_again() -> None:
    """The worker closes while a claim is being committed."""
    storage, gate = PlantedStorage(), Turnstile()
    async with agents(storage) as engine:
        job = await engine.create("hash")
        async with (
            anyio.create_task_group() as tasks,
            Worker(engine, gate, grace_seconds=0, idempotent=False),
        ):
            await anyio.wait_all_tasks_blocked()
            storage.hold()
            tasks.start_soon(engine.transition, job.job_id, RUNNING)
            await begun(storage)
            tasks.start_soon(_let_go_later, storage)
        again = await engine.get(job.job_id)
        assert (again.status, again.attempt, gate.entered) == (RUNNING, 1, [])


async def _let_go_later(storage: PlantedStorage) -> None:
    await anyio.wait_all_tasks_blocked()
    storage.let_go()


@needs_fork
@trio_later
async def test_closing_while_a_process_is_at_work_fails_the_job(tmp_path: Path) -> None:
    """The process tells on another thread that the handler has begun."""
    storage, ids = PlainStorage(), tmp_path / "ids"
    async with working(
        sleep_for_ever, storage, processes=True, idempotent=False, grace_seconds=0
    ) as engine:
        job = await running(engine, input=str(ids))
        await until(lambda: ids.exists() and ids.read_text().endswith("\n"))
    await until_killed(ids)
    done = await _finished(storage, process_id, job)
    assert done.error == f"attempt 1 was stopped: the worker is closing, and {NOT_REPEATED}"
