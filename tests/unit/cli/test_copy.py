"""Copies of a place into a new one: all of it is there, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import count, islice
from json import loads
from pathlib import Path
from typing import Any, TypeVar

import anyio
import psycopg
import pytest

from engine import (
    FollowUp,
    Job,
    JobStatus,
    Outcome,
    OutcomeUnknownError,
    Storage,
    StorageDamagedError,
    StorageInUseError,
    SyncJobEngine,
    Worker,
)
from engine.storage.audit import AuditLine, KeptAuditLine
from engine.storage.copying import (
    Contents,
    Counts,
    Draft,
    FailedAttempt,
    Head,
    Line,
    copy_contents,
)
from engine.storage.locations import storage_at
from engine.storage.places import place_at
from engine.storage.postgres.schema import lock_opening, try_lock_opening
from engine.storage.record import Act, Execution, Record
from engine.testing.book import Book
from engine.testing.failing import failed
from engine.testing.store import opened
from engine.testing.values import MICROSECOND, NOON, ODD_LIFECYCLE, OddStatus, prompt_of
from tests.postgres import SCHEMA, Databases
from tests.tries import thorough, thorough_cases
from tests.unit.cli.programs import SECONDS_AGAINST_HANGS, Run, damage, execute, run

Item = TypeVar("Item")

JOBS = ["full", "failing", "plain", "at work", "paid later"]


async def _write_life(storage: Storage) -> None:
    """Write jobs with all that jobs may have; the first and the last were removed."""
    full = Execution(
        *(7, 3, 1, None, NOON, f'{{"{OddStatus.RUNNING}":60.0}}', NOON, NOON + MICROSECOND),
        *(prompt_of("a"), '{"a":1}', "too\nlate", None, '{"traceparent":"00"}', 2, 3),
        *(NOON, NOON, NOON, None, "us", "removed", "plain"),
    )
    async with opened(storage, Book()) as session:
        batch = session.batch().create("removed").create("full", runs=True, key="ключ")
        batch.create("failing", labels={"customer": "c17", "é": "ß"}, kind="report", runs=True)
        batch.amend("failing", attempt=25, failures=25)
        for number in range(1, 26):
            batch.amend("failing", failed=failed(number), last_error="failed")
        batch.create("plain", input_hash="", given_input='{"a":["ä"]}', identifier="payment")
        batch.create("at work", runs=True, execution=Execution(2, 1, 0, "token"))
        batch.amend("full", **{name: getattr(full, name) for name in full.__struct_fields__})
        batch.move("plain", OddStatus.DONE, at=NOON + MICROSECOND, act=Act("us", "a\n"))
        line = AuditLine(NOON, "us", "move", "plain", "a\n", '{"status":"ä"}')
        batch.create("paid later").pay("paid later", "other payment")
        await session.commit(batch, [line, line._replace(job_id="removed", arguments=None)])
        await session.note_acts([AuditLine(NOON, "us", "backup")])
        await session.commit(session.batch().move("removed", OddStatus.LOST, error="bad"))
        await session.commit(session.batch().create("last").move("last", OddStatus.DONE))
        await session.remove(before=NOON + MICROSECOND, keep=None)


class Places:
    """Makes places of tests."""

    def __init__(self, folder: Path, databases: Databases) -> None:
        self._folder = folder
        self._databases = databases
        self._urls: list[str] = []
        self._numbers = count(1)

    def new(self, sort: str) -> str:
        """Return the location of a new place, where nothing is yet."""
        if sort == "file":
            return str(self._folder / f"place {next(self._numbers)}.db")
        url = self._databases.new(empty=True)
        self._urls.append(url)
        return url

    def life(self, sort: str) -> str:
        """Return the location of a place with all that jobs may have."""
        location = self.new(sort)
        anyio.run(_write_life, storage_at(location))
        return location

    def drop(self) -> None:
        for url in self._urls:
            self._databases.drop(url)


@pytest.fixture
def places(tmp_path: Path, databases: Databases) -> Iterator[Places]:
    made = Places(tmp_path, databases)
    yield made
    made.drop()


def _shown(here: Run, place: str) -> list[Any]:
    """Return all that the commands tell of a place."""
    code, lines, notes = here("list", place, "--json", "--limit", 1_000)
    assert (code, notes) == (0, [])
    jobs = [loads(line) for line in lines]
    return [loads(here("show", place, job["job_id"], "--json")[1][0]) for job in jobs]


def _is_empty(place: str) -> bool:
    """Return whether a place has nothing."""
    if "://" not in place:
        path = Path(place)
        return not [each for each in path.parent.iterdir() if each.name.startswith(path.name)]
    with psycopg.connect(place) as connection:
        [schema] = connection.execute("SELECT to_regnamespace('engine')").fetchone() or ("",)
    return schema is None


FURTHER = ["file to file", "database to database"]
in_all_directions = pytest.mark.parametrize(
    "direction", ["file to database", "database to file", *thorough(*FURTHER)]
)


@in_all_directions
def test_a_copy_has_all_that_its_source_has(places: Places, here: Run, direction: str) -> None:
    sort, _, sort_of_copy = direction.split()
    source, target = places.life(sort), places.new(sort_of_copy)
    before = _shown(here, source)
    assert [each["job_id"] for each in before] == JOBS
    assert len(before[1]["attempts"]) == 20
    assert here("copy", source, target) == (
        0,
        [
            f"{target}: 5 jobs, 6 transitions, the same as {source}",
            f"cursors go on in the copy: no engine may open {source} from now on",
        ],
        [],
    )
    assert _shown(here, target) == before == _shown(here, source)
    assert here("check", target) == (0, [f"{target}: 5 jobs, 6 transitions: sound"], [])
    labelled = here("list", target, "--label", "é=ß", "--kind", "report")
    assert (labelled[1][1][:7], labelled[2]) == ("failing", [])
    _check_contents(source, target)


def _check_contents(source: str, target: str) -> None:
    with place_at(source).contents() as before, place_at(target).contents() as after:
        head, tokens = after.head(), {job.job_id: job.execution.token for job in after.jobs()}
        assert (head.last_sequence, head.last_position) == (10, 7)
        assert head == before.head()
        assert [*after.transitions()] == [*before.transitions()]
    # A living attempt could still end its job.
    assert tokens == {**dict.fromkeys(JOBS), "at work": "dead 1"}


@in_all_directions
def test_an_engine_goes_on_in_the_copy_where_it_was(
    places: Places, here: Run, direction: str
) -> None:
    sort, _, sort_of_copy = direction.split()
    source, target = places.new(sort), places.new(sort_of_copy)
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


@in_all_directions
def test_a_copy_follows_by_the_same_rules(places: Places, here: Run, direction: str) -> None:
    sort, _, sort_of_copy = direction.split()
    source, target = places.new(sort), places.new(sort_of_copy)
    ends = {JobStatus.COMPLETED, JobStatus.FAILED}
    rules = [FollowUp("settle", to=ends, labels={"é": "ß"}, delay=timedelta(days=1))]
    rules += [FollowUp("notify", of="settle", to=ends, outcomes={Outcome.FAILED}, started=True)]
    with SyncJobEngine(source, follow_ups=rules) as engine:
        jobs = [engine.create(start=True, labels={"é": "ß"}) for _ in range(2)]
        engine.transition(jobs[0].job_id, JobStatus.COMPLETED)
        [settle] = engine.follow_ups(jobs[0].job_id)
        engine.transition(settle.job_id, JobStatus.FAILED)
        engine.repeat(settle.job_id)
        kept, followed = engine.rules(), engine.follow_ups(jobs[0].job_id)
        assert (len(kept), len(followed)) == (2, 2)
    assert here("copy", source, target)[0] == 0
    assert here("check", target)[0] == 0
    assert _shown(here, target) == _shown(here, source)
    with place_at(source).contents() as before, place_at(target).contents() as after:
        origins = [job.origin for job in before.jobs()]
        assert [job.origin for job in after.jobs()] == origins
        assert origins[3] is not None
    with SyncJobEngine(target) as engine:
        assert engine.rules() == kept
        assert engine.follow_ups(jobs[0].job_id) == followed
        engine.transition(jobs[1].job_id, JobStatus.FAILED)
        [settle] = engine.follow_ups(jobs[1].job_id)
        assert settle.next_attempt_at == settle.created_at + timedelta(days=1)
        assert not engine.remove_rule("refund")
        assert engine.remove_rule("notify")


@pytest.mark.thorough
@pytest.mark.parametrize("direction", ["file to database", *thorough("database to file", *FURTHER)])
def test_a_job_at_work_runs_again_in_the_copy(places: Places, here: Run, direction: str) -> None:
    sort, _, sort_of_copy = direction.split()
    source, target = places.life(sort), places.new(sort_of_copy)
    assert here("copy", source, target)[0] == 0

    async def work(job: Job[OddStatus]) -> str:
        return job.job_id

    with SyncJobEngine(target, lifecycle=ODD_LIFECYCLE) as engine, Worker(engine, work):
        job = engine.wait("at work", timeout=SECONDS_AGAINST_HANGS)
        assert (job.result, job.attempt) == ("at work", 2)


@pytest.mark.thorough
def test_a_real_program_moves_a_file_to_a_database(places: Places) -> None:
    source, target = places.life("file"), places.new("database")
    assert run("copy", source, target.replace("postgres@", "postgres:s3cr3t@")) == (
        0,
        [
            f"{target}: 5 jobs, 6 transitions, the same as {source}",
            f"cursors go on in the copy: no engine may open {source} from now on",
        ],
        [],
    )


@pytest.mark.parametrize("sort", ["file", *thorough("database")])
def test_a_copy_of_a_backup_begins_an_epoch(
    places: Places, tmp_path: Path, here: Run, sort: str
) -> None:
    """A backup and its source may both go on, so their cursors must differ."""
    source, backup, target = places.life("file"), str(tmp_path / "backup.db"), places.new(sort)
    assert here("backup", source, backup)[0] == 0
    assert here("copy", backup, target)[0] == 0
    with place_at(source).contents() as contents, place_at(target).contents() as copy:
        before, after = contents.head().epochs, copy.head().epochs
    assert after[:-1] == before
    assert after[-1].first_sequence == 11
    assert after[-1].name not in {epoch.name for epoch in before}
    with SyncJobEngine(target, lifecycle=ODD_LIFECYCLE):
        pass
    with place_at(target).contents() as copy:
        assert copy.head().epochs == after


# Refusals.


def test_a_copy_writes_over_no_file(places: Places, tmp_path: Path, here: Run) -> None:
    source, target = places.life("file"), tmp_path / "copy.db"
    target.write_bytes(b"")
    code, lines, [note] = here("copy", source, target)
    assert (code, lines) == (3, [])
    assert note == f"engine: {target} is there already: choose another name, or delete it first"
    assert target.read_bytes() == b""


@pytest.mark.thorough
def test_a_copy_goes_into_an_empty_database_only(places: Places, here: Run) -> None:
    source, target = places.life("file"), places.new("database")
    with SyncJobEngine(target):
        code, _, [note] = here("copy", source, target)
        assert (code, note.startswith(f"engine: {target} is in use by")) == (3, True)
    assert here("copy", source, target)[0] == 0
    before = _shown(here, target)
    code, _, [note] = here("copy", source, target)
    assert code == 3
    assert note == (
        f"engine: {target} has jobs already, or had some: name another database, or another "
        "schema by ?schema=NAME"
    )
    execute(target, "DELETE FROM engine.jobs", "DELETE FROM engine.transitions")
    assert here("copy", source, target)[0] == 3
    assert here("copy", source, f"{target}?schema=other")[0] == 0
    assert _shown(here, f"{target}?schema=other") == before


@pytest.mark.parametrize("sort", ["file", "database"])
def test_a_place_in_use_is_not_copied(places: Places, here: Run, sort: str) -> None:
    source, target = places.new(sort), places.new("file")
    with SyncJobEngine(source) as engine:
        engine.create("one")
        code, _, [note] = here("copy", source, target)
        assert (code, _is_empty(target)) == (3, True)
        assert note.startswith(f"engine: {source} is in use")
    assert here("copy", source, target)[0] == 0


@pytest.mark.thorough
def test_an_engine_that_has_died_unnoticed_may_be_alive(places: Places, here: Run) -> None:
    source, target = places.life("database"), places.new("file")
    execute(source, "INSERT INTO engine.engines (name, lease_seconds) VALUES ('far', 15)")
    code, lines, [note] = here("copy", source, target)
    assert (code, lines) == (3, [])
    assert "far (if it has died, open another one for longer than its lease" in note
    execute(source, "UPDATE engine.engines SET dead = true")
    assert here("copy", source, target)[0] == 0


def test_no_engine_opens_a_file_that_is_being_copied(places: Places) -> None:
    source = places.life("file")
    with place_at(source).contents(), pytest.raises(StorageInUseError), SyncJobEngine(source):
        pass


@pytest.mark.thorough
def test_a_database_that_an_engine_is_opening_is_not_copied(places: Places) -> None:
    """Both need the same lock."""
    source = places.life("database")
    with psycopg.connect(source) as connection:
        lock_opening(connection, SCHEMA)
        with pytest.raises(StorageInUseError, match="which is opening it or copying it now"):
            _copy_losing(source, places.new("file"), "nothing")
    with place_at(source).contents(), psycopg.connect(source) as connection:
        assert not try_lock_opening(connection, SCHEMA)


@pytest.mark.parametrize(
    ("damaging", "problem"),
    [
        (
            "UPDATE jobs SET checksum = 7 WHERE job_id = 'full'",
            "job full is damaged, so there is no copy: its checksum",
        ),
        *thorough_cases(
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
            ("DELETE FROM labels WHERE name = 'customer'", "its labels differ: check the source"),
        ),
    ],
)
def test_damage_of_a_file_is_not_copied(
    places: Places, here: Run, damaging: str, problem: str
) -> None:
    source = places.life("file")
    damage(Path(source), damaging)
    for sort in ("file", "database"):
        target = places.new(sort)
        code, lines, [note] = here("copy", source, target)
        assert (code, lines) == (1, [])
        assert problem in note
        assert _is_empty(target)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("damaging", "problem"),
    [
        (
            "UPDATE engine.jobs SET labels = '{' WHERE job_id = 'failing'",
            "job failing is damaged, so there is no copy: its labels can't be",
        ),
        *thorough_cases(
            ("DELETE FROM engine.labels WHERE name = 'customer'", "its labels differ: check the"),
            (
                "UPDATE engine.notes SET value = '[' WHERE name = 'statuses'",
                "its notes are damaged",
            ),
            (
                "UPDATE engine.notes SET value = 'x' WHERE name LIKE 'last%'",
                "its notes are damaged",
            ),
            ("UPDATE engine.jobs SET created_at = '-infinity'", "a value can't be: "),
        ),
    ],
)
def test_damage_of_a_database_is_not_copied(
    places: Places, here: Run, damaging: str, problem: str
) -> None:
    source, target = places.life("database"), places.new("file")
    execute(source, damaging)
    code, lines, [note] = here("copy", source, target)
    assert (code, lines) == (1, [])
    assert problem in note
    assert _is_empty(target)


class _Losing:
    """Loses something on the way to a draft."""

    def __init__(self, draft: Draft, lost: str) -> None:
        self._draft = draft
        self._lost = lost

    def put_head(self, head: Head) -> None:
        self._draft.put_head(head._replace(last_position=0) if self._lost == "head" else head)

    def put_jobs(self, jobs: Iterable[Record]) -> None:
        self._draft.put_jobs(self._kept("jobs", jobs))

    def put_transitions(self, lines: Iterable[Line]) -> None:
        self._draft.put_transitions(self._kept("transitions", lines))

    def put_attempts(self, attempts: Iterable[FailedAttempt]) -> None:
        self._draft.put_attempts(self._kept("attempts", attempts))

    def put_audit(self, lines: Iterable[KeptAuditLine]) -> None:
        self._draft.put_audit(self._kept("audit", lines))

    def _kept(self, table: str, rows: Iterable[Item]) -> list[Item]:
        return [*rows][: -1 if table == self._lost else None]

    def contents(self) -> Contents:
        if self._lost == "the program":
            raise KeyboardInterrupt
        return self._draft.contents()


def _copy_losing(source: str, target: str, lost: str) -> None:
    with place_at(source).contents() as contents:
        place_at(target).make(
            lambda draft: copy_contents(contents, _Losing(draft, lost), lambda _done, _of: None)
        )


@pytest.mark.parametrize("sort", ["file", *thorough("database")])
def test_a_copy_that_differs_is_none(places: Places, sort: str) -> None:
    source = places.life("file")
    target = places.new(sort)
    for lost in ("head", "jobs", "transitions", "attempts", "audit"):
        with pytest.raises(StorageDamagedError):
            _copy_losing(source, target, lost)
        assert _is_empty(target)
    with pytest.raises(KeyboardInterrupt):
        _copy_losing(source, target, "the program")
    assert _is_empty(target)


@pytest.mark.thorough
def test_a_commit_that_was_cut_off_is_told_of(places: Places) -> None:
    def write(draft: Draft) -> Counts:
        counts = copy_contents(contents, draft, lambda _done, _of: None)
        execute(
            target,
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        return counts

    source, target = places.life("file"), places.new("database")
    with (
        place_at(source).contents() as contents,
        pytest.raises(OutcomeUnknownError, match="all of the copy is there, or nothing"),
    ):
        place_at(target).make(write)
    assert _is_empty(target)
