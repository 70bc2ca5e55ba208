"""Make ended jobs for tests."""

from typing import Any

from engine import JobStatus
from engine.testing.facades import Engine


async def finished(engine: Engine, result: str = "done") -> Any:  # noqa: ANN401 - the facades' shared shape
    """Return a completed job."""
    job = await engine.create("hash")
    await engine.transition(job.job_id, JobStatus.RUNNING)
    return await engine.transition(job.job_id, JobStatus.COMPLETED, result=result)
