"""A commit of unknown outcome: the engine finds it out before it writes anything else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
import pytest

from engine import (
    CommitCrashedError,
    CommitUnknownError,
    EngineCrashedError,
    FollowUp,
    JobStatus,
    MemoryStorage,
    OutcomeUnknownError,
    StorageError,
    StorageFullError,
)
from engine.storage.audit import AuditLine
from engine.storage.record import Change
from engine.testing.facades import FACADES, Engine, opened_engine

pytestmark = pytest.mark.anyio


class Doubtful(MemoryStorage):
    """Fails in the planned commits, and finds out the planned outcome.

    Attributes:
        failures: The number of the next commits that fail.
        applied: Whether they have been applied, as `resolve` finds out.
        silent: The number of times that `resolve` can't tell.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.applied = False
        self.silent = 0
        self.resolved: list[int] = []
        self.lines: Sequence[AuditLine] = ()

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        self.lines = lines
        if self.failures:
            self.failures -= 1
            raise CommitUnknownError(StorageFullError("the sync failed"))
        await super().commit(changes, lines)

    async def resolve(self, changes: Sequence[Change]) -> bool:
        if self.silent:
            self.silent -= 1
            raise StorageError("it can't be asked")
        self.resolved.append(len(changes))
        if self.applied:
            await super().commit(changes, self.lines)
        return self.applied


async def _fill(engine: Engine) -> Any:  # noqa: ANN401 - a job of either facade
    job = await engine.create("live", idempotency_key="key")
    return await engine.transition(job.job_id, JobStatus.RUNNING)


@pytest.mark.parametrize("facade", FACADES)
async def test_what_was_applied_is_answered_as_usual(facade: type[Any]) -> None:
    storage = Doubtful()
    async with opened_engine(facade, storage) as engine:
        job = await _fill(engine)
        storage.failures, storage.applied = 1, True
        done = await engine.transition(job.job_id, JobStatus.COMPLETED, result="yes")
        assert await engine.get(job.job_id) == done
        assert [line.sequence for line in await engine.history(job.job_id)] == [1, 2, 3]
        assert (await engine.create("next")).version == 1
        assert (await engine.statistics()).last_sequence == 4
    assert storage.resolved == [1]


@pytest.mark.parametrize("facade", FACADES)
async def test_what_was_not_applied_is_refused_with_the_reason(facade: type[Any]) -> None:
    storage = Doubtful()
    async with opened_engine(facade, storage) as engine:
        job = await _fill(engine)
        storage.failures = 1
        with pytest.raises(StorageFullError, match="the sync failed") as caught:
            await engine.transition(job.job_id, JobStatus.COMPLETED)
        assert not isinstance(caught.value, OutcomeUnknownError)
        assert await engine.get(job.job_id) == job
        assert (await engine.transition(job.job_id, JobStatus.FAILED)).version == 3


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("facade", FACADES)
async def test_until_it_can_be_told_reads_go_on_and_writes_are_refused(
    facade: type[Any],
    applied: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    storage = Doubtful()
    async with opened_engine(facade, storage) as engine:
        job = await _fill(engine)
        storage.failures, storage.applied, storage.silent = 1, applied, 3
        with pytest.raises(CommitUnknownError, match="the sync failed") as unknown:
            await engine.transition(job.job_id, JobStatus.COMPLETED)
        assert isinstance(unknown.value.__cause__, StorageFullError)
        for _ in range(2):
            with pytest.raises(StorageError, match="can't be asked") as refused:
                await engine.create("another")
            assert not isinstance(refused.value, OutcomeUnknownError)
            assert await engine.get(job.job_id) == job
            assert await engine.count() == 1
        other = await engine.create("another")
        now = await engine.get(job.job_id)
        assert now.status is (JobStatus.COMPLETED if applied else JobStatus.RUNNING)
        sequences = [line.sequence for line in await engine.history(other.job_id)]
        assert sequences == [4 if applied else 3]


async def test_all_callers_of_the_batch_are_told_the_same() -> None:
    storage = Doubtful()
    outcomes: list[BaseException] = []

    async def create(engine: Engine) -> None:
        try:
            await engine.create("hash")
        except OutcomeUnknownError as error:
            outcomes.append(error)

    async with opened_engine(FACADES[0], storage) as engine:
        storage.failures, storage.silent = 1, 1
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(create, engine)
        assert await engine.count() == 0
    assert len({id(error) for error in outcomes}) == len(outcomes) == 10


@pytest.mark.parametrize("facade", FACADES)
async def test_a_bug_while_it_is_found_out_leaves_it_unknown(facade: type[Any]) -> None:
    class Broken(Doubtful):
        async def resolve(self, changes: Sequence[Change]) -> bool:
            raise KeyError(f"planted, in {len(changes)} changes")

    storage = Broken()
    errors: list[type[BaseException]] = []
    with pytest.raises(EngineCrashedError):
        async with opened_engine(facade, storage) as engine:
            storage.failures = 1
            for _ in range(2):
                with pytest.raises(EngineCrashedError) as caught:
                    await engine.create("hash")
                errors.append(caught.type)
    assert errors == [CommitCrashedError, EngineCrashedError]


@pytest.mark.parametrize("facade", FACADES)
@pytest.mark.parametrize(
    ("storage_call", "call"),
    [
        ("keep_pauses", lambda engine: engine.pause("a")),
        ("keep_rules", lambda engine: engine.remove_rule("a")),
        ("note_acts", lambda engine: engine.drain(by="us")),
        ("remove_ended", lambda engine: engine.prune(keep=0)),
    ],
)
async def test_a_bug_in_a_write_without_changes_of_jobs_leaves_it_unknown(
    facade: type[Any],
    storage_call: str,
    call: Callable[[Engine], Awaitable[object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def break_down(*_: object) -> None:
        raise KeyError("planted")

    storage = MemoryStorage()
    rules = [FollowUp("a", to={JobStatus.COMPLETED})]
    errors: list[type[BaseException]] = []
    with pytest.raises(EngineCrashedError):
        async with opened_engine(facade, storage, follow_ups=rules) as engine:
            monkeypatch.setattr(storage, storage_call, break_down)
            for _ in range(2):
                with pytest.raises(EngineCrashedError) as caught:
                    await call(engine)
                errors.append(caught.type)
    assert errors == [CommitCrashedError, EngineCrashedError]
