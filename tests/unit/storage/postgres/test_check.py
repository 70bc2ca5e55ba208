"""A check of a database finds what no engine writes, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from threading import Event

import anyio
import psycopg
import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    FollowUp,
    Job,
    JobStatus,
    Retry,
    SyncJobEngine,
    Worker,
)
from engine.storage.findings import Report
from engine.storage.places import place_at
from engine.storage.postgres.check import check_database
from tests.postgres import SCHEMA, Databases
from tests.tries import thorough

SECONDS_AGAINST_HANGS = 30
IDS = ["waiting", "done", "failing", "at work", "ready"]


def _ignore(_done: int, _of: int) -> None:
    pass


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    """Return the URL of a database with a job of each sort, while an engine has one of them."""
    url, is_at_work = databases.new(), Event()

    async def work(job: Job[AgentJobStatus]) -> str:
        if job.job_id == "failing":
            raise ValueError
        if job.job_id == "done":
            return "done"
        is_at_work.set()
        await anyio.sleep_forever()
        raise AssertionError

    with SyncJobEngine(url, lifecycle=AGENT_JOB_LIFECYCLE, new_id=iter(IDS).__next__) as engine:
        waits = {AgentJobStatus.AWAITING_PAYMENT: timedelta(hours=1)}
        engine.create("1", labels={"customer": "c17"}, deadlines=waits)
        for job_id in IDS[1:]:
            engine.create("2", start=True, idempotency_key=job_id, payment_id=f"paid {job_id}")
        retry = Retry(first_delay_seconds=3_600)
        with Worker(engine, work, concurrency=1, retry=retry, grace_seconds=0):
            assert is_at_work.wait(SECONDS_AGAINST_HANGS)
            yield url
    databases.drop(url)


def _found(url: str, damage: str) -> Report:
    """Return the report of a check that sees damage which nobody else sees."""
    with psycopg.connect(url) as connection:
        connection.execute(f"SET search_path TO {SCHEMA}".encode())
        for statement in damage.split(";"):
            connection.execute(statement.encode())
        report = check_database(connection.cursor(binary=True), SCHEMA, _ignore)
        connection.rollback()
    return report


def test_a_database_in_use_is_sound(url: str) -> None:
    """One job is held, one waits for its next attempt, one has a deadline, one is ready."""
    with psycopg.connect(url) as connection:
        kept = connection.execute(
            "SELECT job_id, holder IS NULL, ready, due_at IS NULL FROM engine.jobs ORDER BY 1"
        ).fetchall()
    assert kept == [
        ("at work", False, False, True),
        ("done", True, False, True),
        ("failing", True, False, False),
        ("ready", True, True, True),
        ("waiting", True, False, False),
    ]
    assert place_at(url).check(_ignore) == Report(5, 6, 0, ())


OF_JOB = "UPDATE jobs SET {} WHERE job_id = '{}'"
MORE_ATTEMPTS = (
    "INSERT INTO attempts SELECT position, number - n, began_at, ended_at, outcome, error "
    "FROM attempts, generate_series(1, 20) AS n"
)
SAME_KEYS = (
    "DROP INDEX jobs_by_key; CREATE INDEX jobs_by_key ON jobs (idempotency_key); "
    "UPDATE jobs SET idempotency_key = 'same' WHERE position > 3"
)
LEFT_BEHIND = (
    "ALTER TABLE arrivals DISABLE TRIGGER arrivals_admitted; INSERT INTO arrivals "
    "(job_id, revision, status, input_hash, created_at, updated_at, version, kind, ready) "
    "VALUES ('x', 0, 'waiting', '', now(), now(), 1, 'default', false)"
)
INVALID = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'jobs_by_end'::regclass"
SOME_ACTS = (
    "INSERT INTO audit SELECT number, now(), 'us', 'retry', 'done', NULL, NULL "
    "FROM generate_series({}, {}) AS number"
)
SOME_COUNTS = "INSERT INTO throughput VALUES ({}, 'running', true, {})"
DAMAGE = [
    # The audit.
    (f"{SOME_ACTS.format(3, 4)}; {SOME_ACTS.format(6, 6)}", "the line before it is missing"),
    (SOME_ACTS.format(1, 100_001), "it has 100001 lines, and not 100000 at most"),
    (SOME_ACTS.format(1, 1).replace("NULL, NULL", "NULL, '[]'"), "its arguments can't be '[]'"),
    # The throughput.
    (SOME_COUNTS.format("'2026-03-01 12:00Z'", 0), "it has 0 transitions into 'running'"),
    (SOME_COUNTS.format("'2026-03-01 12:00:01Z'", 1), "its time is not that of a minute"),
    ("UPDATE notes SET value = '7' WHERE name = 'counted'", "it is 7, and the newest transition"),
    ("UPDATE notes SET value = 'x' WHERE name = 'counted'", "it can't be 'x'"),
    # Claims.
    (OF_JOB.format("ready = true", "waiting"), "it is ready, and its status 'awaiting_payment'"),
    (OF_JOB.format("ready = true", "at work"), "it is ready, and an attempt has it"),
    (OF_JOB.format("ready = true", "at work"), "it is ready, and engine "),
    (OF_JOB.format("holder = NULL", "at work"), "an attempt has it, and no engine"),
    (OF_JOB.format("holder = 77", "at work"), "engine 77 has it, and there is no such engine"),
    (OF_JOB.format("holder = 77", "waiting"), "engine 77 has it without an attempt, and its "),
    (OF_JOB.format("ready = false", "ready"), "it can't be claimed, and nothing will change that"),
    (OF_JOB.format("due_at = NULL", "waiting"), "its deadline is "),
    (OF_JOB.format("due_at = due_at + interval '1s'", "waiting"), "its deadline is "),
    (OF_JOB.format("due_at = NULL", "failing"), "its next attempt is at "),
    (OF_JOB.format("due_at = due_at + interval '1s'", "failing"), "its next attempt is at "),
    (OF_JOB.format("due_at = now()", "done"), "it has ended, and is due at "),
    ("DELETE FROM batches", "it has no row in batches"),
    # Failed attempts.
    ("UPDATE attempts SET position = 77", "there is no such job"),
    ("UPDATE attempts SET number = 77", "the newest attempt of its job is 1"),
    ("UPDATE attempts SET ended_at = began_at - interval '1s'", "it began at "),
    ("UPDATE attempts SET outcome = 'well'", "its outcome can't be 'well'"),
    ("UPDATE attempts SET error = 'other'", "its last error is "),
    (MORE_ATTEMPTS, "21 of its failed attempts are kept, and not 20 at most"),
    # Histories.
    (OF_JOB.format("version = 3", "done"), "its version is 3, and it has 2 sound transitions"),
    (OF_JOB.format("status = 'failed'", "done"), "its status is failed, and its history ends"),
    (OF_JOB.format("updated_at = now(), ended_at = now()", "done"), "it changed at "),
    ("UPDATE transitions SET from_status = 'x' WHERE sequence = 6", "its transition 6 is from x"),
    ("UPDATE transitions SET at = at - interval '1h' WHERE sequence = 6", "its transition 6 is of"),
    ("UPDATE transitions SET position = 77 WHERE sequence = 1", "there is no job with its"),
    (
        "UPDATE transitions SET job_id = 'x' WHERE sequence = 1",
        "it is of job 'x', and its position",
    ),
    ("UPDATE transitions SET sequence = 77 WHERE sequence = 6", "the transition before it is"),
    ("UPDATE jobs SET position = 77 WHERE position = 5", "the job before it is missing"),
    (OF_JOB.format("ended_at = NULL", "done"), "its status completed is a final one, and its end"),
    (OF_JOB.format("outcome = NULL", "done"), "its outcome is None, and its end is "),
    # Values.
    (OF_JOB.format("input = '{'", "ready"), "its input can't be '{'"),
    (OF_JOB.format("labels = '[]'", "waiting"), "its labels can't be '[]'"),
    (OF_JOB.format("deadlines = '[]'", "waiting"), "its deadlines can't be '[]'"),
    (OF_JOB.format("attempt = -1", "failing"), "a value can't be: Expected `int` >= 0"),
    (OF_JOB.format("failures = NULL", "failing"), "a value can't be: Expected `int`, got `None`"),
    # Labels and names.
    ("DELETE FROM labels", "it can't be found by its label 'customer': 'c17'"),
    ("UPDATE labels SET value = 'x'", "it is found by the label 'customer': 'x', which it doesn't"),
    ("UPDATE labels SET position = 77", "'customer': 'c17', and there is no job 77"),
    (SAME_KEYS, "2 of them have the idempotency_key 'same'"),
    # Notes, epochs and the schema.
    ("UPDATE notes SET value = '6' WHERE name = 'last_sequence'", "transition 6 is there, and was"),
    ("UPDATE notes SET value = '6' WHERE name = 'last_sequence'", "only one of last_sequence and"),
    ("UPDATE notes SET value = 'x' WHERE name = 'last_position'", "it can't be 'x'"),
    ("UPDATE notes SET value = 'x' WHERE name = 'instructions_number'", "it can't be 'x'"),
    ("UPDATE notes SET value = '[]' WHERE name = 'statuses'", "it can't be '[]'"),
    ("UPDATE notes SET value = '5' WHERE name = 'ended'", "it can't be '5'"),
    ("DELETE FROM notes WHERE name = 'ended'", "it can't be None"),
    ("SELECT remove_1(NULL, 9, 9); UPDATE notes SET value = '6 2' WHERE name = 'ended'", "1 jobs "),
    ("UPDATE epochs SET name = 'x'", "its name can't be 'x'"),
    ("UPDATE epochs SET number = 2", "the one before it is missing"),
    ("DROP INDEX jobs_by_payment", "it is missing"),
    (LEFT_BEHIND, "it was created in a transaction of its caller, and left behind when"),
    ("ALTER TABLE arrivals DISABLE TRIGGER arrivals_admitted", "it is missing or off"),
    ("DROP TABLE progress", "it is missing"),
    ("ALTER FUNCTION free_1 RENAME TO free_77", "it is missing"),
    (INVALID, "it is not valid: REINDEX it"),
]


@pytest.mark.parametrize("case", [*DAMAGE[::6], *thorough(*DAMAGE)])
def test_a_check_finds(url: str, case: tuple[str, str]) -> None:
    damage, problem = case
    report = _found(url, damage)
    assert report.problems
    assert any(problem in finding.problem for finding in report.findings), report.findings


@pytest.fixture(scope="module")
def family_url(databases: Databases) -> Iterator[str]:
    """Return the URL of a database with a job, its follow-up, and the repeats of both."""
    url, rules = databases.new(), [FollowUp("settle", to={JobStatus.COMPLETED})]
    with SyncJobEngine(url, follow_ups=rules, new_id=iter(("root", "other")).__next__) as engine:
        for _ in range(2):
            engine.create(start=True)
        engine.transition("root", JobStatus.COMPLETED)
        [settle] = engine.follow_ups("root")
        engine.transition(settle.job_id, JobStatus.FAILED)
        for job_id in ("root", settle.job_id):
            engine.repeat(job_id)
    yield url
    databases.drop(url)


def test_a_database_with_families_is_sound(family_url: str) -> None:
    assert place_at(family_url).check(_ignore) == Report(5, 7, 0, ())


OF_FOLLOW_UP = "UPDATE jobs SET {} WHERE kind = 'settle' AND repeat_of IS NULL"
OF_RULES = "UPDATE notes SET value = '{}' WHERE name = 'rules{}'"
FAMILY_DAMAGE = [
    (OF_FOLLOW_UP.format("parent_id = 'x'"), "it follows job 'x', and there is no such job"),
    (OF_FOLLOW_UP.format("root_id = 'x'"), "its family is that of job 'x', and there is no such"),
    (OF_FOLLOW_UP.format("root_id = 'other'"), "its family is that of job 'other', and that of"),
    (OF_FOLLOW_UP.format("parent_version = 9"), "it follows version 9 of job 'root', whose"),
    (OF_FOLLOW_UP.format("parent_version = 1"), "its id is not that of the settle which follows"),
    (OF_FOLLOW_UP.format("job_id = 'x'"), "its id is not that of the settle which follows"),
    (OF_FOLLOW_UP.format("root_id = NULL"), "it has a part of a parent"),
    ("DELETE FROM jobs WHERE job_id = 'root'", "it follows job 'root', and there is no such job"),
    (OF_RULES.format("[", ""), "it can't be '['"),
    (OF_RULES.format('[{"kind":"a"}]', ""), "it can't be '[{"),
    (OF_RULES.format("x", "_number"), "it can't be 'x'"),
]


@pytest.mark.parametrize("case", [*FAMILY_DAMAGE[::5], *thorough(*FAMILY_DAMAGE)])
def test_a_check_finds_damage_of_families(family_url: str, case: tuple[str, str]) -> None:
    damage, problem = case
    report = _found(family_url, damage)
    assert any(problem in finding.problem for finding in report.findings), report.findings
