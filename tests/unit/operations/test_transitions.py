"""The next transitions, as they come: a long poll."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import (
    CursorExpiredError,
    EngineClosedError,
    InvalidValueError,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    MemoryStorage,
    Retention,
    Storage,
    UnknownCursorError,
)
from engine.operations import EngineDesk
from engine.operations.fields import plain
from engine.testing import VirtualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
async def engine() -> AsyncIterator[JobEngine]:
    async with JobEngine() as engine:
        yield engine


async def _next(engine: JobEngine[Any], **arguments: object) -> tuple[list[Any], str]:
    told = await EngineDesk(engine.core).do("transitions", arguments)
    assert told.keys() == {"transitions", "next"}
    return told["transitions"], told["next"]


async def _until_it_waits(engine: JobEngine[Any]) -> None:
    while not len(engine.core.state.events):
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()


async def test_those_that_are_there_come_in_pages_with_the_fields_of_a_transition(
    engine: JobEngine,
) -> None:
    job = await engine.create("hash", by="ann", start=True)
    await engine.transition(job.job_id, JobStatus.COMPLETED)
    await engine.create("other")
    [first], after = await _next(engine, after="0", limit=1)
    [line, _] = await engine.history(job.job_id)
    assert first == {name: plain(value) for name, value in line}
    assert after == line.cursor
    rest, end = await _next(engine, after=after, wait=30)
    assert [(each["sequence"], each["to_status"]) for each in rest] == [
        (2, "completed"),
        (3, "awaiting_payment"),
    ]
    assert await _next(engine, after=end) == ([], end)
    own, last = await _next(engine, after="0", job_id=job.job_id)
    assert ([each["sequence"] for each in own], last[-2:]) == ([1, 2], "-2")


@pytest.mark.parametrize("after", [None, "0"])
async def test_a_waiting_caller_is_told_as_soon_as_one_comes(
    engine: JobEngine, after: str | None
) -> None:
    told = list[Any]()

    async def wait(job_id: str | None) -> None:
        told.append(await _next(engine, after=after, job_id=job_id, wait=30))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, None)
            await _until_it_waits(engine)
            job = await engine.create("hash")
    [([line], cursor)] = told
    assert (line["job_id"], cursor[-2:]) == (job.job_id, "-1")
    assert not len(engine.core.state.events), "nobody watches any more"


async def test_of_one_job_those_of_others_are_not_told(engine: JobEngine) -> None:
    job, other = await engine.create("hash"), await engine.create("hash")
    told = list[Any]()

    async def wait() -> None:
        told.append(await _next(engine, job_id=job.job_id, wait=30))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await _until_it_waits(engine)
            await engine.transition(other.job_id, JobStatus.RUNNING)
            await engine.transition(job.job_id, JobStatus.RUNNING)
    [([line], _)] = told
    assert (line["job_id"], line["sequence"]) == (job.job_id, 4)


@pytest.mark.parametrize("ended", [False, True])
async def test_after_the_wait_there_is_an_answer_without_any(*, ended: bool) -> None:
    clock, told = VirtualClock(), list[Any]()

    async def wait(job_id: str) -> None:
        told.append(await _next(waited_for, job_id=job_id, wait=12.5))

    waited_for = JobEngine(clock=clock)
    async with waited_for as engine, anyio.create_task_group() as tasks:
        assert await _next(engine) == ([], "0")
        job = await engine.create("hash", start=True)
        if ended:
            await engine.transition(job.job_id, JobStatus.COMPLETED)
        tasks.start_soon(wait, job.job_id)
        await _until_it_waits(engine)
        await clock.advance(timedelta(seconds=12.4))
        assert not told
        await clock.advance(timedelta(seconds=0.1))
        [(lines, after)] = told
    assert (lines, after[-2:]) == ([], "-2" if ended else "-1")


async def test_a_waiting_caller_learns_of_the_end() -> None:
    async def wait(engine: JobEngine) -> None:
        with pytest.raises(EngineClosedError):
            await _next(engine, wait=30)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks, JobEngine() as closing:
            tasks.start_soon(wait, closing)
            await _until_it_waits(closing)


async def test_nothing_is_read_while_a_caller_waits() -> None:
    reads = 0

    class Counting(MemoryStorage):
        async def transitions(self, *given: Any, **how: Any) -> Any:  # noqa: ANN401
            nonlocal reads
            reads += 1
            return await super().transitions(*given, **how)

    async with JobEngine(Counting()) as engine, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: _next(engine, wait=30))
        await _until_it_waits(engine)
        before = reads
        await anyio.sleep(0.05)
        assert reads == before
        tasks.cancel_scope.cancel()


async def test_what_can_not_be_asked_for_is_refused(engine: JobEngine) -> None:
    wrong: list[dict[str, Any]] = [
        {"after": "soon"},
        {"after": ""},
        {"after": 3},
        {"limit": 0},
        {"limit": 1_001},
        {"wait": 30.5},
        {"wait": -1},
    ]
    for arguments in wrong:
        with pytest.raises(InvalidValueError, match=f"^{next(iter(arguments))} "):
            await _next(engine, **arguments)
    with pytest.raises(JobNotFoundError):
        await _next(engine, job_id="none")
    with pytest.raises(UnknownCursorError):
        await _next(engine, after="7")
    await engine.create("hash")
    with pytest.raises(UnknownCursorError):
        await _next(engine, after="00000000-1")


async def test_removed_ones_are_told_of() -> None:
    rule = Retention(timedelta(seconds=1), interval_seconds=1)
    clock = VirtualClock()
    async with JobEngine(clock=clock, retention=rule) as engine:
        first = (await engine.create("hash")).job_id
        _, after = await _next(engine, after="0")
        for _ in range(2):
            job = await engine.create("hash", start=True)
            await engine.transition(job.job_id, JobStatus.COMPLETED)
        await clock.advance(timedelta(seconds=3))
        assert (await engine.statistics()).removed
        with pytest.raises(CursorExpiredError):
            await _next(engine, after=after)
        [line], _ = await _next(engine, after="0")
        assert line["job_id"] == first


class OwnStorage:
    """A storage of an application's own."""

    def __init__(self) -> None:
        self._memory = MemoryStorage()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._memory, name)


async def test_an_engine_tells_where_its_jobs_are(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    own: Any = OwnStorage()
    places: list[tuple[str | Storage | Path | None, str]] = [
        (None, "memory"),
        (path, "file"),
        (own, "storage"),
    ]
    for storage, place in places:
        async with JobEngine(storage) as engine:
            about = await EngineDesk(engine.core).do("about", {})
            assert (about["place"], about["file"]) == (
                place,
                str(path) if storage == path else None,
            )


@pytest.mark.thorough
async def test_an_engine_over_a_database_says_so_and_tells_of_the_moves_of_others(
    postgres_url: str,
) -> None:
    async with JobEngine(postgres_url) as engine, JobEngine(postgres_url) as other:
        assert (await EngineDesk(engine.core).do("about", {}))["place"] == "database"
        _, after = await _next(engine)
        job = await other.create("hash")
        with anyio.fail_after(20):
            [line], _ = await _next(engine, after=after, wait=30)
        assert line["job_id"] == job.job_id
