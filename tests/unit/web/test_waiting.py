"""Waits that the client asks for by ``Prefer``."""

import anyio
import pytest
from starlette.requests import Request

from engine import JobEngine, JobNotFoundError, JobStatus
from engine.web import preferred_wait_seconds, wait_as_preferred
from tests.unit.web.asking import request

SOON = 0.01


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=10", 10.0),
        ("respond-async, Wait = 7", 7.0),
        ('a="x, wait=1"; b, wait="3"', 3.0),
        ("wait=5; more=yes", 5.0),
        ("wait=2, wait=4", 2.0),
        ("wait=99999", 30.0),
        ("wait=0", 0.0),
        *((each, 0.0) for each in ("", "wait", "wait=", "wait=-1", "wait=1.5", "wait=1s", '"')),
        *((each, 0.0) for each in ("await=1", "wait=\u0661", 'wait="1', "wait=1234567890")),
    ],
)
def test_the_preference_is_read_as_its_rfc_says(header: str, seconds: float) -> None:
    assert preferred_wait_seconds(request(prefer=header)) == seconds


def test_several_headers_are_one_list() -> None:
    raw = [(b"prefer", b"respond-async"), (b"prefer", b"wait=10")]
    assert preferred_wait_seconds(Request({"type": "http", "headers": raw}), at_most=8) == 8


@pytest.mark.parametrize("part", ['"', '",', "wait=1", " ", "a="])
def test_a_hostile_header_costs_little(part: str) -> None:
    assert preferred_wait_seconds(request(prefer=part * (2**16 // len(part)))) == 0


@pytest.mark.anyio
async def test_the_wait_ends_with_the_change() -> None:
    async with JobEngine() as engine, anyio.create_task_group() as tasks:
        job = await engine.create("hash")
        tasks.start_soon(engine.transition, job.job_id, JobStatus.RUNNING)
        asked, until = request(prefer="wait=60"), [JobStatus.RUNNING]
        waiting = wait_as_preferred(engine, asked, job.job_id, until=until, at_most_seconds=60)
        assert (await waiting).status is JobStatus.RUNNING


@pytest.mark.anyio
async def test_without_the_preference_nothing_is_waited_for() -> None:
    async with JobEngine() as engine:
        job = await engine.create("hash")
        assert await wait_as_preferred(engine, request(), job.job_id) == job


@pytest.mark.anyio
async def test_after_the_wait_the_job_is_returned_as_it_is() -> None:
    async with JobEngine() as engine:
        job = await engine.create("hash")
        waiting = wait_as_preferred(
            engine, request(prefer="wait=9"), job.job_id, at_most_seconds=SOON
        )
        assert await waiting == job


@pytest.mark.anyio
async def test_an_unknown_job_is_not_waited_for() -> None:
    async with JobEngine() as engine:
        with pytest.raises(JobNotFoundError):
            await wait_as_preferred(engine, request(prefer="wait=60"), "unknown")
