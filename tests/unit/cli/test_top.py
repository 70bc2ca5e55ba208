"""`engine top`: a place as it lives, and the completion of a shell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from engine import JobStatus, SQLiteStorage, SyncJobEngine, Worker
from engine.cli import rates
from engine.cli.exits import Exit
from engine.cli.rates import RecentTransitions
from engine.storage.places import place_at
from tests.systems import needs_interrupts
from tests.tries import thorough
from tests.unit.cli.programs import ENVIRONMENT, PROGRAM, SECONDS_AGAINST_HANGS, Run, execute, run

S = JobStatus


def _shown(lines: list[str], head: str) -> list[list[str]]:
    """Return the words of the lines of a table."""
    stripped = [line.rstrip() for line in lines]
    start = next(number for number, line in enumerate(stripped) if line.startswith(head)) + 1
    end = next((n for n, line in enumerate(stripped) if n >= start and not line), len(stripped))
    return [line.split() for line in stripped[start:end]]


@pytest.mark.parametrize("where", ["path", *thorough("postgres_url")])
def test_one_look_shows_rates_queues_and_the_slowest_job(
    where: str, request: pytest.FixtureRequest, here: Run
) -> None:
    place = str(request.getfixturevalue(where))
    began, go_on = Event(), Event()

    def work() -> str:
        began.set()
        go_on.wait(SECONDS_AGAINST_HANGS)
        return "done"

    with SyncJobEngine(place, new_id=map("job-{}".format, range(1, 9)).__next__) as engine:
        for _ in range(2):
            engine.create(kind="mail", start=True)
        engine.transition(engine.create("paid", start=True).job_id, S.FAILED)
        with Worker(engine, {"work": work}):
            engine.create(kind="work", start=True)
            began.wait(SECONDS_AGAINST_HANGS)
            code, lines, notes = here("top", place, "--once")
            go_on.set()
    assert (code, notes) == (0, [])
    assert lines[1].rstrip() == "last minute: 4 created, 0 succeeded, 1 failed"
    assert _shown(lines, "STATUS") == [
        *(["awaiting_payment", "0"], ["running", "3"], ["completed", "0"], ["failed", "1"])
    ]
    assert [cells[:4] for cells in _shown(lines, "KIND")] == [
        *(["mail", "2", "0", "0"], ["work", "0", "1", "0"])
    ]
    assert [cells[:3] for cells in _shown(lines, "SLOWEST")] == [["job-4", "work", "1"]]
    assert any(line.startswith("ENGINE") for line in lines) is (where == "postgres_url")


def test_overdue_jobs_come_first_due_first(path: Path, here: Run) -> None:
    now = datetime.now(UTC)
    with SyncJobEngine(
        SQLiteStorage(path), clock=lambda: now - timedelta(days=2), new_id=iter("abc").__next__
    ) as engine:
        for hours in (3, 1, 99):
            engine.create(start=True, deadlines={S.RUNNING: timedelta(hours=hours)})
    _, lines, _ = here("top", path)
    assert [[*cells[:3], *cells[3:5]] for cells in _shown(lines, "OVERDUE")] == [
        *(["b", "default", "running", "1", "d"], ["a", "default", "running", "1", "d"])
    ]


def test_the_first_due_is_found_behind_many_older_jobs(path: Path, here: Run) -> None:
    now = datetime.now(UTC)
    with SyncJobEngine(
        SQLiteStorage(path),
        clock=lambda: now - timedelta(days=2),
        new_id=iter("abcdefghij").__next__,
    ) as engine:
        for hours in range(10, 0, -1):
            engine.create(start=True, deadlines={S.RUNNING: timedelta(hours=hours)})
    _, lines, _ = here("top", path)
    assert [cells[0] for cells in _shown(lines, "OVERDUE")] == [*"jihgfedc"]


def test_a_look_reads_what_is_new_and_says_if_there_was_more(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "_MOST_LINES", 4)
    monkeypatch.setattr(rates, "_PAGE_LINES", 3)
    times = [datetime.now(UTC) - timedelta(seconds=90)]
    recent, place = RecentTransitions(), place_at(str(path))

    def look() -> rates.Rates:
        with place.reading() as view:
            statuses = view.statuses()
            assert statuses is not None
            return recent.look(view, statuses, datetime.now(UTC))

    with SyncJobEngine(SQLiteStorage(path), clock=lambda: times[-1]) as engine:
        engine.create("old")
        assert look() == (0, 0, 0, True)
        times.append(datetime.now(UTC))
        for _ in range(3):
            engine.create("new")
        assert look() == (3, 0, 0, True)
        job = engine.create("new", start=True)
        engine.transition(job.job_id, S.COMPLETED)
        assert look() == (4, 1, 0, True)
        for _ in range(9):
            engine.create("new")
        assert look() == (8, 1, 0, False)


@needs_interrupts
def test_on_a_terminal_it_goes_on_until_an_interrupt(path: Path) -> None:
    with SyncJobEngine(SQLiteStorage(path)) as engine:
        engine.create("hash", kind="mail")
        ours, theirs = os.openpty()
        with subprocess.Popen(
            [*PROGRAM, "top", str(path)],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
        ) as program:
            os.close(theirs)
            _read_to(ours, b"1 created")
            engine.create("another", kind="mail")
            _read_to(ours, b"2 created")
            program.send_signal(signal.SIGINT)
            _read_to(ours, b"\x1b[?1049l")  # it leaves the alternate screen
            assert program.wait(SECONDS_AGAINST_HANGS) == Exit.INTERRUPTED
            assert program.stderr is not None
            assert program.stderr.read() == b""
        os.close(ours)


def _read_to(descriptor: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        seen += os.read(descriptor, 10_000)


def test_a_place_without_a_lifecycle_is_told_of(postgres_url: str, here: Run) -> None:
    with SyncJobEngine(postgres_url):
        pass
    execute(postgres_url, "DELETE FROM engine.notes WHERE name = 'lifecycle'")
    code, lines, [note] = here("top", postgres_url)
    assert (code, lines) == (3, [])
    assert note.endswith(" tells no lifecycle: open it with an engine once")


@pytest.mark.parametrize("arguments", [["top", "jobs.db"], ["--completion", "bash"]])
def test_what_to_install_is_told(
    arguments: list[str], here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setitem(sys.modules, "shtab", None)
    code, lines, notes = here(*arguments)
    assert (code, lines) == (2, [])
    assert notes[-1].endswith("pip install 'engine[cli]'")


def test_a_shell_gets_the_script_that_completes_the_program(here: Run) -> None:
    code, lines, notes = here("--completion", "bash")
    assert (code, notes) == (0, [])
    assert lines[-1].endswith(" engine")
    subprocess.run(["bash", "-n"], input="\n".join(lines).encode(), check=True)  # noqa: S607
    code, _, notes = here("--completion", "none")
    assert (code, "must be one of bash" in notes[-1]) == (2, True)
    assert run("--completion", "zsh")[0] == 0


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("engine pru", "prune"),
        ("engine prune jobs.db --js", "--json"),
        ("engine list jo", "jobs.db"),
        ("engine backup jobs.db jo", "jobs.db"),
        ("engine copy jo", "jobs.db"),
        ("engine export jobs.db --to jo", "jobs.db"),
    ],
)
def test_a_shell_completes_commands_options_and_files(
    path: Path, here: Run, words: str, completed: str
) -> None:
    path.touch()
    _, lines, _ = here("--completion", "bash")
    ask = f"""
        COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _shtab_engine; echo "${{COMPREPLY[@]}}"
    """
    asked = subprocess.run(
        ["bash"],  # noqa: S607
        input="\n".join([*lines, ask]).encode(),
        cwd=path.parent,
        stdout=subprocess.PIPE,
        check=True,
    )
    assert asked.stdout.decode().split() == [completed]
