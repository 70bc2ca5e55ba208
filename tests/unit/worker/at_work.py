"""Shared by the tests of the worker: an engine with ready jobs, and handlers that wait."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio

from engine import AgentJobStatus, JobEngine, Progress, Retry, Worker
from engine.testing.virtual_clock import VirtualClock
from tests.unit.claiming import AgentJob, agents, running

RUNNING, ASKING, COMPLETED, FAILED = (
    AgentJobStatus.RUNNING,
    AgentJobStatus.AWAITING_INPUT,
    AgentJobStatus.COMPLETED,
    AgentJobStatus.FAILED,
)
ONCE: Final = Retry(max_attempts=1)
SECONDS: Final = 60
"""Limits a hanging test."""
AgentEngine = JobEngine[AgentJobStatus]


@asynccontextmanager
async def working(
    handler: Any,  # noqa: ANN401 - any function
    place: Any = None,  # noqa: ANN401 - any place for jobs
    *,
    clock: VirtualClock | None = None,
    **how: Any,  # noqa: ANN401 - the worker's own arguments
) -> AsyncIterator[AgentEngine]:
    """Open an engine with one worker."""
    with anyio.fail_after(SECONDS):
        async with (
            agents(place, **({} if clock is None else {"clock": clock})) as engine,
            Worker(engine, handler, **how),
        ):
            yield engine


async def ended(engine: AgentEngine, given: object = None, **more: Any) -> AgentJob:  # noqa: ANN401
    """Create a job, and return it when it has ended."""
    job = await running(engine, input=given, **more)
    return await engine.wait(job.job_id)


async def until(condition: Callable[[], object]) -> None:
    """Poll the state of another process or thread, which sends no event."""
    with anyio.fail_after(SECONDS):
        while not condition():  # noqa: ASYNC110 - there is no event
            await anyio.sleep(0.005)


async def until_killed(ids: Path) -> None:
    """Wait until the last process that wrote its id there has ended and been reaped."""
    process_id = ids.read_text().split()[-1]
    await until(lambda: not Path(f"/proc/{process_id}").exists())


async def until_progress(engine: AgentEngine, job: AgentJob) -> Progress:
    """Wait for a progress report of a handler, and return it."""
    async for each in engine.watch(job.job_id, progress=True):
        if isinstance(each, Progress):
            return each
    raise AssertionError("it has ended")


class Turnstile:
    """Holds async handlers until a test lets them through.

    Attributes:
        inside: The inputs of the held jobs, in the order of their arrival.
        entered: The inputs of all jobs that have arrived.
    """

    def __init__(self) -> None:
        self.inside: list[Any] = []
        self.entered: list[Any] = []
        self._changed = anyio.Event()
        self._open = anyio.Event()

    async def __call__(self, job: AgentJob) -> str:
        self.inside.append(job.input)
        self.entered.append(job.input)
        self._tell()
        try:
            await self._open.wait()
        finally:
            if job.input in self.inside:
                self.inside.remove(job.input)
                self._tell()
        return "through"

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    @classmethod
    def opened(cls) -> Turnstile:
        """Return one that holds no handler."""
        turnstile = cls()
        turnstile.open()
        return turnstile

    def open(self) -> None:
        """Let through the held handlers and all later ones."""
        self._open.set()

    def let_through(self) -> None:
        """Let the held handlers through."""
        self.inside.clear()
        self._open.set()
        self._open = anyio.Event()

    async def until(self, held: int) -> None:
        """Wait until so many handlers are held."""
        while len(self.inside) != held:
            await self._changed.wait()
