"""The check of a file finds follow-ups without their parents, and rules that nobody can read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine import FollowUp, JobEngine, JobStatus, StorageDamagedError, SyncJobEngine
from engine.storage.findings import Report
from tests.unit.storage.sqlite.checking import checked, findings, sealed, written

_ENDS = {JobStatus.COMPLETED, JobStatus.FAILED}
_RULES = [FollowUp("settle", to=_ENDS), FollowUp("notify", of="settle", to=_ENDS)]
_RULE = "UPDATE engine SET value = '{}' WHERE name = 'rules'"
_ORIGIN = "UPDATE jobs SET {} WHERE kind = 'notify' AND repeat_of IS NULL"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with two jobs, and follow-ups of one of them, of which one is repeated."""
    path = tmp_path_factory.mktemp("family") / "jobs.db"
    ids = iter(("job-1", "job-2"))
    with SyncJobEngine(path, follow_ups=_RULES, new_id=lambda: next(ids)) as engine:
        for _ in range(2):
            job = engine.create(start=True)
        engine.transition(job.job_id, JobStatus.COMPLETED)
        [settle] = engine.follow_ups(job.job_id)
        engine.transition(settle.job_id, JobStatus.FAILED)
        [notify] = engine.follow_ups(settle.job_id)
        engine.transition(notify.job_id, JobStatus.FAILED)
        for each in (job, settle, notify):
            engine.repeat(each.job_id)
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path))


def test_families_and_repeats_are_sound(path: Path) -> None:
    assert checked(path) == Report(jobs=7, transitions=10, problems=0, findings=())


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (_ORIGIN.format("parent_id = 'x'"), "it follows job 'x', and there is no such job"),
        (_ORIGIN.format("root_id = 'x'"), "its family is that of job 'x', and there is no such"),
        (_ORIGIN.format("root_id = 'job-1'"), "its family is that of job 'job-1', and that of its"),
        (_ORIGIN.format("parent_version = 9"), "it follows version 9 of job "),
        (_ORIGIN.format("parent_version = 1"), "its id is not that of the notify which follows "),
        (_ORIGIN.format("parent_id = NULL"), "it has a part of a parent"),
        ("UPDATE jobs SET job_id = 'x' WHERE kind = 'settle'", "its id is not that of the settle "),
        ("DELETE FROM jobs WHERE job_id = 'job-2'", "it follows job 'job-2', and there is no such"),
        (_RULE.format("["), "note rules: it can't be '['"),
        (_RULE.format("{}"), "note rules: it can't be '{}'"),
        (_RULE.format('[{"kind":"a","to":[]}]'), "note rules: it can't be '[{"),
        (_RULE.format('[{"kind":"a","to":["x"],"of":["a"]}]'), "note rules: it can't be '[{"),
        (_RULE.format('[{"kind":"a","to":["x"],"outcomes":["x"]}]'), "note rules: it can't be '[{"),
    ],
)
def test_damage_is_found(path: Path, statement: str, expected: str) -> None:
    written(path, statement.replace("kind = 'settle'", "kind = 'settle' AND repeat_of IS NULL"))
    sealed(path)
    found = findings(path)
    assert any(expected in each for each in found), found


@pytest.mark.anyio
@pytest.mark.parametrize("text", ["[", "{}", "[1]", '[{"kind":"a"}]'])
async def test_an_engine_refuses_rules_that_it_can_not_read(path: Path, text: str) -> None:
    written(path, _RULE.format(text))
    sealed(path)
    with pytest.raises(StorageDamagedError, match="the rules of follow-ups are damaged"):
        async with JobEngine(path):
            pass
