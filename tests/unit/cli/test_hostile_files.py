"""Files that an attacker has written: no command ends in a traceback, and no engine crashes.

Every checksum fits, because anyone can compute it.
"""

from __future__ import annotations

import resource
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from zlib import crc32

import anyio
import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    EngineError,
    Job,
    JobDamagedError,
    JobStatus,
    LifecycleError,
    SQLiteStorage,
    StorageError,
    SyncJobEngine,
    Worker,
)
from engine.cli import polling
from engine.domain.time_text import time_text
from engine.storage.record import Execution
from engine.storage.sqlite.rows import (
    ATTEMPT_COLUMNS,
    JOB_COLUMNS,
    TRANSITION_COLUMNS,
    checksum,
)
from engine.testing.book import Book
from engine.testing.failing import failed
from engine.testing.store import opened
from engine.testing.values import NOON, prompt_of
from tests.systems import needs_proc
from tests.tries import by_turns, thorough
from tests.unit.cli.programs import Run

TABLES = {
    "jobs": JOB_COLUMNS[:-1],
    "transitions": TRANSITION_COLUMNS[:-1],
    "attempts": ATTEMPT_COLUMNS[:-1],
    "engine": ("name", "value"),
}
COLUMNS = [(table, column) for table, columns in TABLES.items() for column in columns]
JSON = ["input", "deadlines", "prompt", "answers", "trace"]
WITH_JSON = [(table, column) for table, column in COLUMNS if column in [*JSON, "value"]]
COMMANDS = [
    *(["list"], ["list", "--json"], ["list", "--status", "none"], ["check"], ["check", "--json"]),
    *(["show", "job"], ["show", "job", "--json"]),
]
OTHERS = [
    *(["stats"], ["list", "--stuck", "1h"], ["list", "--due", "--json"]),
    *(["wait", "job", "--timeout", "0s"], ["watch", "--after", "0"]),
]
"""Commands that don't say of each damage that there is one."""
ACTS = [["cancel", "job"], ["answer", "job", "--value", "1"], ["retry", "--stuck", "0s", "--yes"]]
FIRST, LAST = "'0001-01-01T00:00:00.000000Z'", "'9999-12-31T00:00:00.000000Z'"
LARGEST = str(2**63 - 1)


def _quoted(text: str) -> str:
    """Return a text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


NO_JSON = [
    "{",
    "[1,]",
    '"\\ud800"',
    "NaN",
    "1e999",
    "9" * 5_000,
    "[" * 300 + "]" * 300,
    "[" * 9_999,
]
OTHER_FORMS = {
    "deadlines": [
        *("[]", '{"a":"x"}', '{"a":-1}', '{"a":1e300}'),
        *('{"a":"2026-01-01T00:00:00"}', '{"a":"2026-01-01T00:00:00+01:00"}'),
    ],
    "prompt": ["{}", "[]", prompt_of("a").replace('"a"', "7", 1), prompt_of("a")[:-1] + ',"b":1}'],
    "answers": ["[1]", "7"],
    "trace": ["[1]", '{"traceparent":7}'],
}
CONTENTS = [
    *((column, _quoted(text)) for column in JSON for text in NO_JSON),
    *((column, _quoted(text)) for column, texts in OTHER_FORMS.items() for text in texts),
    ("prompt", _quoted(prompt_of("a").replace('{"a":"a"}', f'{{"a":{"[" * 300 + "]" * 300}}}'))),
    ("prompt", _quoted(prompt_of("a").replace('{"a":"a"}', '{"a":"\\ud800"}'))),
    *((column, value) for column in ("attempt", "failures", "deaths") for value in (LARGEST, "-1")),
    *(("died_attempt", LARGEST), ("priority", LARGEST), ("priority", f"-{LARGEST}")),
    *(("result_form", "'xml'"), ("result_form", "''")),
    *((f"{name}_at = NULL, {name}_since", LAST) for name in ("deadline", "retry")),
    *((f"{name}_at = {FIRST}, {name}_since", LAST) for name in ("deadline", "retry")),
]
"""Values of the right type that no engine writes."""
FORGED = {
    "a blob": "X'00FF1B'",
    "a text": "'x'",
    "no UTF-8": "CAST(X'FF' AS TEXT)",
    "a fraction": "1.5",
    "a number": "7",
    "a negative number": "-7",
    "the largest number": str(2**63 - 1),
    "an infinity": "9e999",
    "an empty text": "''",
    "a NUL": "'a' || char(0) || 'b'",
    "a huge text": "CAST(zeroblob(100000) AS TEXT) || 'x'",
    "a huge blob": "zeroblob(100000)",
    "a date": "'2026-01-01'",
    "another zone": "'2026-01-01T00:00:00.000000+14:00'",
    "deep JSON": f"'{'[' * 100_000}'",
    "too many digits": f"'{'9' * 5_000}'",
}


async def _commit(path: Path) -> None:
    execution = Execution(
        *(7, 3, 1, None, NOON, '{"running":5.0}', NOON, NOON),
        *('{"prompt_id":"p","name":"n","question":"","json_schema":{}}', "{}", "reason"),
        trace='{"traceparent":"00"}',
        last_error="failed",
    )
    async with opened(SQLiteStorage(path), Book()) as session:
        await session.commit(
            session.batch()
            .create("job", key="key", given_input='{"a":1}', execution=execution, runs=True)
            .amend("job", failed=failed(3))
            .create("other", execution=Execution())
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with statuses that the default lifecycle has."""
    path = tmp_path_factory.mktemp("made") / "jobs.db"
    anyio.run(_commit, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE jobs SET status = 'running'")
        connection.execute("UPDATE transitions SET to_status = 'running'")
        _seal(connection)
    return path


def _seal(connection: sqlite3.Connection) -> None:
    """Make every checksum fit its row."""
    connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    for table, columns in TABLES.items():
        for row in connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall():  # noqa: S608 - our own names
            with suppress(UnicodeEncodeError):
                connection.execute(
                    f"UPDATE {table} SET checksum = ? WHERE {columns[0]} IS ?",  # noqa: S608
                    (_checksum(row), row[0]),
                )


def _checksum(row: tuple[object, ...]) -> int:
    try:
        return checksum(row)
    except UnicodeEncodeError:
        while row[-1] is None:
            row = row[:-1]
        return crc32("\0".join(map(str, row)).encode("utf-8", "surrogateescape"))


def _forge(made: Path, folder: Path, table: str, column: str, value: str) -> Path:
    """Return a copy with a forged value in each row, or in the first that SQLite lets have it."""
    path = Path(shutil.copy(made, folder / "jobs.db"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with suppress(sqlite3.IntegrityError):  # the key of a row is always an integer
            connection.execute(f"UPDATE OR IGNORE {table} SET {column} = {value}")  # noqa: S608 - our own names
        _seal(connection)
    return path


def test_the_file_is_sound_before_it_is_forged(made: Path, here: Run) -> None:
    assert here("check", made)[0] == 0
    assert [here(name, made, *more)[0] for name, *more in COMMANDS] == [0] * len(COMMANDS)


def _interrupt(_: float) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("value", ["deep JSON", *thorough(*sorted({*FORGED} - {"deep JSON"}))])
def test_no_forged_value_ends_a_command_in_a_traceback(
    made: Path, tmp_path: Path, here: Run, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "sleep", _interrupt)
    is_json = value in {"deep JSON", "too many digits"}
    commands, first = [*COMMANDS, *OTHERS], [*FORGED].index(value)
    for place, (table, column) in enumerate(WITH_JSON if is_json else COLUMNS):
        path = _forge(made, tmp_path, table, column, FORGED[value])
        for name, *more in commands if is_json else by_turns(commands, first + place):
            code, lines, notes = here(name, path, *more)
            where = (table, column, name, *more)
            if [name, *more] in COMMANDS:
                assert code in {0, 1, 4}, (where, notes)
            else:
                assert code in {0, 1, 3, 4, 10, 124, 130}, (where, notes)
                assert all(line.isprintable() for line in (*lines, *notes)), where


@pytest.mark.thorough
@pytest.mark.parametrize("value", ["deep JSON", "a blob", "no UTF-8", "an infinity"])
def test_no_forged_value_ends_an_act_in_a_traceback(
    made: Path, tmp_path: Path, here: Run, value: str
) -> None:
    for table, column in WITH_JSON if value in {"deep JSON", "too many digits"} else COLUMNS:
        for name, *more in ACTS:
            path = _forge(made, tmp_path, table, column, FORGED[value])
            code, lines, notes = here(name, path, *more)
            assert code in {0, 1, 2, 3, 4, 5}, (table, column, name, notes)
            assert all(line.isprintable() for line in (*lines, *notes)), (table, column, name)


@pytest.mark.parametrize("value", ["a blob", *thorough("no UTF-8")])
def test_a_check_finds_a_value_of_another_type(
    made: Path, tmp_path: Path, here: Run, value: str
) -> None:
    for table, column in COLUMNS:
        if (table, column) in {("jobs", "position"), ("transitions", "sequence")}:
            continue  # SQLite itself refuses another type
        path = _forge(made, tmp_path, table, column, FORGED[value])
        assert here("check", path)[0] == 1, (table, column)


def _use(engine: SyncJobEngine) -> None:
    """Make calls to an engine, which may be refused; it must answer each of them."""
    calls: list[Callable[[], object]] = [
        lambda: engine.get("job"),
        lambda: engine.history("job"),
        engine.list_jobs,
        engine.statistics,
        lambda: engine.transition("job", JobStatus.COMPLETED, result="yes"),
        lambda: engine.create("hash"),
    ]
    for call in calls:
        with suppress(EngineError):
            call()
    assert engine.count() > 0


@pytest.mark.parametrize("value", ["a blob", *thorough("no UTF-8", "a fraction")])
def test_no_value_of_another_type_crashes_an_engine(made: Path, tmp_path: Path, value: str) -> None:
    for table, column in COLUMNS:
        if column in JSON:
            continue  # a number becomes a text there, which is of the right type
        path = _forge(made, tmp_path, table, column, FORGED[value])
        with suppress(StorageError, LifecycleError), SyncJobEngine(path) as engine:
            _use(engine)


def _forge_one(made: Path, folder: Path, assignment: str) -> Path:
    """Return a copy in which one job is forged."""
    path = Path(shutil.copy(made, folder / "jobs.db"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE jobs SET {assignment} WHERE job_id = 'job'")  # noqa: S608 - our own
        _seal(connection)
    return path


async def _work(_job: Job[AgentJobStatus]) -> str:
    return "done"


def _use_beside_damage(path: Path) -> None:
    """Use an engine on a file with one damaged job: each call says so, and the others go on."""
    with SyncJobEngine(path, lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        for call in (
            lambda: engine.get("job"),
            lambda: engine.history("job"),
            lambda: engine.wait("job"),
            lambda: engine.create("hash", idempotency_key="key", input={"a": 2}),
            lambda: engine.provide_input("job", "p", 1),
            lambda: engine.transition("job", AgentJobStatus.COMPLETED),
            lambda: engine.cancel("job"),
        ):
            with pytest.raises(JobDamagedError):
                call()
        page = engine.list_jobs()
        assert (page.damaged, [job.job_id for job in page.jobs]) == (("job",), ["other"])
        with Worker(engine, _work):
            assert engine.wait("other").result == "done"


@pytest.mark.parametrize("state", ["live", *thorough("ended")])
@pytest.mark.parametrize("contents", ["some", *thorough("all")])
def test_content_that_no_engine_writes_is_damage_of_its_job_alone(
    made: Path, tmp_path: Path, here: Run, contents: str, state: str
) -> None:
    end = f", status = 'completed', ended_at = '{time_text(NOON)}'" if state == "ended" else ""
    for number, (column, value) in enumerate(CONTENTS[:: 7 if contents == "some" else 1]):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = _forge_one(made, folder, f"{column} = {value}{end}")
        codes = [here(name, path, *more)[0] for name, *more in COMMANDS if "none" not in more]
        assert codes == [1] * len(codes), (column, value)
        assert here("check", path)[1][0].startswith("job job: "), (column, value)
        _use_beside_damage(path)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_table_that_is_an_endless_view_is_damage(
    made: Path, tmp_path: Path, here: Run, command: list[str]
) -> None:
    path = Path(shutil.copy(made, tmp_path))
    columns = ", ".join(f"'x' AS {column}" for column in JOB_COLUMNS)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE jobs RENAME TO hidden")
        connection.execute(f"CREATE VIEW jobs AS SELECT {columns} FROM hidden")  # noqa: S608 - our own names
    assert here(command[0], path, *command[1:])[0] == 1


def test_names_are_written_so_that_no_terminal_obeys_them(
    made: Path, tmp_path: Path, here: Run
) -> None:
    path = Path(shutil.copy(made, tmp_path))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute('CREATE TABLE "\x1b[31mred" (x)')
    code, [finding, _], _ = here("check", path)
    assert code == 1
    assert finding.isprintable()


@needs_proc
@pytest.mark.thorough
@pytest.mark.parametrize("command", [each for each in COMMANDS if "none" not in each])
def test_a_value_that_is_larger_than_the_memory_is_told_of(
    made: Path, tmp_path: Path, here: Run, command: list[str]
) -> None:
    path = Path(shutil.copy(made, tmp_path))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE jobs SET error = zeroblob(100000000) WHERE job_id = 'job'")
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * 4_096
    resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000, before[1]))
    try:
        code, _, notes = here(command[0], path, *command[1:])
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert code == 3
    assert notes == [f"engine: {path} has a value that is too large for this system's memory"]
