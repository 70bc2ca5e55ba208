"""Rules: what is wrong in a database as far as one statement can find it.

They see one state. An engine writes each batch whole, so none of its states breaks a rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from engine.storage.audit import KEPT_AUDIT_LINES
from engine.storage.family_checks import FAMILY_RULES
from engine.storage.postgres.claims import SEEN_FOR
from engine.storage.postgres.columns import has_died
from engine.storage.postgres.statements import FOUND_BY
from engine.storage.record import KEPT_ATTEMPTS


class Rule(NamedTuple):
    """A rule, by a query that finds what breaks it."""

    where: str
    """The place of a problem, in which ``{0}`` stands for the first column, and so on."""
    problem: str
    """The sentence about it."""
    query: str
    """With ``{schema}.`` before each table. Its parameters are ``running``, the running status, and
    ``last_position`` and ``last_sequence``, the newest numbers that were removed."""


_LIVE: Final = f"(token IS NOT NULL AND NOT {has_died()})"
_FREE: Final = f"(status = %(running)b AND NOT {_LIVE} AND holder IS NULL)"
_SEEN: Final = f"coalesce(due_at >= deadline_at + {SEEN_FOR}, false)"


def _of_jobs(problem: str, condition: str, *columns: str) -> Rule:
    """Return a rule that a job breaks; in the problem, ``{1}`` is the first of some columns."""
    names = ", ".join(("job_id", *columns))
    query = f"SELECT {names} FROM {{schema}}.jobs WHERE {condition} ORDER BY position"
    return Rule("job {0}", problem, query)


_OF_CLAIMS: Final = (
    _of_jobs(
        "it is ready, and its status {1} is not the running one",
        "ready AND status <> %(running)b",
        "status",
    ),
    _of_jobs("it is ready, and an attempt has it", f"ready AND {_LIVE}"),
    _of_jobs("it is ready, and engine {1} has it", "ready AND holder IS NOT NULL", "holder"),
    _of_jobs("an attempt has it, and no engine", f"{_LIVE} AND holder IS NULL"),
    _of_jobs(
        "engine {1} has it, and there is no such engine",
        "NOT EXISTS (SELECT FROM {schema}.engines WHERE engine_id = holder) AND holder IS NOT NULL",
        "holder",
    ),
    _of_jobs(
        "engine {1} has it without an attempt, and its status {2} is not the running one",
        f"holder IS NOT NULL AND NOT {_LIVE} AND status <> %(running)b",
        "holder",
        "status",
    ),
    _of_jobs(
        "it can't be claimed, and nothing will change that",
        f"{_FREE} AND NOT ready AND retry_at IS NULL",
    ),
    _of_jobs(
        "its deadline is {1}, and it is due at {2}",
        "ended_at IS NULL AND deadline_at IS NOT NULL "
        f"AND (due_at IS NULL OR (due_at > deadline_at AND NOT {_SEEN} "
        "AND due_at IS DISTINCT FROM retry_at))",
        "deadline_at",
        "due_at",
    ),
    _of_jobs(
        "its next attempt is at {1}, and it is due at {2}",
        f"{_FREE} AND NOT ready AND retry_at IS NOT NULL "
        f"AND (due_at IS NULL OR (due_at > retry_at AND NOT {_SEEN}))",
        "retry_at",
        "due_at",
    ),
    _of_jobs(
        "it has ended, and is due at {1}", "ended_at IS NOT NULL AND due_at IS NOT NULL", "due_at"
    ),
    Rule(
        "engine {0}",
        "it has no row in batches",
        "SELECT engine_id FROM {schema}.engines AS engine WHERE NOT EXISTS "
        "(SELECT FROM {schema}.batches AS batch WHERE batch.engine_id = engine.engine_id)",
    ),
)

_ATTEMPT: Final = "attempt {0} of job {1}"
_ATTEMPTS: Final = (
    "FROM {schema}.attempts AS attempt JOIN {schema}.jobs AS job ON job.position = attempt.position"
)
_IN_ORDER: Final = "ORDER BY attempt.position, number"
_NEWEST: Final = (
    "(SELECT newest.error FROM {schema}.attempts AS newest "
    "WHERE newest.position = job.position ORDER BY number DESC LIMIT 1)"
)
_OF_ATTEMPTS: Final = (
    Rule(
        "attempt {0} of the job with position {1}",
        "there is no such job",
        "SELECT number, position FROM {schema}.attempts AS attempt WHERE NOT EXISTS "
        "(SELECT FROM {schema}.jobs AS job WHERE job.position = attempt.position) " + _IN_ORDER,
    ),
    Rule(
        _ATTEMPT,
        "the newest attempt of its job is {2}",
        f"SELECT number, job_id, job.attempt {_ATTEMPTS} "
        f"WHERE number > coalesce(job.attempt, 0) {_IN_ORDER}",
    ),
    Rule(
        _ATTEMPT,
        "it began at {2}, and ended at {3}",
        f"SELECT number, job_id, began_at, attempt.ended_at {_ATTEMPTS} "
        f"WHERE attempt.ended_at < began_at {_IN_ORDER}",
    ),
    Rule(
        _ATTEMPT,
        "its outcome can't be {2}",
        f"SELECT number, job_id, attempt.outcome {_ATTEMPTS} "
        f"WHERE attempt.outcome NOT IN ('failed', 'died') {_IN_ORDER}",
    ),
    Rule(
        "job {0}",
        "its last error is {1}, and that of its attempts is {2}",
        f"SELECT job_id, last_error, {_NEWEST} FROM {{schema}}.jobs AS job "
        f"WHERE last_error IS DISTINCT FROM {_NEWEST} ORDER BY position",
    ),
    Rule(
        "job {0}",
        f"{{1}} of its failed attempts are kept, and not {KEPT_ATTEMPTS} at most",
        f"SELECT job_id, count(*) {_ATTEMPTS} GROUP BY job.position, job_id "
        f"HAVING count(*) > {KEPT_ATTEMPTS} ORDER BY job.position",
    ),
)


def _of_numbers(number: str, table: str, noun: str) -> Iterator[Rule]:
    """Return the rules of the numbers of jobs or transitions."""
    removed = f"%(last_{number})b"
    yield Rule(
        "the notes",
        f"{noun} {{0}} is there, and was to be removed",
        f"SELECT {number} FROM {{schema}}.{table} WHERE {number} = {removed}",
    )
    yield Rule(
        f"{noun} {{0}}",
        f"the {noun} before it is missing",
        f"SELECT {number} FROM {{schema}}.{table} AS this WHERE {number} > {removed} + 1 "
        f"AND NOT EXISTS (SELECT FROM {{schema}}.{table} AS before "
        f"WHERE before.{number} = this.{number} - 1) ORDER BY {number}",
    )


_IS_ENDED: Final = "'^[0-9]{{1,18}} [0-9]{{1,18}}$'"
_OF_ENDED: Final = "FROM {schema}.notes WHERE name = 'ended'"
_ENDED: Final = "SELECT count(*) FROM {schema}.jobs WHERE ended_at IS NOT NULL"
_SINCE: Final = "SELECT position FROM {schema}.transitions WHERE sequence > upto[1]"
_OF_REMOVALS: Final = (
    Rule(
        "note ended",
        "it can't be {0}",
        f"SELECT max(value) {_OF_ENDED} HAVING coalesce(max(value), '') !~ {_IS_ENDED}",
    ),
    Rule(
        "note ended",
        "{1} jobs had ended by that transition, and not as many as in {0}",
        f"SELECT value, counted FROM (SELECT value, upto, ({_ENDED}) - ({_ENDED} AND position = "
        f"ANY (ARRAY({_SINCE}))) AS counted FROM (SELECT value, CASE WHEN value ~ {_IS_ENDED} "
        f"THEN string_to_array(value, ' ')::bigint[] END AS upto {_OF_ENDED}) AS note) AS ended "
        "WHERE upto[1] > 0 AND counted <> upto[2]",
    ),
)
_OF_HISTORIES: Final = (
    *_of_numbers("position", "jobs", "job"),
    *_of_numbers("sequence", "transitions", "transition"),
    Rule(
        "transition {0}",
        "it is of job {1}, and its position is that of job {2}",
        "SELECT sequence, line.job_id, job.job_id FROM {schema}.transitions AS line "
        "JOIN {schema}.jobs AS job ON job.position = line.position "
        "WHERE line.job_id <> job.job_id ORDER BY sequence",
    ),
)

_OF_AUDIT: Final = (
    Rule(
        "line {0} of the audit",
        "the line before it is missing",
        "SELECT number FROM {schema}.audit AS this WHERE number > "
        "(SELECT min(number) FROM {schema}.audit) AND NOT EXISTS (SELECT FROM {schema}.audit "
        "AS before WHERE before.number = this.number - 1) ORDER BY number",
    ),
    Rule(
        "the audit",
        f"it has {{0}} lines, and not {KEPT_AUDIT_LINES} at most",
        f"SELECT count(*) FROM {{schema}}.audit HAVING count(*) > {KEPT_AUDIT_LINES}",
    ),
)

_OF_THROUGHPUT: Final = (
    Rule(
        "the throughput of {0}",
        "it has {2} transitions into {1}",
        "SELECT minute, status, transitions FROM {schema}.throughput WHERE transitions < 1 "
        "ORDER BY minute, status",
    ),
    Rule(
        "the throughput of {0}",
        "its time is not that of a minute",
        "SELECT minute FROM {schema}.throughput "
        "WHERE minute <> date_trunc('minute', minute, 'UTC') ORDER BY minute",
    ),
)

_OF_FAMILIES: Final = tuple(Rule("job {0}", each.problem, each.query) for each in FAMILY_RULES)

RULES: Final = (
    *_OF_CLAIMS,
    *_OF_ATTEMPTS,
    *_OF_HISTORIES,
    *_OF_REMOVALS,
    *_OF_AUDIT,
    *_OF_THROUGHPUT,
    *_OF_FAMILIES,
)

LEFT_BEHIND: Final = Rule(
    "job {0}",
    "it was created in a transaction of its caller, and left behind when that was committed",
    "SELECT job_id FROM {schema}.arrivals ORDER BY position",
)
"""Can't be asked on a standby, which has no unlogged tables."""

SAME_NAMES: Final = tuple(
    Rule(
        "the jobs",
        f"{{1}} of them have the {column} {{0}}",
        f"SELECT {column}, count(*) FROM {{schema}}.jobs WHERE {column} IS NOT NULL "
        f"GROUP BY {column} HAVING count(*) > 1",
    )
    for column in FOUND_BY
)
"""Broken only if an index is, so no index may be used for them."""
