"""Files of released schemas open, show what they showed, and go on.

`schema_1.db` was made by the first version of the engine, and `schema_1.json` is its own account of
the jobs in it. Add a file for each later schema; never change one.
"""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import fields

from engine import AGENT_JOB_LIFECYCLE, AgentJobStatus, JobEngine
from engine.domain.deadlines import Due
from engine.storage.record import Execution, Record
from engine.storage.sqlite.check import check_file
from engine.storage.sqlite.rows import JOB_COLUMNS, checksum
from engine.testing.values import NOON

RELEASED = Path(__file__).parent / "released"


@pytest.mark.anyio
@pytest.mark.parametrize("name", sorted(path.stem for path in RELEASED.glob("*.db")))
async def test_a_file_of_a_released_schema_shows_what_it_showed(name: str, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    shutil.copy(RELEASED / f"{name}.db", path)
    told: dict[str, Any] = json.loads((RELEASED / f"{name}.json").read_text(encoding="utf-8"))
    newest = max(line[-1] for history in told["histories"] for line in history)
    then_it_is = datetime.fromisoformat(newest)  # later on its jobs expire
    async with JobEngine(path, lifecycle=AGENT_JOB_LIFECYCLE, clock=lambda: then_it_is) as engine:
        page = await engine.list_jobs(limit=1_000)
        assert page.damaged == ()
        shown = [job.model_dump(mode="json") for job in page.jobs]
        for now, then in zip(shown, told["jobs"], strict=True):
            assert _told_of(now, then) == then
        for job, then in zip(page.jobs, told["histories"], strict=True):
            lines = await engine.history(job.job_id)
            assert [[e.sequence, e.from_status, e.to_status, str(e.at)] for e in lines] == then
        [asking, *_] = [job for job in page.jobs if job.status is AgentJobStatus.AWAITING_INPUT]
        assert asking.prompt is not None
        answered = await engine.provide_input(asking.job_id, asking.prompt.prompt_id, 3)
        assert answered.status is AgentJobStatus.RUNNING
    assert check_file(path, lambda _done, _of: None).problems == 0


def _told_of(now: Any, then: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value with the fields alone that it had then, its prompt as well."""
    if isinstance(now, dict) and isinstance(then, dict):
        return {key: _told_of(now[key], then[key]) for key in then}
    return now


def test_a_column_that_is_added_later_leaves_the_checksums_of_old_rows() -> None:
    row = tuple(f"value {number}" for number in range(len(JOB_COLUMNS) - 1))
    assert checksum((*row, None)) == checksum((*row, None, None)) == checksum(row)
    assert checksum((*row, "new")) != checksum(row)
    assert checksum((*row, None, "new")) != checksum((*row, "new"))


def _different(kind: type[Record | Execution]) -> dict[str, Any]:
    """Return a value for each field, none of which is its default."""
    values: dict[str, Any] = {}
    for number, field in enumerate(fields(kind), 1):
        is_time = "datetime" in str(field.type)
        values[field.name] = number if "int" in str(field.type) else f"text {number}"
        values[field.name] = NOON if is_time else values[field.name]
    return values


def test_a_move_and_each_step_of_an_execution_keep_every_other_field() -> None:
    execution = Execution(**_different(Execution))
    record = Record(**(_different(Record) | {"execution": execution}))
    after = record.moved("other", NOON, 9, execution=execution)
    changed = {"status", "updated_at", "version", "result", "error", "outcome", "sequence"}
    kept = {field.name for field in fields(Record)} - changed
    assert all(getattr(after, name) == getattr(record, name) for name in kept)
    entered = execution.entering(Due(NOON, NOON))
    kept = {field.name for field in fields(Execution)}
    kept -= {"deadline_at", "deadline_since", "token", "retry_at", "retry_since", "prompt"}
    kept -= {"result_form", "died_attempt"}
    assert all(getattr(entered, name) == getattr(execution, name) for name in kept)
