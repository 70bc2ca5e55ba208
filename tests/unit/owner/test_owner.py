"""The owner: its answers when a storage fails, and its decisions of whole batches.

A `StorageError` is a known failure: nothing of the batch is applied, each of its writers gets an
error of its own, its readers get their answers, and the engine keeps running.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    DuplicateJobIdError,
    Job,
    JobEngine,
    JobStatus,
    LifecycleError,
    Move,
    NewJob,
    StorageError,
)
from engine.testing.facades import FACADES, opened_engine
from tests.reliability.planted import PlantedStorage, begun

pytestmark = pytest.mark.anyio

Calls = dict[str, Callable[[], Awaitable[Any]]]


async def _in_one_batch(engine: JobEngine, storage: PlantedStorage, calls: Calls) -> dict[str, Any]:
    """Make the calls while a commit is held: one batch takes them all."""
    outcomes: dict[str, Any] = {}

    async def make(name: str, call: Callable[[], Awaitable[Any]]) -> None:
        try:
            outcomes[name] = await call()
        except StorageError as error:
            outcomes[name] = error

    storage.hold()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(make, "held", lambda: engine.create("held"))
        await begun(storage)
        for name, call in calls.items():
            tasks.start_soon(make, name, call)
            await anyio.wait_all_tasks_blocked()
        storage.let_go()
    assert isinstance(outcomes.pop("held"), Job)
    return outcomes


def _calls(engine: JobEngine, job: Job) -> tuple[Calls, Calls]:
    """Return some writes, and some reads."""
    writes: Calls = {
        "create": lambda: engine.create("new", idempotency_key="key"),
        "create_many": lambda: engine.create_many([NewJob("new")] * 3),
        "transition": lambda: engine.transition(job.job_id, JobStatus.RUNNING),
        "transition_many": lambda: engine.transition_many([Move(job.job_id, JobStatus.FAILED)]),
    }
    reads: Calls = {
        "get": lambda: engine.get(job.job_id),
        "get_many": lambda: engine.get_many([job.job_id]),
        "count": lambda: engine.count(JobStatus.AWAITING_PAYMENT),
        "history": lambda: engine.history(job.job_id),
        "list_jobs": lambda: engine.list_jobs(limit=1),
    }
    return writes, reads


def _no_space() -> StorageError:
    error = StorageError(28, "no space left")
    error.__cause__ = OSError(28, "no space left on the device")
    return error


async def test_no_write_of_a_batch_is_applied_when_its_commit_fails() -> None:
    storage = PlantedStorage()
    async with JobEngine(storage) as engine:
        job = await engine.create("old")
        writes, reads = _calls(engine, job)
        storage.plant(_no_space(), skip=1)
        outcomes = await _in_one_batch(engine, storage, writes | reads)
        errors = [outcomes[name] for name in writes]
        assert {type(error) for error in errors} == {StorageError}
        assert len({id(error) for error in errors}) == len(errors), "each has its own"
        for error in errors:
            assert str(error) == "[Errno 28] no space left"
            assert error.errno == 28
            assert error.item is None
        assert outcomes["get"] == job
        assert outcomes["get_many"] == [job]
        assert outcomes["count"] == 2
        assert [line.to_status for line in outcomes["history"]] == [JobStatus.AWAITING_PAYMENT]
        assert outcomes["list_jobs"].jobs == (job,)


async def test_a_storage_error_keeps_its_cause_for_every_caller() -> None:
    storage = PlantedStorage()
    async with JobEngine(storage) as engine:
        writes, _ = _calls(engine, await engine.create("old"))
        storage.plant(_no_space(), skip=1)
        outcomes = await _in_one_batch(engine, storage, writes)
        assert {type(error.__cause__) for error in outcomes.values()} == {OSError}


@pytest.mark.parametrize("facade", FACADES)
async def test_the_engine_goes_on_after_a_storage_error(facade: type[Any]) -> None:
    storage = PlantedStorage()
    async with opened_engine(facade, storage) as engine:
        job = await engine.create("old")
        for _ in range(3):
            storage.plant(_no_space())
            with pytest.raises(StorageError):
                await engine.create_many([NewJob("lost", idempotency_key="key"), NewJob("lost")])
        # Nothing of it is left: neither the key, nor numbers, nor positions.
        late = await engine.create("late", idempotency_key="key")
        running = await engine.transition(job.job_id, JobStatus.RUNNING)
        assert (await engine.list_jobs()).jobs == (running, late)
        assert [line.sequence for line in await engine.history(late.job_id)] == [2]
        assert [line.sequence for line in await engine.history(job.job_id)] == [1, 3]


READS: dict[str, Callable[[Any], Awaitable[object]]] = {
    "count": lambda engine: engine.count(),
    "page": lambda engine: engine.list_jobs(),
    "history": lambda engine: engine.history("unheard of"),
    "checkout": lambda engine: engine.get("unheard of"),
}


@pytest.mark.parametrize("facade", FACADES)
@pytest.mark.parametrize("method", READS)
async def test_a_read_that_fails_is_told_and_the_engine_goes_on(
    facade: type[Any], method: str
) -> None:
    storage = PlantedStorage()
    async with opened_engine(facade, storage) as engine:
        job = await engine.create("hash")
        storage.plant(_no_space(), method)
        with pytest.raises(StorageError, match="no space left"):
            await READS[method](engine)
        assert await engine.get(job.job_id) == job
        assert await engine.count() == 1


async def test_a_checkout_that_fails_is_told_to_its_batch_and_the_engine_goes_on() -> None:
    storage = PlantedStorage()
    async with JobEngine(storage) as engine:
        job = await engine.create("old")
        writes, reads = _calls(engine, job)
        storage.plant(_no_space(), "checkout")
        outcomes = await _in_one_batch(engine, storage, writes | reads)
        assert {type(outcomes[name]) for name in writes} == {StorageError}
        assert await engine.get(job.job_id) == job
        assert await engine.count() == 2


@pytest.mark.parametrize("facade", FACADES)
async def test_a_storage_that_cannot_be_opened_is_told_and_closed(facade: type[Any]) -> None:
    class Unopened(PlantedStorage):
        async def open(self, *roles: object) -> Any:  # noqa: ANN401 - never returns
            raise StorageError(13, f"no way: {roles}")

    storage = Unopened()
    with pytest.raises(StorageError, match="no way"):
        async with opened_engine(facade, storage):
            pytest.fail("it has started")
    assert storage.closed == 1


@pytest.mark.parametrize("facade", FACADES)
async def test_an_engine_closes_its_storage_once(facade: type[Any]) -> None:
    storage = PlantedStorage()
    async with opened_engine(facade, storage) as engine:
        await engine.create("hash")
        assert storage.closed == 0
    assert storage.closed == 1


async def test_waiting_calls_are_decided_in_one_batch_in_their_order() -> None:
    storage = PlantedStorage()
    async with JobEngine(storage) as engine:
        names = [f"hash {number}" for number in range(20)]
        calls: Calls = {name: partial(engine.create, name) for name in names}
        outcomes = await _in_one_batch(engine, storage, calls)
        assert [job.input_hash for job in (await engine.list_jobs()).jobs] == ["held", *names]
        assert set(outcomes) == set(names)
        statistics = await engine.statistics()
        assert (statistics.batches, statistics.largest_batch, statistics.answered) == (3, 20, 22)


async def test_a_batch_is_capped() -> None:
    storage = PlantedStorage()
    async with JobEngine(storage, max_batch=4) as engine:
        calls: Calls = {str(number): lambda: engine.create("hash") for number in range(10)}
        await _in_one_batch(engine, storage, calls)
        assert (await engine.statistics()).largest_batch == 4


async def test_a_wrong_call_spoils_no_other_of_its_batch() -> None:
    storage = PlantedStorage()
    async with JobEngine(storage) as engine:
        job = await engine.create("old")

        async def illegal() -> str:
            with pytest.raises(ValueError, match="can't move"):
                await engine.transition(job.job_id, JobStatus.AWAITING_PAYMENT)
            return "refused"

        calls: Calls = {
            "first": lambda: engine.create("first", idempotency_key="key"),
            "illegal": illegal,
            "again": lambda: engine.create("first", idempotency_key="key"),
            "move": lambda: engine.transition(job.job_id, JobStatus.RUNNING),
            "illegal too": illegal,
        }
        outcomes = await _in_one_batch(engine, storage, calls)
        assert outcomes["illegal"] == "refused"
        assert outcomes["first"] == outcomes["again"]
        assert outcomes["move"].status is JobStatus.RUNNING
        assert (await engine.statistics()).last_sequence == 4


@pytest.mark.parametrize("facade", FACADES)
async def test_a_storage_that_cannot_be_closed_is_told_by_its_own_error(facade: type[Any]) -> None:
    storage = PlantedStorage()
    with pytest.raises(StorageError, match="no space left"):
        async with opened_engine(facade, storage) as engine:
            await engine.create("hash")
            storage.plant(_no_space(), "aclose")


async def test_an_id_that_is_taken_is_the_error_of_that_call_alone() -> None:
    storage, ids = PlantedStorage(), iter(["ended", "held", "first", "ended", "last"])
    async with JobEngine(storage, new_id=ids.__next__) as engine:
        job = await engine.create("old")
        await engine.transition(job.job_id, JobStatus.RUNNING)
        await engine.transition(job.job_id, JobStatus.FAILED)

        async def duplicate() -> str:
            with pytest.raises(DuplicateJobIdError):
                await engine.create("duplicate")
            return "refused"

        calls: Calls = {
            "first": partial(engine.create, "first"),
            "duplicate": duplicate,
            "last": partial(engine.create, "last"),
        }
        outcomes = await _in_one_batch(engine, storage, calls)
        assert outcomes["duplicate"] == "refused"
        assert [outcomes[name].job_id for name in ("first", "last")] == ["first", "last"]
        assert await engine.count() == 4


@pytest.mark.parametrize("facade", FACADES)
async def test_a_storage_of_another_lifecycle_is_refused_and_closed(facade: type[Any]) -> None:
    storage = PlantedStorage()
    async with opened_engine(facade, storage, lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        job = await engine.create("hash")
        await engine.transition(job.job_id, AgentJobStatus.RUNNING)
        await engine.transition(job.job_id, AgentJobStatus.AWAITING_INPUT)
    with pytest.raises(LifecycleError, match="awaiting_input"):
        async with opened_engine(facade, storage):
            pytest.fail("it has started")
    assert storage.closed == 2
    async with opened_engine(facade, storage, lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        assert (await engine.get(job.job_id)).status is AgentJobStatus.AWAITING_INPUT
