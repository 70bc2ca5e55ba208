"""The command line, run as the program that it is, mostly on a file that an engine is using."""

from __future__ import annotations

import io
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from json import loads
from pathlib import Path

import pytest

import engine.cli
from engine import Job, JobStatus, SQLiteStorage, SyncJobEngine, Transition
from engine.cli.console import Console
from engine.cli.exits import MEANINGS, Exit
from engine.cli.program import EPILOG, main
from engine.cli.texts import columns_of, cut, plain
from tests.examples.programs import Terminal

PROGRAM = [sys.executable, "-W", "error", "-m", "engine"]
# As users run it: its output is held back until there is much of it, or the end.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
Outcome = tuple[int, list[str], list[str]]
Run = Callable[..., Outcome]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def used(path: Path) -> Iterator[SyncJobEngine]:
    """An engine that has the file, with a job in each of three statuses."""
    ids = iter(["job-1", "job-2", "job-3"])
    with SyncJobEngine(SQLiteStorage(path), new_id=lambda: next(ids)) as used:
        for number in (1, 2, 3):
            used.create(f"input {number}", idempotency_key=f"key {number}")
        for job_id in ("job-2", "job-3"):
            used.transition(job_id, JobStatus.RUNNING)
        used.transition("job-2", JobStatus.COMPLETED, result="done\n\x1b[31mred")
        used.transition("job-3", JobStatus.FAILED, error="bad")
        yield used


def run(*arguments: object) -> Outcome:
    """Run the program; return its exit code and the lines of both outputs."""
    ended = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env=ENVIRONMENT,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout.splitlines(), ended.stderr.splitlines()


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run it in this process, which takes less time."""

    def run_here(*arguments: object) -> Outcome:
        try:
            code = main([*map(str, arguments)])
        except SystemExit as ended:
            code = int(str(ended.code))
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()

    return run_here


def damage(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount == 1


def second(job: Job) -> str:
    return f"{job.updated_at:%Y-%m-%dT%H:%M:%SZ}"


# Listing.


def test_list_gives_a_line_for_each_job_of_a_file_in_use(used: SyncJobEngine, path: Path) -> None:
    one, two, three = (second(used.get(f"job-{number}")) for number in (1, 2, 3))
    assert run("list", path) == (
        0,
        [
            "JOB ID  STATUS            UPDATED               INPUT HASH  RESULT OR ERROR",
            f"job-1   awaiting_payment  {one}  input 1     -",
            f"job-2   completed         {two}  input 2     done\\n\\x1b[31mred",
            f"job-3   failed            {three}  input 3     bad",
        ],
        [],
    )


def test_list_says_how_to_get_the_next_page(used: SyncJobEngine, path: Path, here: Run) -> None:
    assert used.count() == 3
    code, lines, [note] = here("list", path, "--limit", 2)
    assert (code, [line[:5] for line in lines]) == (0, ["JOB I", "job-1", "job-2"])
    assert note == f"the next ones: python -m engine list {path} --limit 2 --after 2"
    code, lines, notes = here(*note.split()[6:])
    assert (code, [line[:5] for line in lines], notes) == (0, ["JOB I", "job-3"], [])

    _, _, [note] = here("list", path, "--status", "failed", "--limit", 1, "--after", 3)
    assert note == (
        "no jobs with the status 'failed' "
        "(statuses in the file: awaiting_payment, completed, failed) after 3"
    )


def test_list_shows_only_the_jobs_of_a_status(used: SyncJobEngine, path: Path, here: Run) -> None:
    assert used.count() == 3
    code, [_, line], notes = here("list", path, "--status", "failed")
    assert (code, line[:5], notes) == (0, "job-3", [])


def test_list_gives_json_that_is_a_job(used: SyncJobEngine, path: Path, here: Run) -> None:
    code, lines, notes = here("list", path, "--json")
    assert (code, notes) == (0, [])
    assert [Job.model_validate_json(line) for line in lines] == list(used.list_jobs().jobs)


def test_list_of_many_blocks_shows_each_job_once(path: Path, here: Run) -> None:
    with SyncJobEngine(SQLiteStorage(path)) as engine:
        jobs = [engine.create(f"input {number}").job_id for number in range(250)]
    _, lines, notes = here("list", path, "--limit", 1_000)
    assert [line.split()[0] for line in lines[1:]] == jobs
    assert notes == []
    _, lines, _ = here("list", path, "--limit", 201, "--json")
    assert [loads(line)["job_id"] for line in lines] == jobs[:201]


def test_list_of_an_empty_file_says_so(path: Path, here: Run) -> None:
    with SyncJobEngine(SQLiteStorage(path)):
        pass
    assert here("list", path) == (0, [], ["no jobs"])


def test_list_shows_a_damaged_job_as_such(used: SyncJobEngine, path: Path, here: Run) -> None:
    used.close()
    damage(path, "UPDATE jobs SET result = 'well' WHERE job_id = 'job-2'")
    code, [_, one, two, three], [note] = here("list", path)
    assert code == 1
    assert one.startswith("job-1   awaiting_payment")
    assert two.startswith("job-2   (damaged)         -")
    assert "its checksum is " in two
    assert three.startswith("job-3   failed")
    assert note == f"damaged jobs: 1; to learn more: python -m engine check {path}"
    code, lines, _ = here("list", path, "--json")
    assert (code, list(loads(lines[1]))) == (1, ["job_id", "damaged"])


def test_list_on_a_terminal_cuts_lines_at_its_width(path: Path) -> None:
    with SyncJobEngine(SQLiteStorage(path), new_id=lambda: "job-1") as engine:
        engine.create("input " * 42)
    with Terminal([*PROGRAM, "list", str(path)], path.parent) as terminal:
        assert terminal.finish() == (0, "")
    head, line = terminal.output.splitlines()
    assert head == "JOB ID  STATUS            UPDATED               INPUT HASH"
    assert line.endswith("Z  input input input input input i…")
    assert len(line) == 80


# Showing.


def test_show_gives_each_field_and_the_history(used: SyncJobEngine, path: Path) -> None:
    job, history = used.get("job-2"), used.history("job-2")
    times = [f"{line.at:%Y-%m-%dT%H:%M:%S.%fZ}" for line in history]
    assert run("show", path, "job-2") == (
        0,
        [
            "job_id                 job-2",
            "status                 completed",
            "input_hash             input 2",
            "blockchain_identifier  mock_bc_job-2",
            f"created_at             {times[0]}",
            f"updated_at             {job.updated_at:%Y-%m-%dT%H:%M:%S.%fZ}",
            "result                 done",
            "                       \\x1b[31mred",
            "error                  -",
            "version                3",
            "idempotency_key        key 2",
            "",
            "SEQUENCE  AT                           FROM              TO",
            f"2         {times[0]}  -                 awaiting_payment",
            f"4         {times[1]}  awaiting_payment  running",
            f"6         {times[2]}  running           completed",
        ],
        [],
    )


def test_show_gives_json_of_a_job_and_its_history(
    used: SyncJobEngine, path: Path, here: Run
) -> None:
    code, [line], notes = here("show", path, "job-2", "--json")
    fields = loads(line)
    history = fields.pop("history")
    assert (code, notes) == (0, [])
    assert Job.model_validate(fields) == used.get("job-2")
    assert [Transition.model_validate(each) for each in history] == used.history("job-2")


def test_show_says_that_there_is_no_such_job(used: SyncJobEngine, path: Path, here: Run) -> None:
    assert used.count() == 3
    assert here("show", path, "job-4") == (4, [], [f"engine: {path} has no job 'job-4'"])


def test_show_gives_no_field_of_a_damaged_job(used: SyncJobEngine, path: Path, here: Run) -> None:
    used.close()
    damage(path, "UPDATE jobs SET result = 'well' WHERE job_id = 'job-2'")
    code, lines, [note] = here("show", path, "job-2")
    assert (code, lines) == (1, [])
    assert note.startswith("engine: job 'job-2' is damaged: its checksum is ")


def test_show_gives_a_job_whose_history_is_damaged(
    used: SyncJobEngine, path: Path, here: Run
) -> None:
    used.close()
    damage(path, "UPDATE transitions SET to_status = 'failed' WHERE sequence = 6")
    code, lines, [note] = here("show", path, "job-2")
    assert code == 1
    assert lines[0] == "job_id                 job-2"
    assert lines[-1] == "idempotency_key        key 2"
    assert note.startswith("engine: job 'job-2' is damaged: in its history, its checksum is ")


# Checking.


def test_check_says_that_a_file_in_use_is_sound(used: SyncJobEngine, path: Path) -> None:
    assert used.count() == 3
    assert run("check", path) == (0, [f"{path}: 3 jobs, 7 transitions: sound"], [])


def test_check_says_what_is_wrong(used: SyncJobEngine, path: Path, here: Run) -> None:
    used.close()
    damage(path, "UPDATE jobs SET result = 'well' WHERE job_id = 'job-2'")
    code, [finding, verdict], notes = run("check", path)
    assert (code, verdict, notes) == (1, f"{path}: 3 jobs, 7 transitions: 1 problem", [])
    assert finding.startswith("job job-2: its checksum is ")
    code, [line], notes = here("check", path, "--json")
    report = loads(line)
    assert (code, notes) == (1, [])
    assert (report["jobs"], report["transitions"], report["problems"]) == (3, 7, 1)
    assert finding == "{where}: {problem}".format(**report["findings"][0])

    damage(path, "UPDATE jobs SET version = 4 WHERE job_id = 'job-1'")
    _, lines, _ = here("check", path)
    assert lines[-1] == f"{path}: 3 jobs, 7 transitions: 2 problems"


def test_a_column_that_is_gone_is_damage(used: SyncJobEngine, path: Path, here: Run) -> None:
    used.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE jobs RENAME COLUMN result TO outcome")
    for command in (["list"], ["show", "job-1"], ["check"]):
        code, _, _ = here(command[0], path, *command[1:])
        assert code == 1


# Copying.


def test_backup_makes_a_copy_of_a_file_in_use(used: SyncJobEngine, path: Path) -> None:
    copy = path.with_name("copy.db")
    code, [line], notes = run("backup", path, copy)
    assert (code, notes) == (0, [])
    assert line == f"{copy}: a copy of {path}, {copy.stat().st_size:,} bytes"
    with SyncJobEngine(SQLiteStorage(copy)) as copied:
        assert copied.list_jobs() == used.list_jobs()


def test_backup_writes_over_nothing(used: SyncJobEngine, path: Path, here: Run) -> None:
    assert used.count() == 3
    copy = path.with_name("copy.db")
    copy.write_text("mine")
    code, lines, [note] = here("backup", path, copy)
    assert (code, lines) == (3, [])
    assert note == f"engine: {copy} is there already: choose another name, or delete it first"
    assert copy.read_text() == "mine"
    lost = path.parent / "none" / "copy.db"
    told = f"engine: {lost} can't be made: there is no folder {lost.parent}"
    assert here("backup", path, lost) == (3, [], [told])


# Ends.


@pytest.mark.parametrize("command", [["list"], ["show", "job-1"], ["check"], ["backup", "to"]])
def test_a_file_that_is_missing_is_told_of_in_one_line(
    command: list[str], path: Path, here: Run
) -> None:
    code, lines, notes = here(command[0], path, *command[1:])
    assert (code, lines) == (3, [])
    assert notes == [f"engine: {path} can't be read: No such file or directory"]


def test_what_is_no_engines_file_is_told_of_in_one_line(path: Path, here: Run) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other (column)")
    before = path.read_bytes()
    code, lines, [note] = here("list", path)
    assert (code, lines) == (3, [])
    assert note.startswith(f"engine: {path} is an SQLite database, but no engine's: ")
    assert path.read_bytes() == before
    code, _, [note] = here("list", path.parent)
    assert (code, note) == (3, f"engine: {path.parent} is a folder: give the path of a file")


@pytest.mark.skipif(sys.platform == "win32", reason="has no named pipes in folders")
def test_a_named_pipe_is_not_waited_for(path: Path, here: Run) -> None:
    subprocess.run(["mkfifo", str(path)], check=True)  # noqa: S607 - every system has its own place
    assert here("list", path) == (3, [], [f"engine: {path} is no regular file"])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["lost", "jobs.db"],
        ["list"],
        ["list", ""],
        ["list", "postgres://jobs"],
        ["list", ":memory:"],
        ["list", "jobs.db", "--limit", "0"],
        ["list", "jobs.db", "--limit", "9" * 20],
        ["list", "jobs.db", "--after", "-1"],
        ["list", "jobs.db", "--lim", "1"],
        ["show", "jobs.db"],
        ["show", "jobs.db", ""],
        ["show", "jobs.db", "\udcff"],
    ],
)
def test_wrong_usage_is_told_of(arguments: list[str], here: Run) -> None:
    code, lines, notes = here(*arguments)
    assert (code, lines) == (2, [])
    assert notes[0].startswith("usage: python -m engine ")
    assert ": error: " in notes[-1]


def test_the_exit_codes_are_told_of_in_every_help_and_in_the_docstring(here: Run) -> None:
    lines = EPILOG.splitlines()[1:]
    assert list(MEANINGS) == list(Exit)
    assert [int(line.split()[0]) for line in lines] == list(Exit)
    told = [line.strip() for line in str(engine.cli.__doc__).splitlines()]
    assert [line for line in told if line[:1].isdigit()] == [line.strip() for line in lines]
    for command in ([], ["list"], ["show"], ["check"], ["backup"]):
        code, shown, notes = here(*command, "--help")
        assert (code, notes) == (0, [])
        assert shown[-len(lines) :] == lines


@pytest.mark.parametrize("command", [["list"], ["list", "--json"], ["show", "job-2"], ["check"]])
def test_a_closed_pipe_ends_it_quietly(used: SyncJobEngine, path: Path, command: list[str]) -> None:
    assert used.count() == 3
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [*PROGRAM, command[0], str(path), *command[1:]],
        stdout=writer,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=ENVIRONMENT,
        check=False,
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (Exit.PIPE_CLOSED, "")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signal")
def test_an_interrupt_ends_it_quietly(path: Path) -> None:
    with SyncJobEngine(SQLiteStorage(path)) as engine:
        job = engine.create("input")
        engine.transition(job.job_id, JobStatus.RUNNING)
        engine.transition(job.job_id, JobStatus.COMPLETED, result="x" * 1_000_000)
    with subprocess.Popen(
        [*PROGRAM, "list", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=ENVIRONMENT,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.read(6) == "JOB ID"  # the rest is more than a pipe holds
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=60)
    assert (program.returncode, errors) == (Exit.INTERRUPTED, "")


def test_notes_come_after_what_they_are_about(used: SyncJobEngine, path: Path) -> None:
    assert used.count() == 3
    ended = subprocess.run(
        [*PROGRAM, "list", str(path), "--limit", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env=ENVIRONMENT,
        check=False,
    )
    assert [line[:6] for line in ended.stdout.splitlines()] == ["JOB ID", "job-1 ", "the ne"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no device that is full")
def test_an_output_that_is_full_is_told_of(used: SyncJobEngine, path: Path) -> None:
    assert used.count() == 3
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*PROGRAM, "list", str(path)],
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=ENVIRONMENT,
            check=False,
        )
    assert ended.returncode == Exit.UNREADABLE
    assert ended.stderr == "engine: the output can't be written: No space left on device\n"


# What is shown.


class TerminalText(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = TerminalText()
    monkeypatch.setattr("sys.stderr", stream)
    with Console().progress("checking", "jobs") as progress:
        progress(1_000, 2_000)
        progress(1_001, 2_000)  # too soon to be shown
    text = "checking: 1,000 of 2,000 jobs"
    assert stream.getvalue() == f"\r{text}\r{' ' * len(text)}\r"


def test_progress_is_shown_on_terminals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with Console().progress("checking", "jobs") as progress:
        progress(1_000, 2_000)
    assert stream.getvalue() == ""


def test_nothing_that_a_terminal_obeys_is_shown() -> None:
    assert plain("naïve 日本") == "naïve 日本"
    assert plain("a\tb\x1b[31m\u202e\udcff") == "a\\tb\\x1b[31m\\u202e\\udcff"


def test_texts_are_cut_by_the_columns_that_they_take() -> None:
    assert columns_of("日本") == 4
    assert columns_of("e\u0301") == 1
    assert cut("short", 5) == "short"
    assert cut("shorts", 5) == "shor…"
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日本…"
    assert cut("日本語", 4) == "日…"
