"""Batches: the functions that write one, and that find out what became of it.

Positions of new jobs are negative in a batch: -1 for the first one. **The order of locks** is jobs,
by position; then the order of all transitions; then the row of an engine; then the number of the
engine's batch. Everybody inserts behind the order, so no two batches wait for each other crosswise.
A batch that records a payment takes the order before it writes its jobs: the index of payments
would make it wait for the other batch.

**The number of a batch** is one more than that of the engine's batch before. The batch takes it
last; so does whoever asks what became of it (`resolve_1`), and then the batch never can; and who
declares an engine dead makes its number jump, so that no batch of it can follow. A write without
changes of jobs, such as a pause, takes a number too (`take_number_1`), and keeps its answer with
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from engine.storage.audit import KEPT_AUDIT_LINES
from engine.storage.postgres.columns import (
    ATTEMPT_COLUMNS,
    AUDIT_COLUMNS,
    FIXED_COLUMNS,
    JOB_COLUMNS,
    TRANSITION_COLUMNS,
    has_died,
    type_of,
)
from engine.storage.postgres.composites import Composite
from engine.storage.postgres.errors import FENCED, NOT_READ_COMMITTED, OTHER_RULES, TAKEN
from engine.storage.postgres.planner import BY_INDEX
from engine.storage.record import KEPT_ATTEMPTS

JUMP: Final = 1_000_000
"""So much higher is the number of the batch of an engine that was declared dead."""
ORDER_LOCK: Final = 0x656E676A  # "engj"
"""The first part of the key of an advisory lock; the second one is the table's number."""

NEW_JOB: Final = Composite(JOB_COLUMNS)
"""What a batch says of a new job."""
MOVED_JOB: Final = Composite(
    (
        *("position", "job_id", "revision"),
        *(column for column in JOB_COLUMNS if column not in FIXED_COLUMNS),
        "pays",
    )
)
"""What it says of another one; ``pays``: the batch records its payment."""
COMPARED_JOB: Final = Composite(("position", "job_id", "revision"))
"""What it says of one that it leaves as it is."""
TRANSITION: Final = Composite(TRANSITION_COLUMNS)
ATTEMPT: Final = Composite(ATTEMPT_COLUMNS)
AUDIT_LINE: Final = Composite(AUDIT_COLUMNS)

TYPES: Final = {
    "new_job_1": NEW_JOB,
    "moved_job_1": MOVED_JOB,
    "compared_job_1": COMPARED_JOB,
    "transition_1": TRANSITION,
    "attempt_1": ATTEMPT,
    "audit_line_1": AUDIT_LINE,
}
"""The composite types in the order of the arguments. A new column is for a new type: engines of an
older version send rows without it."""


def _type(name: str, columns: Iterable[str]) -> str:
    return f"CREATE TYPE {name} AS ({', '.join(f'{each} {type_of(each)}' for each in columns)})"


def update_of(engine: str = "p_engine") -> str:
    """Return the SET of a ``job`` that gets what is ``given``, a moved job.

    Args:
        engine: The number of the engine that writes.
    """
    return f"SET {', '.join(_assignments(engine))}"


def _assignments(engine: str) -> Iterator[str]:
    # Reserved by another engine, or held back there: it stays so, whoever writes the job.
    is_kept = (
        f"job.holder <> {engine} AND given.holder IS NULL AND given.status = job.status "
        f"AND (job.token IS NULL OR {has_died('job.token')})"
    )
    yield "revision = job.revision + 1"
    for column in JOB_COLUMNS:
        if column == "holder":
            # Another engine's attempt stays that engine's, too.
            yield (
                "holder = CASE WHEN given.holder IS NOT NULL AND job.token = given.token "
                f"THEN coalesce(job.holder, given.holder) WHEN {is_kept} THEN job.holder "
                "ELSE given.holder END"
            )
        elif column == "ready":
            yield f"ready = given.ready AND ({is_kept}) IS NOT TRUE"
        elif column not in FIXED_COLUMNS:
            yield f"{column} = given.{column}"


_NEW_VALUES: Final = {"position": "position_base - given.position", "revision": "1"}
_INSERTED: Final = ", ".join(_NEW_VALUES.get(each, f"given.{each}") for each in JOB_COLUMNS)
_POSITION: Final = (
    "CASE WHEN given.position < 0 THEN position_base - given.position ELSE given.position END"
)

TAKE_ORDER: Final = f"PERFORM pg_advisory_xact_lock({ORDER_LOCK}, 'jobs'::regclass::oid::integer);"
"""Takes the order of all transitions until the end of the transaction."""
IN_READ_COMMITTED: Final = f"""
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the isolation is %, not read committed',
            current_setting('transaction_isolation') USING ERRCODE = '{NOT_READ_COMMITTED}';
    END IF;
"""
"""Refuses a transaction that would not see what others commit before it has the order."""
LABELS_OF: Final = "json_each_text(given.labels::json) AS label"

# Takes the order of all transitions, and returns whether a name is taken that the batch gives to a
# job that did not have it. Each statement sees what was committed before it began.
_ORDER: Final = f"""
CREATE FUNCTION order_1(p_new new_job_1[], p_moved moved_job_1[]) RETURNS boolean
LANGUAGE plpgsql {BY_INDEX} AS $$
BEGIN
    {TAKE_ORDER}
    RETURN EXISTS (
        SELECT FROM unnest(p_new) JOIN jobs AS job USING (job_id)
    ) OR EXISTS (
        SELECT FROM unnest(p_new) JOIN jobs AS job USING (idempotency_key)
    ) OR EXISTS (
        SELECT FROM (
            SELECT blockchain_identifier FROM unnest(p_new)
            UNION ALL SELECT blockchain_identifier FROM unnest(p_moved) WHERE pays
        ) AS given JOIN jobs AS job USING (blockchain_identifier)
    );
END $$
"""

# Writes lines of the audit, numbered under the order of all transitions, and drops the oldest.
_NOTE_ACTS: Final = f"""
CREATE FUNCTION note_acts_1(p_audit audit_line_1[]) RETURNS void
LANGUAGE plpgsql {BY_INDEX} AS $$
DECLARE
    newest bigint;
BEGIN
    IF p_audit = '{{}}' THEN
        RETURN;
    END IF;
    {IN_READ_COMMITTED}
    {TAKE_ORDER}
    SELECT coalesce(max(number), 0) INTO newest FROM audit;
    INSERT INTO audit (number, {", ".join(AUDIT_COLUMNS)})
        SELECT newest + given.ordinality, {", ".join(f"given.{each}" for each in AUDIT_COLUMNS)}
        FROM unnest(p_audit) WITH ORDINALITY AS given;
    DELETE FROM audit WHERE number <= newest + cardinality(p_audit) - {KEPT_AUDIT_LINES};
END $$
"""

_IF_NEXT: Final = f"""
    WHERE engine_id = p_engine AND number = p_number - 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'batch % of engine % is refused', p_number, p_engine
            USING ERRCODE = '{FENCED}';
    END IF;
"""

# `stale` has the ids of jobs that others have written or removed; `is_taken` says that other jobs
# have names that the batch gives. Nothing is then applied. An error takes back the moves that are
# written already. No answer says a name: the server logs errors.
_COMMIT: Final = f"""
CREATE FUNCTION commit_1(
    p_engine bigint, p_number bigint, p_rules bigint,
    p_new new_job_1[], p_moved moved_job_1[], p_compared compared_job_1[],
    p_lines transition_1[], p_attempts attempt_1[], p_audit audit_line_1[],
    OUT stale text[], OUT is_taken boolean, OUT sequence_base bigint, OUT position_base bigint
) LANGUAGE plpgsql {BY_INDEX} AS $$
DECLARE
    is_ordered boolean := p_moved = '{{}}';
    rules bigint;
BEGIN
    {IN_READ_COMMITTED}
    IF p_moved <> '{{}}' OR p_compared <> '{{}}' THEN
        PERFORM count(*) FROM (
            SELECT 1 FROM jobs WHERE position = ANY (ARRAY(
                SELECT position FROM unnest(p_moved)
                UNION ALL SELECT position FROM unnest(p_compared)
            )) ORDER BY position FOR UPDATE
        ) AS locked;
        SELECT array_agg(given.job_id) INTO stale FROM (
            SELECT job_id, position, revision FROM unnest(p_moved)
            UNION ALL SELECT job_id, position, revision FROM unnest(p_compared)
        ) AS given WHERE NOT EXISTS (
            SELECT FROM jobs AS job
            WHERE job.position = given.position AND job.revision = given.revision
        );
        IF stale IS NOT NULL THEN
            RETURN;
        END IF;
    END IF;
    IF p_moved <> '{{}}' THEN
        is_ordered := EXISTS (SELECT FROM unnest(p_moved) WHERE pays);
    END IF;
    IF is_ordered THEN
        is_taken := order_1(p_new, p_moved);
        IF is_taken THEN
            RETURN;
        END IF;
    END IF;
    IF p_moved <> '{{}}' THEN
        UPDATE jobs AS job {update_of()}
            FROM unnest(p_moved) AS given WHERE job.position = given.position;
    END IF;
    IF p_lines <> '{{}}' THEN
        IF NOT is_ordered THEN
            IF order_1(p_new, p_moved) THEN
                RAISE EXCEPTION 'a name is taken' USING ERRCODE = '{TAKEN}';
            END IF;
        END IF;
        SELECT numbers.last_sequence, numbers.last_position, numbers.rules_number
            INTO sequence_base, position_base, rules FROM numbers;
        IF rules <> p_rules THEN
            RAISE EXCEPTION 'the rules of follow-ups have the number %, not %', rules, p_rules
                USING ERRCODE = '{OTHER_RULES}';
        END IF;
        IF p_new <> '{{}}' THEN
            INSERT INTO jobs ({", ".join(JOB_COLUMNS)})
                SELECT {_INSERTED} FROM unnest(p_new) AS given;
            INSERT INTO labels (name, value, position)
                SELECT label.key, label.value, position_base - given.position
                FROM unnest(p_new) AS given, {LABELS_OF} WHERE given.labels IS NOT NULL;
        END IF;
        INSERT INTO transitions (sequence, position, job_id, from_status, to_status, at, by, reason)
            SELECT sequence_base + given.ordinality, {_POSITION}, given.job_id, given.from_status,
                given.to_status, given.at, given.by, given.reason
            FROM unnest(p_lines) WITH ORDINALITY AS given;
    END IF;
    IF p_attempts <> '{{}}' THEN
        INSERT INTO attempts ({", ".join(ATTEMPT_COLUMNS)})
            SELECT {_POSITION}, {", ".join(f"given.{each}" for each in ATTEMPT_COLUMNS[1:])}
            FROM unnest(p_attempts) AS given;
        DELETE FROM attempts AS old
            USING (SELECT DISTINCT {_POSITION} AS position FROM unnest(p_attempts) AS given)
            AS failed
            WHERE old.position = failed.position AND old.number <= (
                SELECT kept.number FROM attempts AS kept WHERE kept.position = failed.position
                ORDER BY kept.number DESC LIMIT 1 OFFSET {KEPT_ATTEMPTS}
            );
    END IF;
    IF p_audit <> '{{}}' THEN
        PERFORM note_acts_1(p_audit);
    END IF;
    UPDATE batches SET number = p_number, applied = true, answer = NULL,
            sequence_base = commit_1.sequence_base, position_base = commit_1.position_base
        {_IF_NEXT}
END $$
"""

_TAKE_NUMBER: Final = f"""
CREATE FUNCTION take_number_1(p_engine bigint, p_number bigint, p_answer json) RETURNS void
LANGUAGE plpgsql {BY_INDEX} AS $$
BEGIN
    UPDATE batches SET number = p_number, applied = true, answer = p_answer {_IF_NEXT}
END $$
"""

# True: applied; false: it never will be; NULL: the database does not know what it acknowledged.
_RESOLVE: Final = f"""
CREATE FUNCTION resolve_1(
    p_engine bigint, p_number bigint,
    OUT is_applied boolean, OUT sequence_base bigint, OUT position_base bigint, OUT answer json
) LANGUAGE plpgsql {BY_INDEX} AS $$
BEGIN
    UPDATE batches SET number = p_number, applied = false, answer = NULL
        WHERE engine_id = p_engine AND number = p_number - 1;
    SELECT
        CASE
            WHEN batch.number IN (p_number, p_number + {JUMP}) THEN batch.applied
            WHEN batch.number = p_number - 1 + {JUMP} THEN false
        END,
        batch.sequence_base, batch.position_base, batch.answer
        INTO is_applied, sequence_base, position_base, answer
        FROM batches AS batch WHERE batch.engine_id = p_engine;
END $$
"""

BATCH_FUNCTIONS: Final = (
    *(_type(name, its.columns) for name, its in TYPES.items()),
    *(_ORDER, _NOTE_ACTS, _COMMIT, _TAKE_NUMBER, _RESOLVE),
)
