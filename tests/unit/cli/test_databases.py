"""The commands on the URL of a database."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from json import loads
from pathlib import Path
from typing import Any

import psycopg
import pytest

from engine import JobStatus, SyncJobEngine
from engine.storage.places import place_at
from tests.postgres import Cluster, Databases, started_cluster
from tests.tries import thorough_cases
from tests.unit.cli.programs import Run, execute, run

OF_JOB_2 = "UPDATE engine.jobs SET {} WHERE job_id = 'job-2'"
COMMANDS = [["list"], ["show", "job-2"], ["check"]]
OTHERS = [["stats"], ["show", "job-4"], ["wait", "job-2"], ["watch", "job-2"]]
SECRET = "s3cr3t"  # noqa: S105 - the server takes any


def _fill(engine: SyncJobEngine) -> None:
    """Make jobs in four statuses, one of them with an attempt that failed."""
    for number in (1, 2, 3):
        engine.create(f"input {number}", labels={"number": str(number)}, kind="report")
    for job_id in ("job-2", "job-3"):
        engine.transition(job_id, JobStatus.RUNNING, by="us", reason="\x1b[31mpaid")
    engine.transition("job-2", JobStatus.COMPLETED, result="done\n\x1b[31mred")
    engine.create("input 4", input={"a": ["ä"]}, start=True, idempotency_key="key")


def _engine(place: object) -> SyncJobEngine:
    return SyncJobEngine(str(place), new_id=map("job-{}".format, range(1, 9)).__next__)


@pytest.fixture(scope="module")
def used_database(databases: Databases) -> Iterator[str]:
    """Return the URL of a database, with a password, which an engine uses; only for reading."""
    url = databases.new()
    with _engine(url) as engine:
        _fill(engine)
        yield url.replace("postgres@", f"postgres:{SECRET}@")
    databases.drop(url)


def _without_times(fields: object) -> object:
    if isinstance(fields, dict):
        return {
            name: _without_times(value)
            for name, value in fields.items()
            if not name.endswith("at") and name != "epoch"
        }
    return [*map(_without_times, fields)] if isinstance(fields, list) else fields


def test_the_commands_say_of_a_database_what_they_say_of_a_file(
    used_database: str, path: Path, here: Run
) -> None:
    with _engine(path) as engine:
        _fill(engine)
    commands: list[list[Any]] = [
        *(["list"], ["list", "--newest", "--limit", 2], ["list", "--label", "number=2"]),
        *(["list", "--kind", "report", "--status", "failed"], ["check"]),
        *(["list", "--stuck", "0s"], ["list", "--due"], ["list", "--key", "key"]),
        *(["wait", "job-2"], ["wait", "job-4", "--timeout", "0s"], ["watch", "job-2"]),
        *(["show", f"job-{number}"] for number in range(1, 6)),
    ]
    for name, *more in commands:
        ends = []
        for place in (path, used_database):
            code, lines, notes = here(name, place, *more, "--json")
            shown = [note.replace(str(place).replace(f":{SECRET}", ""), "it") for note in notes]
            ends.append((code, [_without_times(loads(line)) for line in lines], shown))
        assert ends[0] == ends[1]
        assert ends[0][0] in {0, 4, 124}


def test_a_real_program_reads_a_database_in_use(used_database: str) -> None:
    shown = used_database.replace(f":{SECRET}", "")
    assert run("check", used_database) == (0, [f"{shown}: 4 jobs, 7 transitions: sound"], [])
    code, lines, [note] = run("list", used_database, "--limit", 2)
    assert (code, [line[:5] for line in lines]) == (0, ["JOB I", "job-1", "job-2"])
    assert note == f"the next ones: python -m engine list {shown} --limit 2 --after 2"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("", "", 0),
        (f"{SECRET}@127.0.0.1", f"{SECRET}@127.0.0.1:1", 3),  # no server
        ("/engine_test", "/lost", 3),
        ("/engine_test", f"/engine_test?schema=lost&password={SECRET}", 3),
        (f"{SECRET}@", f"{SECRET}@{SECRET}@", 2),
        (f"{SECRET}@", f"{SECRET}/{SECRET}@", 2),
        ("/engine_test", f"/engine_test?password={SECRET}&no=parameter", 2),
    ],
)
def test_no_password_is_shown(used_database: str, here: Run, old: str, new: str, code: int) -> None:
    place = used_database.replace(old, new, 1)
    for name, *more in (["list", "--limit", "1"], ["show", "lost"], ["check"]):
        found, lines, notes = here(name, place, *more)
        assert SECRET not in " ".join([*lines, *notes])
        assert found == (4 if (name, code) == ("show", 0) else code), notes
        assert lines or notes


def test_a_server_that_is_not_there_is_told_of_on_one_line(here: Run) -> None:
    code, lines, [note] = here("list", "postgresql://127.0.0.1:1/lost")
    assert (code, lines, "\\n" in note) == (3, [], False)
    assert "Connection refused Is the server running" in note


def test_a_database_is_backed_up_by_its_own_programs(used_database: str, here: Run) -> None:
    code, lines, notes = here("backup", used_database, "copy.db")
    assert (code, lines) == (2, [])
    assert notes[-1] == (
        "engine backup: error: argument FILE: must be a file; pg_dump backs up a database"
    )


def test_reading_needs_no_other_right(used_database: str, here: Run) -> None:
    """It makes nothing, joins no engine, and can't write."""
    execute(
        used_database,
        "CREATE ROLE reader LOGIN",
        "GRANT USAGE ON SCHEMA engine TO reader",
        "GRANT SELECT ON ALL TABLES IN SCHEMA engine TO reader",
    )
    try:
        url = used_database.replace(f"postgres:{SECRET}@", "reader@")
        for name, *more in (*COMMANDS, *OTHERS, ["list", "--stuck", "0s"]):
            assert here(name, url, *more)[0] == 0
    finally:
        execute(used_database, "DROP OWNED BY reader", "DROP ROLE reader")


def test_a_database_without_tables_stays_as_it_is(databases: Databases, here: Run) -> None:
    url = databases.new(empty=True)
    problem = (
        f"engine: {url}: the schema engine has no tables of engines: open it with an engine first, "
        "which makes or migrates them"
    )
    for name, *more in (["list"], ["show", "job-1"], ["check"]):
        assert here(name, url, *more) == (3, [], [problem])
    with psycopg.connect(url) as connection:
        [schemas] = connection.execute(
            "SELECT count(*) FROM pg_namespace WHERE nspname = 'engine'"
        ).fetchone() or (1,)
    assert schemas == 0
    databases.drop(url)


def test_the_url_names_another_schema(postgres_url: str, here: Run) -> None:
    for name, schema in (("job-1", ""), ("job-2", "?schema=other%20one")):
        with SyncJobEngine(f"{postgres_url}{schema}", new_id=iter([name]).__next__) as engine:
            engine.create("input")
        code, [_, line], notes = here("list", f"{postgres_url}{schema}")
        assert (code, line[:5], notes) == (0, name, [])


def test_a_state_is_of_one_moment(postgres_url: str) -> None:
    with SyncJobEngine(postgres_url) as engine, place_at(postgres_url).reading() as view:
        before = view.counts()
        engine.create("later")
        assert view.counts() == before
        assert len(view.epochs()) == 1


@pytest.mark.parametrize(
    ("damage", "codes", "problem"),
    [
        ("updated_at = 'infinity'", [1, 1, 1], "a value can't be: timestamp too large"),
        *thorough_cases(
            ("labels = '{'", [1, 1, 1], "its labels can't be '{'"),
            (
                "prompt = '[]', priority = 0, attempt = 0, failures = 0",
                [1, 1, 1],
                "its prompt can't be '[]'",
            ),
            (
                "priority = 0, attempt = 0, failures = -1",
                [1, 1, 1],
                "a value can't be: Expected `int` >= 0",
            ),
            ("version = 77", [0, 1, 1], "its version is 77, and it has 3 sound transitions"),
            ("created_at = '-infinity'", [1, 1, 1], "a value can't be: timestamp too small"),
            ("status = E'\\x1b[31m'", [0, 0, 1], "its status is \\x1b[31m, and its history ends"),
        ),
    ],
)
def test_no_value_ends_a_command_in_a_traceback(
    postgres_url: str, here: Run, damage: str, codes: list[int], problem: str
) -> None:
    with _engine(postgres_url) as engine:
        _fill(engine)
    execute(postgres_url, OF_JOB_2.format(damage))
    ends = [here(name, postgres_url, *more) for name, *more in COMMANDS]
    assert [code for code, _, _ in ends] == codes
    assert problem in "".join(ends[-1][1] + ends[-1][2])
    assert all(line.isprintable() for _, lines, notes in ends for line in lines + notes)


@pytest.mark.thorough
def test_a_standby_is_read_and_not_copied(tmp_path: Path, here: Run) -> None:
    """It may lack the newest jobs, and has no unlogged tables."""
    standby = Cluster()
    try:
        with started_cluster() as primary:
            with _engine(primary.url) as engine:
                _fill(engine)
            connection = (f"--port={primary.port}", "--host=127.0.0.1", "--username=postgres")
            how = ("--write-recovery-conf", "--checkpoint=fast", f"--pgdata={standby.data}")
            standby.run("pg_basebackup", *connection, *how)
            standby.start()
            for name, *more in COMMANDS + OTHERS:
                assert here(name, standby.url, *more)[::2] == (0, [])
            code, _, [note] = here("copy", standby.url, tmp_path / "copy.db")
            assert (code, note.endswith("may lack the newest jobs: copy its primary")) == (3, True)
    finally:
        standby.remove()


def test_a_missing_package_is_told_of(here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "engine.storage.postgres.inspection", None)  # as psycopg
    code, lines, notes = here("list", "postgresql://host/jobs")
    assert (code, lines) == (2, [])
    assert notes[-1] == (
        "engine list: error: argument PLACE: a PostgreSQL database needs the package psycopg: "
        "pip install 'engine[postgres]'"
    )
