"""Copies of a place into a new one: all of it is there, or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from json import loads
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest

from engine import (
    JobStatus,
    SQLiteStorage,
    StorageDamagedError,
    StorageInUseError,
    SyncJobEngine,
)
from engine.storage.copying import Contents, Draft, FailedAttempt, Head, Line, copy_contents
from engine.storage.inspection import Place
from engine.storage.record import Act, Execution, Record
from engine.storage.sqlite.inspection import FilePlace
from engine.testing.book import Book
from engine.testing.failing import failed
from engine.testing.store import opened
from engine.testing.values import MICROSECOND, NOON, ODD_LIFECYCLE, OddStatus, prompt_of
from tests.unit.cli.programs import Run, damage, run

Item = TypeVar("Item")

JOBS = ["full", "failing", "plain", "at work", "paid later"]


async def _write_life(path: Path) -> None:
    """Write jobs with all that jobs may have; the first and the last were removed."""
    full = Execution(
        *(7, 3, 1, None, NOON, f'{{"{OddStatus.RUNNING}":60.0}}', NOON, NOON + MICROSECOND),
        *(prompt_of("a"), '{"a":1}', "too\nlate", None, '{"traceparent":"00"}', 2, 3),
        *(NOON, NOON, NOON, None, "us", "removed", "plain"),
    )
    async with opened(SQLiteStorage(path), Book()) as session:
        batch = session.batch().create("removed").create("full", runs=True, key="ключ")
        batch.create("failing", labels={"customer": "c17", "é": "ß"}, kind="report", runs=True)
        batch.amend("failing", attempt=25, failures=25)
        for number in range(1, 26):
            batch.amend("failing", failed=failed(number), last_error="failed")
        batch.create("plain", input_hash="", given_input='{"a":["ä"]}', identifier="payment")
        batch.create("at work", runs=True, execution=Execution(2, 1, 0, "token"))
        batch.amend("full", **{name: getattr(full, name) for name in full.__struct_fields__})
        batch.move("plain", OddStatus.DONE, at=NOON + MICROSECOND, act=Act("us", "a\n"))
        await session.commit(batch.create("paid later").pay("paid later", "other payment"))
        await session.commit(session.batch().move("removed", OddStatus.LOST, error="bad"))
        await session.commit(session.batch().create("last").move("last", OddStatus.DONE))
        await session.remove(before=NOON + MICROSECOND, keep=None)


@pytest.fixture
def life(tmp_path: Path) -> Path:
    path = tmp_path / "life.db"
    anyio.run(_write_life, path)
    return path


def _shown(here: Run, place: object) -> list[Any]:
    """Return all that the commands tell of a place."""
    code, lines, notes = here("list", place, "--json", "--limit", 1_000)
    assert (code, notes) == (0, [])
    jobs = [loads(line) for line in lines]
    return [loads(here("show", place, job["job_id"], "--json")[1][0]) for job in jobs]


def test_a_copy_has_all_that_its_source_has(life: Path, tmp_path: Path, here: Run) -> None:
    target = tmp_path / "copy.db"
    before = _shown(here, life)
    assert [each["job_id"] for each in before] == JOBS
    assert len(before[1]["attempts"]) == 20
    assert run("copy", life, target) == (
        0,
        [f"{target}: 5 jobs, 6 transitions, the same as {life}"],
        [f"cursors go on in the copy: no engine may open {life} from now on"],
    )
    assert _shown(here, target) == before == _shown(here, life)
    assert here("check", target) == (0, [f"{target}: 5 jobs, 6 transitions: sound"], [])
    labelled = here("list", target, "--label", "é=ß", "--kind", "report")
    assert (labelled[1][1][:7], labelled[2]) == ("failing", [])


def test_an_engine_goes_on_in_the_copy_where_it_was(tmp_path: Path, here: Run) -> None:
    source, target = tmp_path / "source.db", tmp_path / "target.db"
    with SyncJobEngine(source) as engine:
        job = engine.create("one", idempotency_key="key", payment_id="payment")
        ended = engine.create("two", start=True)
        engine.transition(ended.job_id, JobStatus.FAILED, error="bad")
        repeated = engine.repeat(ended.job_id)
        before = [*islice(engine.watch(after=0), 4)]
    assert here("copy", source, target)[0] == 0
    with SyncJobEngine(target) as engine:
        assert engine.create("one", idempotency_key="key", payment_id="payment") == job
        assert engine.repeat(ended.job_id) == repeated
        assert engine.find(payment_id="payment") == job
        engine.start(payment_id="payment")
        line = next(engine.watch(after=before[-1].cursor))
        assert (line.sequence, line.epoch) == (5, before[-1].epoch)
        assert [*islice(engine.watch(after=0), 5)] == [*before, line]
        engine.create("three")
    listed = here("list", target, "--after", 3)
    assert [line.split()[3] for line in listed[1][1:]] == ["three"]
    assert here("check", target)[0] == 0


def test_the_numbers_of_removed_jobs_stay_taken(life: Path, tmp_path: Path, here: Run) -> None:
    target = tmp_path / "copy.db"
    assert here("copy", life, target)[0] == 0
    with FilePlace(life).contents() as source, FilePlace(target).contents() as copy:
        assert (copy.head().last_sequence, copy.head().last_position) == (10, 7)
        assert copy.head() == source.head()


def test_an_attempt_has_died_in_the_copy(life: Path, tmp_path: Path, here: Run) -> None:
    """Its job runs again, as after the death of its engine; a living one could still end it."""
    target = tmp_path / "copy.db"
    assert here("copy", life, target)[0] == 0
    with FilePlace(target).contents() as copy:
        tokens = {job.job_id: job.execution.token for job in copy.jobs()}
        assert copy.count_held() == 0
    assert tokens == {**dict.fromkeys(JOBS), "at work": "dead 1"}


def test_a_copy_of_a_backup_begins_an_epoch(life: Path, tmp_path: Path, here: Run) -> None:
    """A backup and its source may both go on, so their cursors must differ."""
    backup, target = tmp_path / "backup.db", tmp_path / "copy.db"
    assert here("backup", life, backup)[0] == 0
    assert here("copy", backup, target)[0] == 0
    with FilePlace(life).contents() as source, FilePlace(target).contents() as copy:
        before, after = source.head().epochs, copy.head().epochs
    assert after[:-1] == before
    assert after[-1].first_sequence == 11
    assert after[-1].name not in {epoch.name for epoch in before}
    with SyncJobEngine(target, lifecycle=ODD_LIFECYCLE):
        pass
    with FilePlace(target).contents() as copy:
        assert copy.head().epochs == after


# Refusals.


def test_a_copy_writes_over_nothing(life: Path, tmp_path: Path, here: Run) -> None:
    target = tmp_path / "copy.db"
    target.write_bytes(b"")
    code, lines, [note] = here("copy", life, target)
    assert (code, lines) == (3, [])
    assert note == f"engine: {target} is there already: choose another name, or delete it first"
    assert target.read_bytes() == b""


def test_a_place_in_use_is_not_copied(tmp_path: Path, here: Run) -> None:
    source, target = tmp_path / "source.db", tmp_path / "target.db"
    with SyncJobEngine(source) as engine:
        engine.create("one")
        code, _, [note] = here("copy", source, target)
        assert (code, target.exists()) == (3, False)
        assert note.startswith(f"engine: {source} is in use")
    assert here("copy", source, target)[0] == 0


def test_no_engine_opens_a_place_that_is_being_copied(life: Path) -> None:
    with FilePlace(life).contents(), pytest.raises(StorageInUseError), SyncJobEngine(life):
        pass


@pytest.mark.parametrize(
    ("damaging", "problem"),
    [
        (
            "UPDATE jobs SET checksum = 7 WHERE job_id = 'full'",
            "job full is damaged, so there is no copy: its checksum",
        ),
        (
            "UPDATE transitions SET checksum = 7 WHERE sequence = 2",
            "transition 2 is damaged, so there is no copy: its",
        ),
        (
            "UPDATE attempts SET checksum = 7 WHERE number = 7",
            "an attempt of position 3 is damaged, so there is no copy",
        ),
        (
            "UPDATE engine SET checksum = 7 WHERE name = 'renamed'",
            "the note renamed is damaged: its checksum is",
        ),
    ],
)
def test_damage_is_not_copied(
    life: Path, tmp_path: Path, here: Run, damaging: str, problem: str
) -> None:
    damage(life, damaging)
    code, lines, [note] = here("copy", life, tmp_path / "copy.db")
    assert (code, lines) == (1, [])
    assert problem in note
    assert {each.name for each in tmp_path.iterdir()} <= {"life.db", *LEFT}


LEFT = ("life.db-lock", "life.db-wal", "life.db-shm")


def test_a_label_that_no_job_has_is_not_copied(life: Path, tmp_path: Path, here: Run) -> None:
    damage(life, "DELETE FROM labels WHERE name = 'customer'")
    code, _, [note] = here("copy", life, tmp_path / "copy.db")
    assert code == 1
    assert note.endswith("its labels differ: check the source")
    assert {each.name for each in tmp_path.iterdir()} <= {"life.db", *LEFT}


class _Losing:
    """Loses something on the way to a draft."""

    def __init__(self, draft: Draft, lost: str) -> None:
        self._draft = draft
        self._lost = lost

    def put_head(self, head: Head) -> None:
        self._draft.put_head(head._replace(last_position=0) if self._lost == "head" else head)

    def put_jobs(self, jobs: Iterable[Record], head: Head) -> None:
        self._draft.put_jobs(self._kept("jobs", jobs), head)

    def put_transitions(self, lines: Iterable[Line]) -> None:
        self._draft.put_transitions(self._kept("transitions", lines))

    def put_attempts(self, attempts: Iterable[FailedAttempt]) -> None:
        self._draft.put_attempts(self._kept("attempts", attempts))

    def _kept(self, table: str, rows: Iterable[Item]) -> list[Item]:
        return [*rows][: -1 if table == self._lost else None]

    def contents(self) -> Contents:
        if self._lost == "the program":
            raise KeyboardInterrupt
        return self._draft.contents()


def _copy_losing(source: Place, target: Place, lost: str) -> None:
    with source.contents() as contents:
        target.make(
            lambda draft: copy_contents(contents, _Losing(draft, lost), lambda _done, _of: None)
        )


@pytest.mark.parametrize("lost", ["head", "jobs", "transitions", "attempts"])
def test_a_copy_that_differs_is_none(life: Path, tmp_path: Path, lost: str) -> None:
    with pytest.raises(StorageDamagedError):
        _copy_losing(FilePlace(life), FilePlace(tmp_path / "copy.db"), lost)
    assert {each.name for each in tmp_path.iterdir()} <= {"life.db", *LEFT}


def test_a_copy_that_is_stopped_leaves_nothing(life: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _copy_losing(FilePlace(life), FilePlace(tmp_path / "copy.db"), "the program")
    assert {each.name for each in tmp_path.iterdir()} <= {"life.db", *LEFT}
