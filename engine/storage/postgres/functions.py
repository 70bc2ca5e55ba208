"""Functions: the statements of a shared database that must be one each.

An engine calls each in autocommit, so no lock is held while a client thinks. The number in a name
is the protocol's (`PROTOCOL`): a later version adds functions and leaves these, so that engines of
both run side by side.

Whoever takes jobs, frees them or removes them skips those that are locked.
"""

from __future__ import annotations

from typing import Final

from engine.storage.postgres.batches import BATCH_FUNCTIONS, JUMP
from engine.storage.postgres.claims import CLAIM_FUNCTIONS
from engine.storage.postgres.columns import has_died
from engine.storage.postgres.counting import COUNTING_FUNCTIONS
from engine.storage.postgres.errors import FENCED
from engine.storage.postgres.instructions import INSTRUCTION_FUNCTIONS
from engine.storage.postgres.planner import BY_INDEX, IN_ORDER_OF_INDEX, PLAIN
from engine.storage.record import DEAD

PROTOCOL: Final = 1
"""That of the functions which this engine calls."""

_KEPT_BATCHES: Final = 1_000  # those of the newest engines, dead ones too: they may wake and ask

_JOIN: Final = f"""
CREATE FUNCTION join_1(p_name text, p_lease_seconds float8) RETURNS bigint
LANGUAGE sql {PLAIN} AS $$
    WITH joined AS (
        INSERT INTO engines (name, lease_seconds) VALUES (p_name, p_lease_seconds)
        RETURNING engine_id
    ), forgotten AS (
        DELETE FROM batches WHERE engine_id < (SELECT engine_id FROM joined) - {_KEPT_BATCHES}
            AND NOT EXISTS (SELECT FROM engines WHERE engines.engine_id = batches.engine_id)
    )
    INSERT INTO batches (engine_id, number, applied) SELECT engine_id, 0, true FROM joined
    RETURNING engine_id
$$
"""

_FENCE: Final = f"""
    PERFORM FROM engines WHERE engine_id = p_engine AND NOT dead;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'engine % is dead', p_engine USING ERRCODE = '{FENCED}';
    END IF;
"""
"""Refuses an engine that was declared dead."""

_BEAT: Final = f"""
CREATE FUNCTION beat_1(
    p_engine bigint, p_kinds text[],
    OUT alive boolean, OUT now timestamptz, OUT instructions text
)
LANGUAGE plpgsql {PLAIN} AS $$
BEGIN
    UPDATE engines SET beats = beats + 1, kinds = p_kinds WHERE engine_id = p_engine AND NOT dead;
    alive := FOUND;
    now := clock_timestamp();
    instructions := (SELECT value FROM notes WHERE name = 'instructions_number');
END $$
"""

# A batch or a take of the dead engine that is under way ends first; none can follow.
_DECLARE: Final = f"""
CREATE FUNCTION declare_1(p_engine bigint, p_beats bigint) RETURNS boolean
LANGUAGE plpgsql {BY_INDEX} AS $$
BEGIN
    UPDATE engines SET dead = true WHERE engine_id = p_engine AND beats = p_beats AND NOT dead;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM FROM batches WHERE engine_id = p_engine FOR UPDATE;
    UPDATE batches SET number = number + {JUMP} WHERE engine_id = p_engine;
    UPDATE engines SET died_with = (
        SELECT count(*) FROM jobs WHERE holder = p_engine AND NOT {has_died()}
    ) WHERE engine_id = p_engine;
    RETURN true;
END $$
"""

# The engine's row goes only when no job has its number; that of its batches stays for long, because
# the dead engine may wake and ask.
_FREE: Final = f"""
CREATE FUNCTION free_1(p_engine bigint, p_limit bigint) RETURNS bigint
LANGUAGE plpgsql {BY_INDEX} AS $$
DECLARE
    died bigint := (SELECT died_with FROM engines WHERE engine_id = p_engine AND dead);
    freed bigint;
BEGIN
    IF died IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE jobs SET holder = NULL, ready = retry_at IS NULL,
        due_at = least(deadline_at, retry_at), revision = revision + 1,
        token = CASE WHEN NOT {has_died()} THEN '{DEAD}' || died ELSE token END
        WHERE position = ANY (ARRAY(
            SELECT position FROM jobs WHERE holder = p_engine LIMIT p_limit FOR UPDATE SKIP LOCKED
        ));
    GET DIAGNOSTICS freed = ROW_COUNT;
    DELETE FROM progress WHERE job_id = ANY (ARRAY(
        SELECT job_id FROM progress WHERE engine_id = p_engine ORDER BY job_id FOR UPDATE
    ));
    DELETE FROM engines WHERE engine_id = p_engine
        AND NOT EXISTS (SELECT FROM jobs WHERE holder = p_engine);
    RETURN freed;
END $$
"""

# The progress of a job goes with the attempt: a later one of another engine may have taken the row.
# All rows are locked in one order first. A dead engine writes nothing that would stay: `declare_1`
# waits for the lock of its batches, and whoever frees its jobs deletes what it wrote. A row comes
# without its values if no transaction from `p_since` on has changed it; the next call says `since`.
_PROGRESS: Final = f"""
CREATE FUNCTION progress_1(
    p_engine bigint, p_ended text[],
    p_ids text[], p_attempts bigint[], p_done float8[], p_totals float8[], p_notes text[],
    p_since bigint
) RETURNS TABLE (
    job_id text, attempt bigint, done float8, total float8, note text, since bigint
)
LANGUAGE plpgsql {BY_INDEX} AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM batches WHERE engine_id = p_engine FOR KEY SHARE;
    {_FENCE}
    PERFORM count(*) FROM (
        SELECT FROM progress WHERE job_id = ANY (p_ended || p_ids) ORDER BY job_id FOR UPDATE
    ) AS locked;
    DELETE FROM progress WHERE job_id = ANY (p_ended) AND engine_id = p_engine;
    INSERT INTO progress (job_id, engine_id, attempt, done, total, note)
        SELECT new.job_id, p_engine, new.attempt, new.done, new.total, new.note
        FROM unnest(p_ids, p_attempts, p_done, p_totals, p_notes)
            AS new (job_id, attempt, done, total, note)
        ORDER BY new.job_id
    ON CONFLICT (job_id) DO UPDATE SET engine_id = excluded.engine_id,
        attempt = excluded.attempt, done = excluded.done, total = excluded.total,
        note = excluded.note, changed = excluded.changed
        WHERE progress.attempt <= excluded.attempt;
    RETURN QUERY SELECT theirs.job_id, new.attempt, new.done, new.total, new.note,
            pg_snapshot_xmin(pg_current_snapshot())::text::bigint
        FROM progress AS theirs LEFT JOIN LATERAL (
            SELECT theirs.attempt, theirs.done, theirs.total, theirs.note
            WHERE theirs.changed >= p_since::text::xid8
        ) AS new ON true WHERE theirs.engine_id <> p_engine;
END $$
"""

_LEAD: Final = f"""
CREATE FUNCTION lead_1(p_engine bigint, p_name text) RETURNS boolean
LANGUAGE plpgsql {BY_INDEX} AS $$
BEGIN
    {_FENCE}
    INSERT INTO leaders AS now (name, engine_id) VALUES (p_name, p_engine)
    ON CONFLICT (name) DO UPDATE SET engine_id = excluded.engine_id
        WHERE now.engine_id <> excluded.engine_id AND NOT EXISTS (
            SELECT FROM engines WHERE engines.engine_id = now.engine_id AND NOT dead
        );
    RETURN EXISTS (SELECT FROM leaders WHERE name = p_name AND engine_id = p_engine);
END $$
"""

# A root, which is no follow-up, leaves with its follow-ups, and theirs, once all of these have
# ended, and by age once all are old enough. The oldest ends of roots go first, by either rule. All
# rows of a family are locked, and then looked at again: no follow-up can come any more. One removal
# at a time counts and chooses: two would take the same jobs. A note has how many jobs had ended up
# to a transition, so that each removal counts those that have ended since; with 0 for the
# transition, it counts all.
_ROOTS: Final = """
    SELECT job_id FROM (
        SELECT root.job_id, coalesce(sum(family.size) OVER (
            ORDER BY root.ended_at, root.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS before FROM (
            SELECT * FROM jobs WHERE ended_at < {before} AND root_id IS NULL AND NOT EXISTS (
                SELECT FROM jobs AS its WHERE its.root_id = jobs.job_id
                AND (its.ended_at IS NULL OR its.ended_at >= {before})
            ) ORDER BY ended_at, position LIMIT {limit}
        ) AS root, LATERAL (
            SELECT 1 + count(*) AS size FROM jobs AS its WHERE its.root_id = root.job_id
        ) AS family
    ) AS ordered WHERE before < {limit}
"""
_REMOVE: Final = f"""
CREATE FUNCTION remove_1(p_before timestamptz, p_keep bigint, p_limit bigint) RETURNS SETOF text
LANGUAGE plpgsql {IN_ORDER_OF_INDEX} AS $$
DECLARE
    seen bigint;
    ended bigint;
    newest bigint;
    more bigint := 0;
    roots text[];
    locked bigint[];
    removed bigint[];
BEGIN
    SELECT split_part(value, ' ', 1), split_part(value, ' ', 2) INTO seen, ended
        FROM notes WHERE name = 'ended' FOR UPDATE;
    IF p_keep IS NULL THEN
        newest := seen;
    ELSIF seen = 0 THEN
        SELECT last_sequence, (SELECT count(*) FROM jobs WHERE ended_at IS NOT NULL), 0
            INTO newest, more, ended FROM numbers;
    ELSE
        SELECT last_sequence, (
            SELECT count(*) FROM jobs WHERE ended_at IS NOT NULL AND position = ANY (ARRAY(
                SELECT position FROM transitions WHERE sequence > seen
            ))
        ) INTO newest, more FROM numbers;
    END IF;
    ended := ended + more;
    roots := ARRAY({_ROOTS.format(before="p_before", limit="p_limit")});
    IF ended - p_keep > 0 THEN
        roots := ARRAY(
            SELECT DISTINCT unnest(roots || ARRAY(
                {_ROOTS.format(before="'infinity'", limit="least(p_limit, ended - p_keep)")}
            ))
        );
    END IF;
    locked := ARRAY(
        SELECT position FROM jobs WHERE position = ANY (ARRAY(
            SELECT position FROM jobs WHERE job_id = ANY (roots)
            UNION ALL SELECT position FROM jobs WHERE root_id = ANY (roots)
        )) FOR UPDATE SKIP LOCKED
    );
    removed := ARRAY(
        SELECT position FROM jobs AS job WHERE position = ANY (locked) AND NOT EXISTS (
            SELECT FROM jobs AS root WHERE root.job_id = coalesce(job.root_id, job.job_id)
            AND (root.ended_at IS NULL OR root.position <> ALL (locked))
        ) AND NOT EXISTS (
            SELECT FROM jobs AS its WHERE its.root_id = coalesce(job.root_id, job.job_id)
            AND (its.ended_at IS NULL OR its.position <> ALL (locked))
        )
    );
    ended := ended - cardinality(removed) + (
        SELECT count(DISTINCT position) FROM transitions
        WHERE position = ANY (removed) AND sequence > newest
    );
    UPDATE notes SET value = newest || ' ' || ended WHERE name = 'ended';
    IF removed = '{{}}' THEN
        RETURN;
    END IF;
    UPDATE notes SET value = greatest(value::bigint, newest.number)::text FROM (
        SELECT 'last_sequence' AS note, max(sequence) AS number FROM transitions
        WHERE position = ANY (removed)
        UNION ALL
        SELECT 'last_position', max(each) FROM unnest(removed) AS each
    ) AS newest WHERE notes.name = newest.note;
    PERFORM count_removed_1(removed);
    DELETE FROM transitions WHERE position = ANY (removed);
    DELETE FROM labels WHERE position = ANY (removed);
    DELETE FROM attempts WHERE position = ANY (removed);
    RETURN QUERY DELETE FROM jobs WHERE position = ANY (removed) RETURNING job_id;
END $$
"""

FUNCTIONS: Final = (
    *BATCH_FUNCTIONS,
    *CLAIM_FUNCTIONS,
    *INSTRUCTION_FUNCTIONS,
    *COUNTING_FUNCTIONS,
    *(_JOIN, _BEAT, _DECLARE, _FREE, _PROGRESS, _LEAD, _REMOVE),
)
