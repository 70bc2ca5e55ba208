"""Event streams: their events, and the ends of them."""

import logging
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from engine import (
    Context,
    InvalidValueError,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    MemoryStorage,
    Progress,
    StorageDamagedError,
    StorageError,
    SyncJobEngine,
    Transition,
    Worker,
)
from engine.storage.record import Entry
from engine.web import event_stream
from tests.unit.web.asking import Answer, answered, request

pytestmark = pytest.mark.anyio


async def completed(engine: JobEngine) -> str:
    job = await engine.create("hash")
    await engine.transition(job.job_id, JobStatus.RUNNING)
    await engine.transition(job.job_id, JobStatus.COMPLETED)
    return job.job_id


async def test_an_event_has_the_fields_of_its_transition_and_its_cursor_as_id() -> None:
    async with JobEngine() as engine:
        job_id = await completed(engine)
        async with answered(event_stream(engine, request(), job_id)) as answer:
            events = await answer.events()
            await answer.has_returned.wait()
        history = await engine.history(job_id)
    assert answer.is_whole
    assert [each["id"] for each in events] == [each.cursor for each in history]
    fields = {"sequence", "job_id", "from_status", "to_status", "at"}
    shown = [each.model_dump(mode="json", include=fields) for each in history]
    assert [each["data"] for each in events] == shown


async def test_progress_comes_only_if_it_is_wanted_and_has_no_id() -> None:
    at_work, go_on = anyio.Event(), anyio.Event()

    async def work(context: Context) -> None:
        context.progress(1, 2)
        at_work.set()
        await go_on.wait()

    async with JobEngine() as engine, Worker(engine, work):
        job = await engine.create("hash")
        streams = [
            event_stream(engine, request(), job.job_id, progress=wants) for wants in (True, False)
        ]
        async with answered(streams[0]) as with_progress, answered(streams[1]) as without:
            assert (await with_progress.event())["data"]["to_status"] == "awaiting_payment"
            await engine.transition(job.job_id, JobStatus.RUNNING)
            await at_work.wait()
            while (seen := await with_progress.event()).get("event") != "progress":
                assert seen["data"]["to_status"] == "running"
            assert "id" not in seen
            assert (seen["data"]["done"], seen["data"]["total"]) == (1, 2)
            go_on.set()
            assert all("event" not in each for each in await without.events())


async def test_an_event_is_shown_as_the_service_likes_or_left_out() -> None:
    def show(event: Transition[Any] | Progress) -> object:
        assert isinstance(event, Transition)
        return None if event.from_status is None else [event.to_status]

    async with JobEngine() as engine:
        job_id = await completed(engine)
        async with answered(event_stream(engine, request(), job_id, show=show)) as answer:
            events = await answer.events()
    assert [each["data"] for each in events] == [["running"], ["completed"]]


async def test_a_stream_of_left_out_events_is_kept_alive() -> None:
    heart = anyio.Event()

    def show(_event: object) -> None:
        heart.set()

    async with JobEngine() as engine:
        stream = event_stream(engine, request(), show=show, heartbeat_seconds=0.01)
        async with answered(stream) as answer:
            await answer.part()
            await engine.create("hash")
            await heart.wait()
            assert (await answer.part()).startswith(":")


async def test_before_the_first_transition_the_place_is_known_too() -> None:
    async with JobEngine() as engine:
        async with answered(event_stream(engine, request())) as answer:
            assert await answer.part() == "id: 0\n\n"
        job = await engine.create("hash")
        async with answered(event_stream(engine, request(last_event_id="0"))) as answer:
            assert (await answer.event())["data"]["job_id"] == job.job_id


@pytest.mark.parametrize("is_of_one", [False, True])
async def test_a_stream_ends_with_the_engine(
    caplog: pytest.LogCaptureFixture,
    is_of_one: bool,  # noqa: FBT001
) -> None:
    answer = Answer()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            async with JobEngine() as engine:
                job = await engine.create("hash")
                stream = event_stream(engine, request(), job.job_id if is_of_one else None)
                tasks.start_soon(answer.run, stream)
                await answer.part()
            await answer.has_returned.wait()
    assert answer.is_whole
    assert not caplog.records, "the end of an engine is no trouble of a stream"
    answer.close()


async def test_a_client_that_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.web.streaming._MOST_SEND_SECONDS", 0.01)
    monkeypatch.setattr("engine.web.streaming._LAST_SEND_SECONDS", 0.01)
    async with JobEngine() as engine:
        before = (await engine.statistics()).watchers
        async with answered(event_stream(engine, request(), heartbeat_seconds=0.01)) as answer:
            await answer.part()
            answer.takes = anyio.Event()
            await answer.has_returned.wait()
        assert not answer.is_whole
        assert (await engine.statistics()).watchers == before


async def test_a_client_that_goes_ends_the_stream() -> None:
    async with JobEngine() as engine:
        before = (await engine.statistics()).watchers
        async with answered(event_stream(engine, request())) as answer:
            await answer.part()
            answer.gone.set()
            await answer.has_returned.wait()
        assert (await engine.statistics()).watchers == before


async def test_what_is_wrong_is_raised_before_the_stream_begins() -> None:
    async with JobEngine() as engine:
        for stream, error in (
            (event_stream(engine, request(), "unknown"), JobNotFoundError),
            (event_stream(engine, request(last_event_id="x")), InvalidValueError),
        ):
            with pytest.raises(error):
                await stream({"type": "http", "method": "GET"}, None, None)  # type: ignore[arg-type]


def test_a_blocking_engine_has_no_stream() -> None:
    with SyncJobEngine() as blocking, pytest.raises(InvalidValueError, match="must be a JobEngine"):
        event_stream(blocking, request())  # type: ignore[arg-type]


async def _show_later(_event: object) -> None:
    pass


WRONG: list[tuple[str, object]] = [
    *(("heartbeat_seconds", each) for each in (0, -1, float("nan"), float("inf"), "15", True)),
    *(("progress", each) for each in (1, None, "yes")),
    *(("show", each) for each in (7, "data")),
    ("show", _show_later),
]


@pytest.mark.parametrize(("field", "wrong"), WRONG)
async def test_a_wrong_argument_is_refused_by_the_call(field: str, wrong: object) -> None:
    async with JobEngine() as engine:
        with pytest.raises(InvalidValueError) as refused:
            event_stream(engine, request(), **{field: wrong})  # type: ignore[arg-type]
        assert refused.value.field == field


class BrokenHistory(MemoryStorage):
    """A storage whose transitions can't be read any more, once it is broken."""

    error: Exception | None = None

    async def transitions(
        self, after: int, limit: int, job_id: str | None = None
    ) -> Sequence[Entry]:
        if self.error is not None:
            raise self.error
        return await super().transitions(after, limit, job_id)


OF_THE_LOG = "/var/jobs.db"


@pytest.mark.parametrize("is_of_one", [False, True])
async def test_damage_is_logged_and_told_before_the_end(
    caplog: pytest.LogCaptureFixture,
    is_of_one: bool,  # noqa: FBT001
) -> None:
    storage = BrokenHistory()
    async with JobEngine(storage) as engine:
        job_id = await completed(engine)
        storage.error = StorageDamagedError(f"{OF_THE_LOG}: transition 2 is damaged")
        asked = request("/events", last_event_id=str(engine.core.cursor_at(1)))
        stream = event_stream(engine, asked, job_id if is_of_one else None)
        async with answered(stream) as answer:
            [event] = await answer.events()
            await answer.has_returned.wait()
    assert answer.is_whole
    assert "id" not in event
    assert (event["event"], event["data"]["code"]) == ("problem", "storage-damaged")
    assert OF_THE_LOG not in str(event)
    [line] = caplog.records
    assert (line.name, line.levelno) == ("engine.web", logging.ERROR)
    assert line.getMessage() == f"GET /events: {OF_THE_LOG}: transition 2 is damaged"


async def test_what_passes_by_is_logged_and_ends_the_stream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    storage = BrokenHistory()
    async with JobEngine(storage) as engine:
        job_id = await completed(engine)
        storage.error = StorageError("the disk is away")
        async with answered(event_stream(engine, request("/events"), job_id)) as answer:
            assert await answer.events() == []
    assert answer.is_whole
    [line] = caplog.records
    assert (line.name, line.levelno) == ("engine.web", logging.WARNING)


async def test_an_error_of_show_is_not_taken_for_one_of_the_engine() -> None:
    def show(_event: object) -> object:
        raise JobNotFoundError("another")

    async with JobEngine() as engine:
        job_id = await completed(engine)
        with pytest.RaisesGroup(JobNotFoundError, flatten_subgroups=True):
            async with answered(event_stream(engine, request(), job_id, show=show)):
                await anyio.sleep_forever()
