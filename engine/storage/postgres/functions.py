"""Functions: the statements of a shared database that must be one each.

An engine calls each in autocommit, so no lock is held while a client thinks. The number in a name
is the protocol's: a later version adds functions and leaves these, so that engines of both run side
by side.

**The order of locks** is jobs, by position; then the number of the engine's batch; then the order
of all transitions. Everybody inserts behind the last one, so no two batches wait for each other
crosswise. A batch that records a payment takes the order first: the index of payments would make it
wait for the other batch. Whoever takes jobs, frees them or removes them skips those that are
locked.

**The number of a batch** is one more than that of the engine's batch before. The batch takes it;
so does whoever asks what became of it (`resolve_1`), and then the batch never can; and who declares
an engine dead makes its number jump, so that no batch of it can follow.

Errors of our own: ``P0F01``, the engine's number is another one, or the engine is dead; ``P0F02``,
the names in the detail are taken by other jobs; ``P0F03``, the transaction's isolation is not READ
COMMITTED.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from engine.storage.postgres.columns import (
    ATTEMPT_COLUMNS,
    FIXED_COLUMNS,
    JOB_COLUMNS,
    TRANSITION_COLUMNS,
    type_of,
)
from engine.storage.record import KEPT_ATTEMPTS

FENCED: Final = "P0F01"
TAKEN: Final = "P0F02"
NOT_READ_COMMITTED: Final = "P0F03"
_JUMP: Final = 1_000_000
_LOCKS: Final = 0x656E676A  # "engj": the first part of the keys of our advisory locks

COMMITTED_JOBS: Final = (*JOB_COLUMNS, "pays")
"""What a batch says of each job; ``pays``: it records the job's payment."""


def _parameters(prefix: str, columns: Iterable[str]) -> str:
    return ", ".join(f"{prefix}_{column} {type_of(column)}[]" for column in columns)


def _arrays(prefix: str, columns: Iterable[str]) -> str:
    return ", ".join(f"{prefix}_{column}" for column in columns)


def update_of(columns: Iterable[str]) -> str:
    """Return the SET of the jobs that get given values."""
    return ", ".join(_assignments(columns))


def _assignments(columns: Iterable[str]) -> Iterator[str]:
    yield "revision = job.revision + 1"
    for column in columns:
        if column == "holder":
            # Another engine's attempt stays that engine's, whoever writes its job.
            yield (
                "holder = CASE WHEN given.holder IS NOT NULL AND job.token = given.token "
                "THEN coalesce(job.holder, given.holder) ELSE given.holder END"
            )
        elif column not in FIXED_COLUMNS:
            yield f"{column} = given.{column}"


_NEW_VALUES: Final = {"position": "position_base - given.position", "revision": "1"}
_INSERTED: Final = ", ".join(_NEW_VALUES.get(each, f"given.{each}") for each in JOB_COLUMNS)
_GIVEN_JOBS: Final = (
    f"unnest({_arrays('j', COMMITTED_JOBS)}) AS given ({', '.join(COMMITTED_JOBS)})"
)
_GIVEN_LINES: Final = (
    f"unnest({_arrays('t', TRANSITION_COLUMNS)}) WITH ORDINALITY "
    f"AS given ({', '.join(TRANSITION_COLUMNS)}, place)"
)
_GIVEN_ATTEMPTS: Final = (
    f"unnest({_arrays('a', ATTEMPT_COLUMNS)}) AS given ({', '.join(ATTEMPT_COLUMNS)})"
)
_POSITION: Final = (
    "CASE WHEN given.position < 0 THEN position_base - given.position ELSE given.position END"
)

# Positions of new jobs are negative: -1 for the first one. The names are those that the batch gives
# to jobs that did not have them.
_COMMIT: Final = f"""
CREATE FUNCTION commit_1(
    p_engine bigint, p_number bigint,
    {_parameters("j", COMMITTED_JOBS)},
    {_parameters("t", TRANSITION_COLUMNS)},
    {_parameters("a", ATTEMPT_COLUMNS)},
    OUT stale text[], OUT sequence_base bigint, OUT position_base bigint
) LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    moved bigint[] := ARRAY(SELECT each FROM unnest(j_position) AS each WHERE each > 0);
    is_ordered boolean := false;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the isolation is %, not read committed',
            current_setting('transaction_isolation') USING ERRCODE = '{NOT_READ_COMMITTED}';
    END IF;
    IF moved <> '{{}}' THEN
        PERFORM count(*) FROM (
            SELECT 1 FROM jobs WHERE position = ANY (moved) ORDER BY position FOR UPDATE
        ) AS locked;
        SELECT array_agg(given.job_id) INTO stale
            FROM unnest(j_position, j_job_id, j_revision) AS given (position, job_id, revision)
            WHERE given.position > 0 AND NOT EXISTS (
                SELECT FROM jobs AS job
                WHERE job.position = given.position AND job.revision = given.revision
            );
        IF stale IS NOT NULL THEN
            RETURN;
        END IF;
    END IF;
    UPDATE batches SET number = p_number, applied = true
        WHERE engine_id = p_engine AND number = p_number - 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'batch % of engine % is refused', p_number, p_engine
            USING ERRCODE = '{FENCED}';
    END IF;
    IF true = ANY (j_pays) THEN
        PERFORM order_1(j_position, j_job_id, j_idempotency_key, j_blockchain_identifier, j_pays);
        is_ordered := true;
    END IF;
    IF moved <> '{{}}' THEN
        UPDATE jobs AS job SET {update_of(JOB_COLUMNS)}
            FROM {_GIVEN_JOBS} WHERE job.position = given.position;
    END IF;
    IF cardinality(t_position) > 0 THEN
        IF NOT is_ordered THEN
            PERFORM order_1(
                j_position, j_job_id, j_idempotency_key, j_blockchain_identifier, j_pays
            );
        END IF;
        SELECT numbers.last_sequence, numbers.last_position INTO sequence_base, position_base
            FROM numbers;
        IF cardinality(moved) < cardinality(j_position) THEN
            INSERT INTO jobs ({", ".join(JOB_COLUMNS)})
                SELECT {_INSERTED} FROM {_GIVEN_JOBS} WHERE given.position < 0;
        END IF;
        IF cardinality(j_labels) > 0 THEN
            INSERT INTO labels (name, value, position)
                SELECT label.key, label.value, position_base - given.position
                FROM unnest(j_position, j_labels) AS given (position, labels),
                    json_each_text(given.labels::json) AS label
                WHERE given.position < 0 AND given.labels IS NOT NULL;
        END IF;
        INSERT INTO transitions (sequence, position, job_id, from_status, to_status, at, by, reason)
            SELECT sequence_base + given.place, {_POSITION}, given.job_id, given.from_status,
                given.to_status, given.at, given.by, given.reason
            FROM {_GIVEN_LINES};
    END IF;
    IF cardinality(a_position) > 0 THEN
        INSERT INTO attempts ({", ".join(ATTEMPT_COLUMNS)})
            SELECT {_POSITION}, {", ".join(f"given.{each}" for each in ATTEMPT_COLUMNS[1:])}
            FROM {_GIVEN_ATTEMPTS};
        DELETE FROM attempts AS old
            USING (SELECT DISTINCT {_POSITION} AS position FROM {_GIVEN_ATTEMPTS}) AS failed
            WHERE old.position = failed.position AND old.number <= (
                SELECT kept.number FROM attempts AS kept WHERE kept.position = failed.position
                ORDER BY kept.number DESC LIMIT 1 OFFSET {KEPT_ATTEMPTS}
            );
    END IF;
END $$
"""

# Takes the order of all transitions, and refuses names that are taken. Each statement sees what was
# committed before it began.
_ORDER: Final = f"""
CREATE FUNCTION order_1(
    p_position bigint[], p_job_id text[], p_key text[], p_payment text[], p_pays boolean[]
) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    ids text[];
    keys text[];
    payments text[];
BEGIN
    PERFORM pg_advisory_xact_lock({_LOCKS}, 'jobs'::regclass::oid::integer);
    SELECT array_agg(given.job_id), array_agg(given.key) FILTER (WHERE given.key IS NOT NULL)
        INTO ids, keys
        FROM unnest(p_position, p_job_id, p_key) AS given (position, job_id, key)
        WHERE given.position < 0;
    SELECT array_agg(given.payment) INTO payments
        FROM unnest(p_position, p_payment, p_pays) AS given (position, payment, pays)
        WHERE (given.position < 0 OR given.pays) AND given.payment IS NOT NULL;
    ids := ARRAY(SELECT job_id FROM jobs WHERE job_id = ANY (ids));
    keys := ARRAY(SELECT idempotency_key FROM jobs WHERE idempotency_key = ANY (keys));
    payments := ARRAY(
        SELECT blockchain_identifier FROM jobs WHERE blockchain_identifier = ANY (payments)
    );
    IF ids <> '{{}}' OR keys <> '{{}}' OR payments <> '{{}}' THEN
        RAISE EXCEPTION 'names are taken' USING ERRCODE = '{TAKEN}',
            DETAIL = json_build_object('ids', ids, 'keys', keys, 'payments', payments);
    END IF;
END $$
"""

# True: applied; false: it never will be; NULL: the database does not know what it acknowledged.
_RESOLVE: Final = f"""
CREATE FUNCTION resolve_1(p_engine bigint, p_number bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE batches SET number = p_number, applied = false
        WHERE engine_id = p_engine AND number = p_number - 1;
    RETURN (
        SELECT CASE
            WHEN number IN (p_number, p_number + {_JUMP}) THEN applied
            WHEN number = p_number - 1 + {_JUMP} THEN false
        END FROM batches WHERE engine_id = p_engine
    );
END $$
"""

_JOIN: Final = """
CREATE FUNCTION join_1(p_name text) RETURNS bigint
LANGUAGE sql SET search_path FROM CURRENT AS $$
    WITH joined AS (INSERT INTO engines (name) VALUES (p_name) RETURNING engine_id)
    INSERT INTO batches (engine_id, number, applied) SELECT engine_id, 0, true FROM joined
    RETURNING engine_id
$$
"""

_BEAT: Final = """
CREATE FUNCTION beat_1(p_engine bigint, p_kinds text[], OUT alive boolean, OUT now timestamptz)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE engines SET beats = beats + 1, kinds = p_kinds WHERE engine_id = p_engine AND NOT dead;
    alive := FOUND;
    now := clock_timestamp();
END $$
"""

# A batch or a take of the dead engine that is under way ends first; none can follow.
_DECLARE: Final = f"""
CREATE FUNCTION declare_1(p_engine bigint, p_beats bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE engines SET dead = true WHERE engine_id = p_engine AND beats = p_beats AND NOT dead;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM FROM batches WHERE engine_id = p_engine FOR UPDATE;
    UPDATE batches SET number = number + {_JUMP} WHERE engine_id = p_engine;
    UPDATE engines SET died_with = (
        SELECT count(*) FROM jobs WHERE holder = p_engine AND token NOT LIKE 'dead %'
    ) WHERE engine_id = p_engine;
    RETURN true;
END $$
"""

# The engine's row goes only when no job has its number; that of its batches stays, because the dead
# engine may wake and ask.
_FREE: Final = """
CREATE FUNCTION free_1(p_engine bigint, p_limit bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT
SET enable_seqscan = off AS $$
DECLARE
    died bigint := (SELECT died_with FROM engines WHERE engine_id = p_engine AND dead);
    freed bigint;
BEGIN
    IF died IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE jobs SET holder = NULL, ready = true, revision = revision + 1,
        token = CASE WHEN token NOT LIKE 'dead %' THEN 'dead ' || died ELSE token END
        WHERE position = ANY (ARRAY(
            SELECT position FROM jobs WHERE holder = p_engine LIMIT p_limit FOR UPDATE SKIP LOCKED
        ));
    GET DIAGNOSTICS freed = ROW_COUNT;
    DELETE FROM engines WHERE engine_id = p_engine
        AND NOT EXISTS (SELECT FROM jobs WHERE holder = p_engine);
    RETURN freed;
END $$
"""

# An engine that closes and has no job takes its rows with it; the others wait for its silence.
_LEAVE: Final = """
CREATE FUNCTION leave_1(p_engine bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM engines WHERE engine_id = p_engine AND NOT dead
        AND NOT EXISTS (SELECT FROM jobs WHERE holder = p_engine);
    IF FOUND THEN
        DELETE FROM batches WHERE engine_id = p_engine;
        RETURN true;
    END IF;
    RETURN false;
END $$
"""

_RANK: Final = "coalesce(priority, 0)"
_IN_TIME: Final = "(deadline_at IS NULL OR deadline_at > p_now)"
_IN_ORDER: Final = f"ORDER BY {_RANK} DESC, position"
INNOCENT: Final = "ready AND died_attempt IS NULL AND token IS NULL"
"""Jobs of which no attempt has died, or whose newest attempt has not."""
NOT_INNOCENT: Final = "ready AND (died_attempt IS NOT NULL OR token IS NOT NULL)"
_ORPHAN: Final = "ready AND token IS NOT NULL"
_SUSPECT: Final = "ready AND died_attempt IS NOT NULL AND token IS NULL"


def _first(condition: str, limit: str) -> str:
    return (
        f"SELECT position, {_RANK} AS rank FROM jobs WHERE kind = asked.kind AND {condition} "
        f"AND {_IN_TIME} AND position <> ALL (taken) {_IN_ORDER} LIMIT {limit} "
        "FOR UPDATE SKIP LOCKED"
    )


# Each kind gives one job first; the rest of the limit is shared by those that had one. The planner
# must walk the index of a kind, whatever it believes of the table, so other ways are closed to it.
_TAKE: Final = f"""
CREATE FUNCTION take_1(
    p_engine bigint, p_kinds text[], p_most bigint[], p_limit bigint, p_now timestamptz,
    p_suspects boolean
) RETURNS SETOF jobs LANGUAGE plpgsql SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
DECLARE
    kinds text[];
    most bigint[];
    quotas bigint[];
    taken bigint[] := '{{}}';
    suspect bigint;
    before bigint;
    found record;
BEGIN
    SELECT array_agg(asked.kind ORDER BY place), array_agg(asked.most ORDER BY place)
        INTO kinds, most
        FROM unnest(p_kinds, p_most) WITH ORDINALITY AS asked (kind, most, place)
        WHERE asked.most > 0 AND coalesce(
            (SELECT true FROM jobs WHERE kind = asked.kind AND {INNOCENT} LIMIT 1),
            (SELECT true FROM jobs WHERE kind = asked.kind AND {NOT_INNOCENT} LIMIT 1)
        );
    IF kinds IS NULL THEN
        RETURN;
    END IF;
    PERFORM FROM batches WHERE engine_id = p_engine FOR KEY SHARE;
    PERFORM FROM engines WHERE engine_id = p_engine AND NOT dead;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'engine % is dead', p_engine USING ERRCODE = '{FENCED}';
    END IF;
    IF p_suspects THEN
        SELECT line.position INTO suspect
            FROM unnest(kinds) WITH ORDINALITY AS asked (kind, place),
                LATERAL ({_first(_SUSPECT, "1")}) AS line
            ORDER BY place LIMIT 1;
    END IF;
    quotas := CASE WHEN cardinality(kinds) = 1 THEN ARRAY[least(most[1], p_limit)]
        ELSE array_fill(1::bigint, ARRAY[cardinality(kinds)]) END;
    LOOP
        before := cardinality(taken);
        FOR found IN
            SELECT line.position, asked.place
            FROM unnest(kinds, quotas) WITH ORDINALITY AS asked (kind, quota, place),
                LATERAL (
                    SELECT ranked.position FROM (
                        SELECT * FROM ({_first(INNOCENT, "asked.quota")}) AS innocent
                        UNION ALL
                        SELECT * FROM ({_first(_ORPHAN, "asked.quota")}) AS orphan
                        UNION ALL
                        SELECT position, {_RANK} FROM jobs
                        WHERE position = suspect AND kind = asked.kind AND suspect <> ALL (taken)
                    ) AS ranked ORDER BY ranked.rank DESC, ranked.position LIMIT asked.quota
                ) AS line
            ORDER BY place LIMIT p_limit - before
        LOOP
            taken := taken || found.position;
            most[found.place] := most[found.place] - 1;
        END LOOP;
        EXIT WHEN cardinality(taken) IN (before, p_limit) OR cardinality(kinds) = 1;
        SELECT array_agg(least(each, (p_limit - cardinality(taken) - 1) / cardinality(kinds) + 1))
            INTO quotas FROM unnest(most) AS each;
    END LOOP;
    RETURN QUERY UPDATE jobs AS job SET holder = p_engine, ready = false, revision = revision + 1
        WHERE position = ANY (taken) RETURNING job.*;
END $$
"""

# A job whose deadline has passed is kept from the other engines for 5 s; this one expires it.
_DUE: Final = """
CREATE FUNCTION due_1(p_now timestamptz, p_limit bigint) RETURNS SETOF text
LANGUAGE plpgsql SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
BEGIN
    RETURN QUERY WITH due AS (
        UPDATE jobs AS job SET
            ready = job.ready OR (job.holder IS NULL AND job.retry_at <= p_now),
            due_at = CASE WHEN job.deadline_at <= p_now THEN p_now + interval '5 seconds'
                ELSE job.deadline_at END
        WHERE job.position = ANY (ARRAY(
            SELECT position FROM jobs WHERE due_at <= p_now ORDER BY due_at LIMIT p_limit
            FOR UPDATE SKIP LOCKED
        ))
        RETURNING job.job_id, job.deadline_at <= p_now AS is_late
    ) SELECT due.job_id FROM due WHERE due.is_late;
END $$
"""

# One engine at a time removes: two would count the same jobs, and remove too many.
_REMOVE: Final = f"""
CREATE FUNCTION remove_1(p_before timestamptz, p_keep bigint, p_limit bigint) RETURNS SETOF text
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    too_many bigint := 0;
    removed bigint[];
BEGIN
    PERFORM pg_advisory_xact_lock({_LOCKS}, 'labels'::regclass::oid::integer);
    IF p_keep IS NOT NULL THEN
        too_many := (SELECT count(*) - p_keep FROM (
            SELECT FROM jobs WHERE ended_at IS NOT NULL LIMIT p_keep + p_limit
        ) AS ended);
    END IF;
    IF too_many > 0 THEN
        removed := ARRAY(
            SELECT position FROM jobs WHERE ended_at IS NOT NULL ORDER BY ended_at, position
            LIMIT least(too_many, p_limit) FOR UPDATE SKIP LOCKED
        );
    ELSE
        removed := ARRAY(
            SELECT position FROM jobs WHERE ended_at < p_before ORDER BY ended_at, position
            LIMIT p_limit FOR UPDATE SKIP LOCKED
        );
    END IF;
    IF removed = '{{}}' THEN
        RETURN;
    END IF;
    UPDATE notes SET value = greatest(value::bigint, newest.number)::text FROM (
        SELECT 'last_sequence' AS note, max(sequence) AS number FROM transitions
        WHERE position = ANY (removed)
        UNION ALL
        SELECT 'last_position', max(each) FROM unnest(removed) AS each
    ) AS newest WHERE notes.name = newest.note;
    DELETE FROM transitions WHERE position = ANY (removed);
    DELETE FROM labels WHERE position = ANY (removed);
    DELETE FROM attempts WHERE position = ANY (removed);
    RETURN QUERY DELETE FROM jobs WHERE position = ANY (removed) RETURNING job_id;
END $$
"""

FUNCTIONS: Final = (
    *(_ORDER, _COMMIT, _RESOLVE, _JOIN, _BEAT, _DECLARE, _FREE, _LEAVE, _TAKE, _DUE, _REMOVE),
)
