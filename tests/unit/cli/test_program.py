"""The exit codes of the program, and its last messages."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import tomllib
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name

import pytest

import engine.cli
from engine import JobStatus, SQLiteStorage, SyncJobEngine
from engine.cli import commands
from engine.cli.commands import COMMANDS
from engine.cli.exits import MEANINGS, Exit
from engine.cli.program import EPILOG, main
from tests.systems import needs_full_device, needs_interrupts, needs_named_pipes
from tests.tries import thorough
from tests.unit.cli.programs import ENVIRONMENT, PROGRAM, SECONDS_AGAINST_HANGS, Run, run

ROOT = Path(__file__).parents[3]


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


@pytest.mark.parametrize("command", [["list"], ["show", "job-1"], ["check"], ["backup", "to"]])
def test_a_file_that_is_no_database_was_not_made_by_engine(
    command: list[str], path: Path, here: Run
) -> None:
    text = (ROOT / "LICENSE").read_bytes()
    path.write_bytes(text)
    to = [path.with_name(each) if each == "to" else each for each in command[1:]]
    assert here(command[0], path, *to) == (3, [], [f"engine: {path} was not made by engine"])
    assert path.read_bytes() == text
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_each_file_of_the_commands_is_a_command_in_the_help(here: Run) -> None:
    files = Path(*commands.__path__).glob("[!_]*.py")
    names = {path.stem.replace("_", "-") for path in files}
    assert {command.name for command in COMMANDS} == names
    code, lines, _ = here("--help")
    shown = lines[lines.index("commands:") :]
    listed = [line.split()[0] for line in shown if re.match(r" {4}\w", line)]
    assert (code, listed) == (0, [command.name for command in COMMANDS])


def test_the_examples_of_the_help_are_right_usage(here: Run) -> None:
    shown = [(each.name, words.split()) for each in COMMANDS for words in each.examples]
    assert {name for name, _ in shown} >= {"list", "show", "wait", "watch", "stats"}
    for name, words in shown:
        _, lines, _ = here(name, "--help")
        assert f"  engine {' '.join(words)}" in lines
        assert words[0] == name
        lost = [word.replace("jobs.db", "lost.db").replace("host/", "host:1/") for word in words]
        code, _, _ = here(*lost)
        assert code == Exit.UNREADABLE


@needs_named_pipes
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
        ["list", "mysql://jobs"],
        ["list", "postgres://host/jobs?no=parameter"],
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
    assert notes[0].startswith("usage: engine ")
    assert notes[-1].startswith("engine")
    assert ": error: " in notes[-1]


@pytest.mark.parametrize(
    "arguments", [["list"], *thorough(["--help"], ["list", "--help"], ["lost"])]
)
def test_help_and_usage_name_the_command_that_was_typed(
    arguments: list[str], here: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines, notes = here(*arguments)
    with pytest.raises(SystemExit) as ended:
        main(arguments, program="python -m engine")
    as_a_module = capsys.readouterr()
    assert ended.value.code == code
    shown = as_a_module.out + as_a_module.err
    assert shown.startswith("usage: python -m engine ")
    # The longer name may break the lines elsewhere.
    assert shown.replace("python -m engine", "engine").split() == " ".join(lines + notes).split()
    assert run(*arguments) == (code, as_a_module.out.splitlines(), as_a_module.err.splitlines())


@pytest.mark.thorough
def test_it_says_its_version(here: Run) -> None:
    assert here("--version") == run("--version") == (0, [f"engine {engine.__version__}"], [])
    assert engine.__version__ == version("engine")


def test_the_script_that_is_installed_is_this_program() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {name: resolve_name(place) for name, place in project["scripts"].items()} == {
        "engine": main
    }


def test_the_exit_codes_are_told_of_in_every_help_and_in_the_docstring(here: Run) -> None:
    lines = EPILOG.splitlines()[1:]
    assert list(MEANINGS) == list(Exit)
    assert [int(line.split()[0]) for line in lines] == list(Exit)
    told = [line.strip() for line in str(engine.cli.__doc__).splitlines()]
    assert [line for line in told if line[:1].isdigit()] == [line.strip() for line in lines]
    for command in ([], *([each.name] for each in COMMANDS)):
        code, shown, notes = here(*command, "--help")
        assert (code, notes) == (0, [])
        assert shown[-len(lines) :] == lines


@pytest.mark.parametrize(
    "command", [["list"], *thorough(["list", "--json"], ["show", "job-2"], ["check"])]
)
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
        timeout=SECONDS_AGAINST_HANGS,
        check=False,
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (Exit.PIPE_CLOSED, "")


@needs_interrupts
def test_an_interrupt_ends_it_quietly(path: Path) -> None:
    with SyncJobEngine(SQLiteStorage(path)) as engine:
        job = engine.create("input")
        engine.transition(job.job_id, JobStatus.RUNNING)
        engine.transition(job.job_id, JobStatus.COMPLETED, result="x" * 1_000_000)
    with subprocess.Popen(
        [*PROGRAM, "list", str(path), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=ENVIRONMENT,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.read(8) == '{"job_id'  # the rest is more than a pipe holds
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=SECONDS_AGAINST_HANGS)
    assert (program.returncode, errors) == (Exit.INTERRUPTED, "")


@pytest.mark.thorough
def test_notes_come_after_what_they_are_about(used: SyncJobEngine, path: Path) -> None:
    assert used.count() == 3
    ended = subprocess.run(
        [*PROGRAM, "list", str(path), "--limit", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env=ENVIRONMENT,
        timeout=SECONDS_AGAINST_HANGS,
        check=False,
    )
    assert [line[:6] for line in ended.stdout.splitlines()] == ["JOB ID", "job-1 ", "the ne"]


@needs_full_device
def test_an_output_that_is_full_is_told_of(used: SyncJobEngine, path: Path) -> None:
    assert used.count() == 3
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*PROGRAM, "list", str(path)],
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=ENVIRONMENT,
            timeout=SECONDS_AGAINST_HANGS,
            check=False,
        )
    assert ended.returncode == Exit.UNREADABLE
    assert ended.stderr == "engine: the output can't be written: No space left on device\n"
