"""Acts on jobs that are named, and on those that filters choose."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import anyio
import pytest

from engine import ORDER_LIFECYCLE, FollowUp, Job, JobEngine, NewJob, SyncJobEngine, Worker
from engine import OrderStatus as S
from engine.operating import this_operator
from tests.examples.programs import Terminal
from tests.tries import thorough
from tests.unit.claiming import claimed_one, release
from tests.unit.cli.programs import PROGRAM, SECONDS_AGAINST_HANGS, Run

HOSTILE = "\x1b[31mred\u202e"
RULE: FollowUp[Any] = FollowUp("refund", to={S.FAILED, S.CANCELLED}, of="report")


def opened(place: str, first: int = 1) -> SyncJobEngine[S]:
    """Return an engine on a place of these tests; it makes job-1, or begins with another one."""
    return SyncJobEngine(
        place,
        lifecycle=ORDER_LIFECYCLE,
        follow_ups=[RULE],
        new_id=map("job-{}".format, range(first, 400)).__next__,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a file with job-1 to job-6, to be copied."""
    return _filled(str(tmp_path_factory.mktemp("made") / "jobs.db"))


@pytest.fixture
def place(made: str, path: Path) -> str:
    """Return a file that no engine has, with job-1 to job-6."""
    return str(shutil.copy(made, path))


@pytest.fixture(params=["file", *thorough("database")])
def each_place(request: pytest.FixtureRequest, path: Path) -> str:
    """Return a file or a database with the same."""
    file = request.param == "file"
    return _filled(str(path) if file else request.getfixturevalue("postgres_url"))


def _filled(name: str) -> str:
    with opened(name) as engine:
        engine.create("waits", payment_id="pay", deadlines={S.RUNNING: timedelta(hours=1)})
        for _ in range(2):
            job = engine.create("stuck", kind="report", start=True)
            engine.transition(job.job_id, S.NEEDS_ATTENTION)
        engine.create("ready", start=True, kind="report")
        done = engine.create("done", start=True)
        engine.transition(done.job_id, S.COMPLETED, result="42")
        failed = engine.create("failed", start=True)
        engine.transition(failed.job_id, S.FAILED, error=HOSTILE)
    return name


def _jobs(place: str) -> dict[str, Job[S]]:
    with opened(place) as engine:
        return {job.job_id: job for job in engine.list_jobs(limit=100).jobs}


def _statuses(place: str) -> list[str]:
    return [job.status.value for name, job in sorted(_jobs(place).items()) if "job-" in name]


def test_a_job_is_retried_and_its_history_says_by_whom_and_why(place: str, here: Run) -> None:
    code, lines, notes = here("retry", place, "job-2", "--reason", "it has paper")
    assert (code, lines, notes) == (0, ["retried: job-2 running"], [])
    with opened(place) as engine:
        line = engine.history("job-2")[-1]
    assert (line.by, line.reason) == (this_operator(), "it has paper")


def test_each_act_does_what_its_engine_does(each_place: str, here: Run) -> None:
    place = each_place

    def line(*words: object) -> str:
        code, [line], notes = here(words[0], place, *words[1:])
        assert (code, notes) == (0, [])
        return str(line)

    assert line("start", "job-1", "--payment", "pay") == "started: job-1 running"
    assert line("move", "job-2", "failed", "--error", "x") == "moved: job-2 failed (failed): x"
    assert line("move", "job-3", "running") == "moved: job-3 running"  # from needs_attention
    assert line("cancel", "job-3", "--reason", "y").endswith(
        "job-3 cancelled (cancelled): cancelled: y"
    )
    assert re.fullmatch(r"repeated: job-5 as (?!job-5)\S+ running", line("repeat", "job-5"))
    done = line("follow-up", "job-2", "refund")
    assert re.fullmatch(r"followed up: job-2 as (?!job-2)\S+ running", done)
    assert line("extend", "job-4", "+2h") == "extended: job-4 running"
    assert line("extend", "job-4", "2035-01-01T00:00:00Z", "--status", "needs_attention")
    jobs = _jobs(place)
    limits = jobs["job-4"].deadlines
    assert (limits[S.RUNNING], limits[S.NEEDS_ATTENTION]) == (
        timedelta(hours=2),
        datetime(2035, 1, 1, tzinfo=UTC),
    )
    assert line("extend", "job-4", "never") == "extended: job-4 running"
    assert S.RUNNING not in _jobs(place)["job-4"].deadlines


def test_several_ids_are_acted_on_without_a_question(place: str, here: Run) -> None:
    code, lines, notes = here("cancel", place, "job-1", "job-2", "job-5", "job-1")
    assert (code, notes) == (5, [])
    assert lines[:2] == ["cancelled: 2 jobs", "passed over: 1 job"]
    assert lines[2].startswith("  job-5: job 'job-5' has ended as completed, with the outcome ")


def test_a_refusal_says_what_can_be_done_instead(place: str, here: Run) -> None:
    code, lines, notes = here("cancel", place, "job-5")
    assert (code, lines) == (5, [])
    assert notes[0].startswith("engine: job 'job-5' has ended as completed")
    assert [note.replace(place, "P") for note in notes[1:]] == [
        "  or: engine repeat P job-5",
        "  or: engine show P job-5",
    ]
    assert here("move", place, "job-3", "failed")[0] == 0
    _, _, notes = here("cancel", place, "job-3")  # of the kind that the rule is about
    assert [note.replace(place, "P") for note in notes[1:]] == [
        "  or: engine repeat P job-3",
        "  or: engine follow-up P job-3 RULE",
        "  or: engine show P job-3",
    ]
    _, _, notes = here("move", place, "job-5", "running")
    assert notes[0].startswith("engine: job 'job-5' can't move from completed")
    _, _, notes = here("retry", place, "job-1")
    assert [note.split()[2] for note in notes[1:]] == ["start", "cancel", "show"]
    _, _, notes = here("repeat", place, "job-2")
    assert [note.split()[2] for note in notes[1:]] == ["retry", "cancel", "show"]


@pytest.mark.parametrize(
    ("words", "code", "note"),
    [
        (["retry"], 2, "say which jobs"),
        (["retry", "nobody"], 4, "has no job 'nobody'"),
        (["retry", "job-1", "--kind", "report"], 2, "--kind chooses jobs"),
        (["start", "job-1", "job-2", "--payment", "p"], 2, "--payment chooses jobs"),
        (["retry", "--payment", "none"], 4, "has no job paid by 'none'"),
        (["retry", "--status", "completed"], 2, "only those in needs_attention, running"),
        (["move", "job-1", "nowhere"], 2, "'nowhere' is not one of awaiting_payment"),
        (["move", "job-1", "running", "--error", "x"], 2, "error belongs to"),
        (["move", "job-2", "failed", "--error", "x" * 70_000], 2, "error must have 0 to"),
        (["move", "job-2", "failed", "--error", "\udcff", "--dry-run"], 2, "error must not have"),
        (["follow-up", "job-5", "thanks"], 4, "no rule 'thanks'; those that are kept: refund"),
        (["follow-up", "job-6", "refund"], 5, "refund is about report, not about a default"),
        (["extend", "job-5", "never", "--status", "completed"], 2, "only a job in"),
        (["extend", "job-4", "+2h", "--status", "running", "--status", "x"], 2, "give it once"),
        (["answer", "job-4", "a=1"], 5, "job 'job-4' is 'running', and asks nothing"),
    ],
)
def test_what_can_not_be_done_is_told_with_what_can(
    place: str, here: Run, words: list[str], code: int, note: str
) -> None:
    before = _statuses(place)
    ended, lines, notes = here(words[0], place, *words[1:])
    assert (ended, lines) == (code, [])
    assert note in notes[0]
    assert _statuses(place) == before


@pytest.mark.parametrize(
    "words",
    [
        ["move", "jobs.db"],
        ["extend", "jobs.db", "job-1", "2h"],
        ["extend", "jobs.db", "job-1", "2020-01-01"],
        ["extend", "jobs.db", "job-1", "+2 h"],
        ["extend", "jobs.db", "job-1", "+0s"],
        ["start", "jobs.db", "job-1", "--payment", "p" * 257],
        ["extend", "jobs.db", "+0min", "--kind", "report", "--dry-run"],
        ["retry", "jobs.db", "job-1", "--reason", "x" * 5_000],
        ["retry", "jobs.db", ""],
        ["answer", "jobs.db", "job-1", "name"],
        ["follow-up", "jobs.db", "job-1", "A B"],
    ],
    ids=" ".join,
)
def test_wrong_usage_of_an_act_is_told_of(here: Run, words: list[str]) -> None:
    code, _, notes = here(*words)
    assert code == 2
    assert ": error: " in notes[-1]


def test_options_may_stand_before_the_ids(place: str, here: Run) -> None:
    code, lines, _ = here("retry", place, "--reason", "now", "job-2", "--json")
    assert (code, len(lines)) == (0, 1)
    code, _, _ = here("answer", place, "--reason", "now", "job-2", "a=1")
    assert code == 5


def test_filters_need_a_yes_where_nobody_can_be_asked(each_place: str, here: Run) -> None:
    place = each_place
    words = ["retry", place, "--kind", "report", "--reason", "two words"]
    before = _statuses(place)
    code, lines, [note] = here(*words)
    assert (code, lines, _statuses(place)) == (2, [], before)
    assert note == (
        "engine: to retry 2 jobs of the kind report, say so by --yes: "
        f"engine retry --yes {place} --kind report --reason 'two words'"
    )
    code, lines, notes = here(*words, "--yes")
    assert (code, lines, notes) == (0, ["retried: 2 jobs"], [])
    assert _statuses(place)[1:4] == ["running"] * 3
    code, lines, [note] = here(*words, "--yes")
    assert (code, lines, note) == (0, [], "no job of the kind report can be retried now")


def test_the_command_that_is_suggested_works_behind_two_dashes(place: str, here: Run) -> None:
    code, _, [note] = here("move", "--kind", "report", "--", place, "failed")
    assert code == 2
    program, *words = shlex.split(note.rpartition("--yes: ")[2])
    code, lines, notes = here(*words)
    assert (program, code, notes) == ("engine", 0, [])
    assert lines == ["moved: 3 jobs"]


def test_filters_that_fit_no_job_together_choose_none(place: str, here: Run) -> None:
    before = _statuses(place)
    for filters in (["--stuck", "0s", "--status", "needs_attention"], ["--due"], ["--since", "0s"]):
        code, lines, notes = here("cancel", place, *filters, "--yes")
        assert (lines, len(notes), code in {0, 2}) == ([], 1, True)
    assert _statuses(place) == before


def test_a_damaged_job_is_damage_and_the_others_go_on(place: str, here: Run) -> None:
    with closing(sqlite3.connect(place, isolation_level=None)) as connection:
        connection.execute("UPDATE jobs SET input_hash = 'other' WHERE job_id = 'job-2'")
    code, lines, _ = here("retry", place, "job-2", "job-3")
    assert (code, lines[:2]) == (1, ["retried: 1 job", "failed: 1 job"])
    code, lines, notes = here("cancel", place, "--status", "needs_attention", "--yes")
    assert (code, lines) == (0, [])
    assert notes == [
        f"damaged jobs, left out: 1; to learn more: engine check {place}",
        "no job with the status 'needs_attention' can be cancelled now",
    ]


def test_a_payment_or_a_key_names_one_job(place: str, here: Run) -> None:
    code, lines, _ = here("start", place, "--payment", "pay")
    assert (code, lines) == (0, ["started: job-1 running"])
    code, _, notes = here("retry", place, "--payment", "pay")
    assert (code, "can't be retried: it is ready" in notes[0]) == (5, True)


def test_a_payment_and_a_key_name_a_job_in_its_status(path: Path, here: Run) -> None:
    with opened(str(path)) as engine:
        for name in ("a", "b"):
            job = engine.create("input", payment_id=name, idempotency_key=name)
            engine.start(job.job_id)
            engine.transition(job.job_id, S.NEEDS_ATTENTION)
    for words in (["--payment", "a"], ["--key", "b", "--status", "needs_attention"]):
        code, [line], _ = here("move", path, *words, "running", "--dry-run", "--json")
        assert (code, json.loads(line)["status"]) == (0, "needs_attention")
        code, [line], _ = here("move", path, *words, "running")
        assert (code, line.split()[2]) == (0, "running")
    code, _, [note] = here("move", path, "--key", "b", "--status", "needs_attention", "running")
    assert (code, "has no job with the status" in note) == (4, True)


def test_a_dry_run_changes_nothing(place: str, here: Run, path: Path) -> None:
    before = _contents(path)
    code, lines, _ = here("retry", place, "--kind", "report", "--dry-run")
    assert code == 0
    assert lines == [
        "JOB ID  STATUS",
        "job-2   needs_attention",
        "job-3   needs_attention",
        "would retry 2 jobs of the kind report",
    ]
    _, lines, _ = here("cancel", place, "job-1", "--dry-run", "--json")
    assert [*map(json.loads, lines)] == [{"job_id": "job-1", "status": "awaiting_payment"}]
    _, lines, _ = here("move", place, "completed", "--status", "running", "--dry-run")
    assert lines[-1] == "would move 1 job with the status 'running' to 'completed'"
    for when, told in (
        ("+2h", "2 h from now"),
        ("+90061s", "1 d 1 h 1 min 1 s from now"),
        ("never", "no deadline"),
        ("2035-01-01", "2035-01-01T00:00:00+00:00"),
    ):
        _, lines, _ = here("extend", place, when, "--kind", "report", "--dry-run")
        assert lines[-1] == f"would extend 3 jobs of the kind report to {told}"
    _, lines, _ = here("extend", place, "job-1", "+2h", "--status", "running", "--dry-run")
    assert lines[-1] == "would extend 1 job to 2 h from now, or from entering 'running'"
    assert _contents(path) == before


def _contents(path: Path) -> list[Any]:
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as reader:
        return [*reader.iterdump()]


def test_every_job_is_told_of_as_json(place: str, here: Run) -> None:
    words = ("retry", place, "job-2", "job-1", "--json")
    code, lines, notes = here(*words)
    done, refused = map(json.loads, lines)
    assert code == 5
    assert (done["job_id"], done["job"]["status"]) == ("job-2", "running")
    assert (refused["job_id"], refused["error"]["name"]) == ("job-1", "NotRetryableError")
    assert notes[:2] == ["retried: 1 job", "passed over: 1 job"]


def test_a_question_shows_the_choice_which_is_frozen_then(each_place: str, path: Path) -> None:
    place = each_place
    command = [*PROGRAM, "cancel", place, "--status", "needs_attention", "--status", "running"]
    with Terminal(command, path.parent, asks=True) as terminal:
        terminal.read_until("? [y/N] ")
        asked = "cancel 3 jobs with the status 'needs_attention' or 'running'? [y/N] "
        assert terminal.output == asked
        with opened(place, first=7) as engine:  # meanwhile
            for name in ("job-2", "job-3"):
                engine.retry(name)
            engine.transition("job-2", S.NEEDS_ATTENTION)  # again, for another reason
            engine.create("new", start=True)
        terminal.type("y\n")
        code, _ = terminal.finish()
    shown = terminal.output.replace("\r\n", "\n").splitlines()
    assert (code, shown[-4:]) == (
        5,
        [
            "cancelled: 1 job",
            "passed over: 2 jobs",
            "  job-2: job 'job-2' is at version 4, not 2: read it again and decide anew",
            (
                "  job-3: job 'job-3' is in running, not in needs_attention: read it again and "
                "decide anew"
            ),
        ],
    )
    statuses = _statuses(place)
    assert statuses.count("cancelled") == 1
    assert statuses.count("running") == 2


def test_an_attempt_or_a_deadline_that_came_after_the_question_is_not_meant(path: Path) -> None:
    ids = map("job-{}".format, range(1, 3)).__next__

    async def attempt(*names: str) -> None:
        async with JobEngine(path, lifecycle=ORDER_LIFECYCLE, new_id=ids) as engine:
            for _ in names:
                job_id, token = await claimed_one(engine)
                assert job_id in names
                await release(engine, job_id, token, 3_600, failed=True)

    def run_again() -> None:
        with opened(str(path)) as engine:
            engine.retry("job-1", by="another")
        anyio.run(attempt, "job-1")  # it has failed once more, and waits as before

    def extend() -> None:
        with opened(str(path)) as engine:
            engine.extend("job-1", S.RUNNING, timedelta(days=3))

    with opened(str(path)) as engine:
        for _ in range(2):
            engine.create("input", start=True)
    anyio.run(attempt, "job-1", "job-2")
    for words, meanwhile, problem in (
        (["retry", "--status", "running"], run_again, "is at attempt 2, not 1"),
        (["extend", "+2h", "--status", "running"], extend, "in running is 20"),
    ):
        command = [*PROGRAM, words[0], str(path), *words[1:]]
        with Terminal(command, path.parent, asks=True) as terminal:
            terminal.read_until("? [y/N] ")
            meanwhile()
            terminal.type("y\n")
            code, _ = terminal.finish()
        assert code == 5
        *_, done, passed, why = terminal.output.replace("\r\n", "\n").splitlines()
        assert (done.split(": ")[1], passed) == ("1 job", "passed over: 1 job")
        assert why.startswith("  job-1: ")
        assert problem in why
    with opened(str(path)) as engine:
        assert engine.get("job-1").deadlines == {S.RUNNING: timedelta(days=3)}


def test_a_job_of_which_an_attempt_begins_after_the_question_is_cancelled(path: Path) -> None:
    async def attempt() -> None:
        async with JobEngine(path, lifecycle=ORDER_LIFECYCLE) as engine:
            await release(engine, *(await claimed_one(engine)), failed=True)

    with opened(str(path)) as engine:
        engine.create("input", start=True)
    command = [*PROGRAM, "cancel", str(path), "--status", "running"]
    with Terminal(command, path.parent, asks=True) as terminal:
        terminal.read_until("? [y/N] ")
        anyio.run(attempt)
        terminal.type("y\n")
        code, _ = terminal.finish()
    assert (code, _statuses(str(path))) == (0, ["cancelled"])


def test_a_stuck_job_is_retried_if_that_would_do_something(path: Path, here: Run) -> None:
    async def fill() -> None:
        new_id = iter(["failed", "ready"]).__next__
        async with JobEngine(path, lifecycle=ORDER_LIFECYCLE, new_id=new_id) as engine:
            await engine.create("input", start=True)
            job_id, token = await claimed_one(engine)
            await release(engine, job_id, token, failed=True)
            await engine.create("input", start=True)

    anyio.run(fill)
    _, _, notes = here("repeat", path, "failed")
    assert [note.split()[2] for note in notes[1:]] == ["retry", "cancel", "show"]
    _, _, notes = here("repeat", path, "ready")
    assert [note.split()[2] for note in notes[1:]] == ["cancel", "show"]
    words = ("retry", path, "--stuck", "0s", "--yes")
    assert here(*words) == (0, ["retried: failed running"], [])
    code, lines, [note] = here(*words)
    assert (code, lines, note) == (0, [], "no job stuck for 0s can be retried now")


@pytest.mark.thorough
def test_jobs_that_attempts_have_are_asked_to_stop(postgres_url: str, here: Run) -> None:
    began, go_on = Event(), Event()

    def work() -> str:
        began.set()
        go_on.wait(SECONDS_AGAINST_HANGS)
        return "done"

    with opened(postgres_url) as engine, Worker(engine, {"work": work}):
        engine.create(kind="work", start=True)
        began.wait(SECONDS_AGAINST_HANGS)
        engine.create_many([NewJob(kind="mail", start=True)] * 2)
        code, lines, notes = here("cancel", postgres_url, "--status", "running", "--yes")
        assert (code, lines, notes) == (0, ["cancelled: 2 jobs; asked to stop: 1"], [])
        go_on.set()


@pytest.mark.thorough
@pytest.mark.parametrize("typed", ["n\n", "\n", "\x04", "yes!\n"])
def test_a_question_that_is_not_answered_by_yes_changes_nothing(
    place: str, path: Path, typed: str
) -> None:
    before = _statuses(place)
    command = [*PROGRAM, "cancel", place, "--kind", "report"]
    with Terminal(command, path.parent, asks=True) as terminal:
        terminal.read_until("? [y/N] ")
        terminal.type(typed)
        code, _ = terminal.finish()
    assert (code, "nothing was done" in terminal.output) == (5, True)
    assert _statuses(place) == before


def test_the_engine_that_has_a_file_is_asked_to_act(path: Path, here: Run) -> None:
    with opened(str(path)) as engine:
        engine.create("input", start=True)
        assert here("cancel", path, "job-1", "--reason", "enough")[0] == 0
        assert engine.get("job-1").error == "cancelled: enough"
        engine.create_many([NewJob("input")] * 150)
        assert here("start", path, "--status", "awaiting_payment", "--yes")[0] == 0
        assert engine.count(status=S.RUNNING) == 150
        code, _, notes = here("retry", path, "job-1")
        assert (code, "it has ended" in notes[0]) == (5, True)


def test_a_file_whose_engine_does_not_listen_is_left_to_it(path: Path, here: Run) -> None:
    with SyncJobEngine(path, control=False, new_id=lambda: "job-1") as engine:
        engine.create("input")
        code, lines, [note] = here("cancel", path, "job-1")
        assert (code, lines, "is in use by another engine" in note) == (3, [], True)


def test_hostile_texts_are_written_without_what_a_terminal_obeys(path: Path, here: Run) -> None:
    with SyncJobEngine(path, new_id=lambda: f"job{HOSTILE}") as engine:
        engine.create("input", start=True)
    code, lines, _ = here("cancel", path, f"job{HOSTILE}", "--reason", HOSTILE)
    assert (code, "\\x1b[31mred\\u202e" in lines[0]) == (0, True)
    for words in (
        ["cancel", path, f"job{HOSTILE}", "--json"],
        ["move", path, f"job{HOSTILE}", f"to{HOSTILE}"],
        ["retry", path, f"job{HOSTILE}"],
        ["cancel", path, "--label", f"a={HOSTILE}"],
    ):
        _, lines, notes = here(*words)
        assert lines + notes
        assert not {"\x1b", "\u202e"} & {*"".join(lines + notes)}
