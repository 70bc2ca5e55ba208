"""A follow-up that can't be read is never taken for one that is not there, or has ended."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine import ORDER_LIFECYCLE, JobDamagedError, JobEngine
from engine import OrderStatus as S
from engine.operations import EngineDesk
from engine.testing.facades import FACADES, Engine, opened_engine
from tests.unit.follow_ups.conftest import RULES
from tests.unit.follow_ups.families import OrderJob, ended, only

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


async def _damaged_family(path: Path) -> tuple[OrderJob, OrderJob]:
    """Return a job and its follow-up, which have ended; the row of the follow-up is damaged."""
    async with JobEngine(path, lifecycle=ORDER_LIFECYCLE, follow_ups=RULES) as engine:
        job = await ended(engine, S.CANCELLED)
        refund = await engine.transition((await only(engine, job)).job_id, S.COMPLETED)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE jobs SET version = 9 WHERE job_id = ?", (refund.job_id,))
    return job, refund


@pytest.mark.parametrize("facade", FACADES)
async def test_who_asks_for_it_or_waits_for_it_gets_an_error(
    path: Path, facade: type[Engine]
) -> None:
    job, refund = await _damaged_family(path)
    async with opened_engine(facade, path, lifecycle=ORDER_LIFECYCLE) as engine:
        assert (await engine.wait(job.job_id)).status is S.CANCELLED
        for call in (engine.follow_ups(job.job_id), engine.wait(job.job_id, follow_ups=True)):
            with pytest.raises(JobDamagedError) as caught:
                await call
            assert caught.value.job_id == refund.job_id


async def test_an_operator_still_sees_the_job_that_it_follows(path: Path) -> None:
    job, refund = await _damaged_family(path)
    async with JobEngine(path, lifecycle=ORDER_LIFECYCLE) as engine:
        desk = EngineDesk(engine.core)
        told = await desk.do("job", {"job_id": job.job_id})
        assert told["job"]["status"] == "cancelled"
        [damaged] = told["follow_ups"]
        assert damaged.keys() == {"job_id", "damaged"}
        assert damaged["job_id"] == refund.job_id
        with pytest.raises(JobDamagedError):
            await desk.do("job", {"job_id": refund.job_id})
