"""The output of the commands about a file."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from json import loads
from pathlib import Path

import anyio
import pytest

from engine import (
    FailedAttempt,
    Job,
    JobStatus,
    NewJob,
    Outcome,
    SQLiteStorage,
    SyncJobEngine,
    Transition,
)
from engine.operating import this_operator
from engine.storage.record import AttemptRecord, Execution
from engine.testing.book import Book
from engine.testing.store import opened
from engine.testing.values import MICROSECOND, NOON, OddStatus
from tests.examples.programs import Terminal
from tests.unit.cli.programs import PROGRAM, Run, damage, run
from tests.unit.storage.sqlite.privileges import without_privileges


def second(job: Job) -> str:
    return f"{job.updated_at:%Y-%m-%dT%H:%M:%SZ}"


# Listing.


def test_list_gives_a_line_for_each_job_of_a_file_in_use(
    used: SyncJobEngine, path: Path, here: Run
) -> None:
    one, two, three = (second(used.get(f"job-{number}")) for number in (1, 2, 3))
    assert here("list", path) == (
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
    assert note == f"the next ones: engine list {path} --limit 2 --after 2"
    code, lines, notes = here(*note.split()[4:])
    assert (code, [line[:5] for line in lines], notes) == (0, ["JOB I", "job-3"], [])

    _, _, [note] = here("list", path, "--status", "failed", "--limit", 1, "--after", 3)
    assert note == (
        "no jobs with the status 'failed' "
        "(statuses there: awaiting_payment, completed, failed) after 3"
    )


@pytest.mark.thorough
def test_hints_name_the_command_that_was_typed(used: SyncJobEngine, path: Path) -> None:
    used.close()
    damage(path, "UPDATE jobs SET result = 'well' WHERE job_id = 'job-2'")
    code, _, notes = run("list", path, "--limit", 2, "--json")
    assert (code, notes) == (
        1,
        [
            f"damaged jobs: 1; to learn more: python -m engine check {path}",
            f"the next ones: python -m engine list {path} --limit 2 --after 2 --json",
        ],
    )


def test_list_shows_only_the_jobs_of_a_status(used: SyncJobEngine, path: Path, here: Run) -> None:
    assert used.count() == 3
    code, [_, line], notes = here("list", path, "--status", "failed")
    assert (code, line[:5], notes) == (0, "job-3", [])


def test_list_finds_jobs_by_kind_and_labels(path: Path, here: Run) -> None:
    with SyncJobEngine(SQLiteStorage(path), new_id=map("job-{}".format, range(9)).__next__) as used:
        for number in range(6):
            labels = {"customer": f"c{number % 2}", "a": "b=c"}
            used.create(f"input {number}", kind=("report", "mail")[number // 4], labels=labels)
    chosen = ("list", path, "--label", "customer=c1", "--label", "a=b=c", "--kind", "report")
    code, lines, notes = here(*chosen)
    assert (code, [line[:5] for line in lines[1:]], notes) == (0, ["job-1", "job-3"], [])
    _, lines, [note] = here(*chosen, "--newest", "--limit", 1)
    assert [line[:5] for line in lines[1:]] == ["job-3"]
    assert note == (
        f"the next ones: engine list {path} --kind report --label customer=c1 --label a=b=c "
        "--newest --limit 1 --after 4"
    )
    _, lines, notes = here(*note.split()[4:])
    assert ([line[:5] for line in lines[1:]], notes) == (["job-1"], [])
    _, _, [note] = here("list", path, "--kind", "print", "--label", "customer=c2")
    assert note == "no jobs of the kind print with the label 'customer=c2'"
    _, _, [note] = here("list", path, "--kind", "mail", "--newest", "--after", 5)
    assert note == "no jobs of the kind mail before 5"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--kind", "Report"], "argument --kind: must be 1 to 64 of "),
        (["--label", "customer"], "argument --label: must be NAME=VALUE, and its value "),
        (["--label", "=c1"], "argument --label: must be NAME=VALUE, and its name "),
    ],
)
def test_list_refuses_what_no_job_can_have(
    path: Path, here: Run, arguments: list[str], problem: str
) -> None:
    code, _, errors = here("list", path, *arguments)
    assert code == 2
    assert problem in errors[-1]


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


def test_list_of_large_jobs_shows_each_job_once(path: Path, here: Run) -> None:
    """A read of the file ends early, and the list goes on."""
    with SyncJobEngine(SQLiteStorage(path)) as engine:
        new = [NewJob(f"input {number}", input="x" * 250_000) for number in range(150)]
        jobs = [job.job_id for job in engine.create_many(new)]
    _, lines, notes = here("list", path, "--limit", 1_000)
    assert [line.split()[0] for line in lines[1:]] == jobs
    assert notes == []
    _, lines, [note] = here("list", path, "--limit", 100)
    assert [line.split()[0] for line in lines[1:]] == jobs[:100]
    assert note.endswith("--after 100")


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
    assert note == f"damaged jobs: 1; to learn more: engine check {path}"
    code, lines, _ = here("list", path, "--json")
    assert (code, list(loads(lines[1]))) == (1, ["job_id", "damaged"])


def test_list_on_a_terminal_cuts_lines_at_its_width(path: Path) -> None:
    job_id = "0190f3a7-5a0c-7c1f-9d5b-9f3c6a4f1f0e"
    with SyncJobEngine(SQLiteStorage(path), new_id=lambda: job_id) as engine:
        engine.create("input " * 42, kind="report", start=True)
        engine.transition(job_id, JobStatus.FAILED, error="there is no paper " * 9)
    with Terminal([*PROGRAM, "list", str(path)], path.parent) as terminal:
        assert terminal.finish() == (0, "")
    head, line = (re.split(" {2,}", each) for each in terminal.output.splitlines())
    assert head == ["JOB ID", "STATUS", "KIND", "UPDATED", "RESULT OR ERROR"]
    shown, *_, ago, error = line
    assert job_id.startswith(shown.removesuffix("…"))
    assert re.fullmatch(r"\d+ s ago", ago)
    assert error.startswith("there is no paper")
    assert len(terminal.output.splitlines()[1]) == 80
    with Terminal([*PROGRAM, "show", str(path), shown], path.parent) as terminal:
        assert terminal.finish() == (0, "")  # an id as it is shown names its job
        assert job_id in terminal.output


def test_a_closed_file_is_read_though_its_folder_may_not_be_written(here: Run) -> None:
    with without_privileges() as folder:
        path = folder / "jobs.db"
        with SyncJobEngine(SQLiteStorage(path), new_id=lambda: "job-1") as engine:
            engine.create("input")
        folder.chmod(0o500)
        listed, shown = here("list", path), here("show", path, "job-1")
        checked = here("check", path)
        left = {each.name for each in folder.iterdir()}
    assert (listed[0], listed[1][1][:5], listed[2]) == (0, "job-1", [])
    assert (shown[0], shown[2]) == (0, [])
    assert checked == (0, [f"{path}: 1 job, 1 transition: sound"], [])
    assert left == {"jobs.db", "jobs.db-lock"}


# Showing.


def test_show_gives_each_field_and_the_history(used: SyncJobEngine, path: Path, here: Run) -> None:
    job, history = used.get("job-2"), used.history("job-2")
    times = [f"{line.at:%Y-%m-%dT%H:%M:%S.%fZ}" for line in history]
    assert here("show", path, "job-2") == (
        0,
        [
            "job_id                 job-2",
            "status                 completed",
            "input_hash             input 2",
            "blockchain_identifier  mock_bc_job-2",
            f"created_at             {times[0]}",
            f"updated_at             {job.updated_at:%Y-%m-%dT%H:%M:%S.%fZ}",
            f"started_at             {times[1]}",
            "outcome                succeeded",
            "sequence               6",
            "result                 done",
            "                       \\x1b[31mred",
            "error                  -",
            "version                3",
            "idempotency_key        key 2",
            "",
            "SEQUENCE  AT                           FROM              TO                BY  REASON",
            f"2         {times[0]}  -                 awaiting_payment  -   -",
            f"4         {times[1]}  awaiting_payment  running           us  \\x1b[31mpaid",
            f"6         {times[2]}  running           completed         -   -",
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


async def _commit_job_at_work(path: Path) -> None:
    execution = Execution(
        *(7, 3, 1, None, NOON, "{}", NOON, NOON + MICROSECOND),
        *(
            '{"prompt_id":"p","name":"n","question":"","json_schema":{}}',
            "{}",
            "too\nlate",
            "json",
            '{"traceparent":"00"}',
        ),
    )
    async with opened(SQLiteStorage(path), Book()) as session:
        batch = session.batch().create("plain", execution=Execution())
        every_field = Execution(
            *(7, 3, 1, "token", NOON, f'{{"{OddStatus.RUNNING}":60.0}}', NOON, NOON),
            prompt=execution.prompt,
            cancel_reason="late",
            result_form="json",
            trace="{}",
            deaths=1,
            not_before=NOON,
            last_error="error",
            repeat_of="a",
            repeated_by="b",
        )
        batch.create(
            "full",
            key="key",
            identifier="payment",
            given_input="1",
            kind="report",
            labels={"customer": "c17"},
            runs=True,
            execution=every_field,
        )
        await session.commit(batch.create("job", given_input='{"a":["ä"]}', execution=execution))


def test_show_gives_what_a_job_at_work_has(path: Path, here: Run) -> None:
    anyio.run(_commit_job_at_work, path)
    code, lines, notes = here("show", path, "job")
    assert (code, notes) == (0, [])
    assert [re.sub(r" \(\d+ d( \d+ h)? ago\)$", "", line) for line in lines[11:-3]] == [
        'input                  {"a": ["ä"]}',
        "priority               7",
        "attempt                3",
        "next_attempt_at        2026-03-01T12:00:00.000001Z",
        "claimed_at             2026-03-01T12:00:00.000000Z",
        "failures               1",
        "deadline_at            2026-03-01T12:00:00.000000Z",
        (
            'prompt                 {"prompt_id": "p", "name": "n", "question": "", '
            '"json_schema": {}, "refusal": null}'
        ),
        "cancel_reason          too",
        "                       late",
        "result_form            json",
        'trace                  {"traceparent": "00"}',
    ]
    assert here("show", path, "plain")[1][10:12] == ["idempotency_key        -", ""]


def test_show_gives_json_of_a_job_at_work(path: Path, here: Run) -> None:
    anyio.run(_commit_job_at_work, path)
    code, [line], _ = here("show", path, "full", "--json")
    fields = loads(line)
    [entry] = fields.pop("history")
    # Kept in memory alone; of an ended job; of follow-ups.
    later = {"progress", "outcome", "parent_id", "parent_version"}
    assert {*fields} == {*Job.model_fields} - later
    job = Job[OddStatus].model_validate(fields)
    assert (job.kind, job.labels, job.started_at) == ("report", {"customer": "c17"}, NOON)
    code, [line], _ = here("show", path, "job", "--json")
    fields = loads(line)
    [entry] = fields.pop("history")
    job = Job[OddStatus].model_validate(fields)
    assert (code, entry["job_id"], job.input, job.attempt) == (0, "job", {"a": ["ä"]}, 3)
    assert job.prompt is not None
    assert (job.prompt.prompt_id, job.next_attempt_at) == ("p", NOON + MICROSECOND)


async def _commit_failed_attempts(path: Path) -> None:
    async with opened(SQLiteStorage(path), Book()) as session:
        batch = session.batch().create("job", execution=Execution(attempt=2))
        batch.amend("job", failed=AttemptRecord(1, NOON, NOON + MICROSECOND, "failed", "no\nink"))
        long = AttemptRecord(2, NOON, NOON + MICROSECOND, "died", "x" * 4_000)
        await session.commit(batch.amend("job", last_error="x" * 4_000, failed=long))


def test_show_gives_the_failed_attempts_and_the_beginning_of_their_errors(
    path: Path, here: Run
) -> None:
    anyio.run(_commit_failed_attempts, path)
    code, lines, _ = here("show", path, "job")
    assert (code, lines[-7:-3]) == (
        0,
        [
            "",
            "ATTEMPT  BEGAN                        ENDED                        OUTCOME  ERROR",
            "1        2026-03-01T12:00:00.000000Z  2026-03-01T12:00:00.000001Z  failed   no\\nink",
            "2        2026-03-01T12:00:00.000000Z  2026-03-01T12:00:00.000001Z  died     "
            + "x" * 79
            + "…",
        ],
    )
    _, [line], _ = here("show", path, "job", "--json")
    first, second = (FailedAttempt.model_validate(each) for each in loads(line)["attempts"])
    assert (first.number, first.outcome, first.error) == (1, Outcome.FAILED, "no\nink")
    assert (second.ended_at, second.error) == (NOON + MICROSECOND, "x" * 4_000)


def test_show_says_that_there_is_no_such_job(used: SyncJobEngine, path: Path, here: Run) -> None:
    assert used.count() == 3
    look = f"engine list {path} --newest"
    told = f"engine: {path} has no job 'job-4'; to look for it: {look}"
    assert here("show", path, "job-4") == (4, [], [told])


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


@pytest.mark.thorough
def test_check_says_that_a_file_in_use_is_sound(used: SyncJobEngine, path: Path) -> None:
    assert used.count() == 3
    assert run("check", path) == (0, [f"{path}: 3 jobs, 7 transitions: sound"], [])


def test_check_says_what_is_wrong(used: SyncJobEngine, path: Path, here: Run) -> None:
    used.close()
    damage(path, "UPDATE jobs SET result = 'well' WHERE job_id = 'job-2'")
    code, [finding, verdict], notes = here("check", path)
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
        connection.execute("ALTER TABLE jobs RENAME COLUMN result TO ending")
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


def test_backup_leaves_a_line_in_a_file_that_no_engine_has(path: Path, here: Run) -> None:
    copy = path.with_name("copy.db")
    with SyncJobEngine(path) as engine:
        assert here("backup", path, copy, "--reason", "in use")[0] == 0
    assert here("backup", path, path.with_name("other.db"), "--reason", "nightly")[2] == []
    with SyncJobEngine(path) as engine:
        [entry] = engine.audit()
    assert (entry.action, entry.by, entry.reason) == ("backup", this_operator(), "nightly")
    assert entry.arguments == {"path": str(path.with_name("other.db"))}
    with SyncJobEngine(path.with_name("other.db")) as copied:
        assert copied.audit() == []


def test_a_backup_that_cannot_be_noted_is_good(path: Path, here: Run) -> None:
    with SyncJobEngine(path) as engine:
        engine.create("hash")
    damage(path, "UPDATE engine SET value = '{}' WHERE name = 'lifecycle'")
    copy = path.with_name("copy.db")
    code, [line], [note] = here("backup", path, copy)
    assert (code, line.split(": ")[0]) == (0, str(copy))
    assert note.startswith("the audit has no line of this copy: ")


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
