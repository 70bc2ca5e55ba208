"""The trace context of a job's submitter is kept with the job, and changes nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine import InvalidValueError, JobEngine, JobStatus, NewJob
from engine.testing.facades import Engine

pytestmark = pytest.mark.anyio

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = {"traceparent": PARENT, "tracestate": "vendor=" + "x" * 505}


async def test_it_stays_with_the_job(engine: Engine) -> None:
    job = await engine.create("hash", trace={**TRACE, "baggage": "left out"})
    assert job.trace == TRACE
    [other] = await engine.create_many([NewJob("hash", trace={"traceparent": PARENT})])
    assert other.trace == {"traceparent": PARENT}
    moved = await engine.transition(job.job_id, JobStatus.RUNNING)
    assert moved.trace == (await engine.get(job.job_id)).trace == TRACE


async def test_it_survives_a_restart(tmp_path: Path) -> None:
    async with JobEngine(tmp_path / "jobs.db") as engine:
        job = await engine.create("hash", trace=TRACE)
        plain = await engine.create("hash")
    async with JobEngine(tmp_path / "jobs.db") as engine:
        assert (await engine.get(job.job_id)).trace == TRACE
        assert (await engine.get(plain.job_id)).trace is None


@pytest.mark.parametrize("trace", [{}, {"traceparent": ""}, {"tracestate": "a=1"}], ids=str)
async def test_without_a_parent_there_is_none(trace: Mapping[str, str]) -> None:
    async with JobEngine() as engine:
        assert (await engine.create("hash", trace=trace)).trace is None


@pytest.mark.parametrize(
    "trace",
    [
        PARENT,
        {"traceparent": 17},
        {"traceparent": "x" * 513},
        {"traceparent": PARENT, "tracestate": "x" * 513},
        {"traceparent": "\0"},
    ],
    ids=str,
)
async def test_what_is_none_is_refused(trace: Any) -> None:  # noqa: ANN401 - of a wrong type
    async with JobEngine() as engine:
        with pytest.raises(InvalidValueError, match="trace"):
            await engine.create("hash", trace=trace)
        assert await engine.count() == 0


async def test_a_repeated_create_keeps_the_first_one(engine: Engine) -> None:
    first = await engine.create("hash", idempotency_key="key", trace=TRACE)
    again = await engine.create("hash", idempotency_key="key", trace={"traceparent": "another"})
    assert again == first
