"""Event streams: their events, and the ends of them."""

from typing import Any

import anyio
import pytest

from engine import (
    Context,
    InvalidValueError,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    Progress,
    SyncJobEngine,
    Transition,
    Worker,
)
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
async def test_a_stream_ends_with_the_engine(is_of_one: bool) -> None:  # noqa: FBT001
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
    answer.close()


async def test_a_client_that_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.web.events._MOST_SEND_SECONDS", 0.01)
    monkeypatch.setattr("engine.web.events._LAST_SEND_SECONDS", 0.01)
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
