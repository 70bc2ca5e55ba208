"""Claims: the functions that reserve ready jobs, and that find the due ones.

Both skip the jobs that are locked, and walk an index in its order.
"""

from __future__ import annotations

from typing import Final

from engine.storage.postgres.columns import MOST_OCTETS, octets_of
from engine.storage.postgres.errors import FENCED
from engine.storage.postgres.planner import BY_INDEX, IN_ORDER_OF_INDEX, PLAIN

INNOCENT: Final = "ready AND died_attempt IS NULL AND token IS NULL"
"""Jobs of which no attempt has died, or whose newest attempt has not."""
NOT_INNOCENT: Final = "ready AND (died_attempt IS NOT NULL OR token IS NOT NULL)"
ORPHAN: Final = "ready AND token IS NOT NULL"
"""Jobs whose newest attempt died with its engine; nobody has judged them."""
SUSPECT: Final = "ready AND died_attempt IS NOT NULL AND token IS NULL"
"""Jobs whose newest attempt died, and that were judged."""
RANK: Final = "coalesce(priority, 0)"
SEEN_FOR: Final = "interval '5 seconds'"
"""For so long an engine that saw a deadline pass keeps the job from the others."""


def _first(condition: str, limit: str) -> str:
    """Return a query of the first jobs of a kind, the highest rank first, and locks them."""
    return (
        f"SELECT * FROM (SELECT position, {RANK} AS rank, {octets_of('jobs')} AS octets FROM jobs "
        f"WHERE kind = kinds[place] AND {condition} AND status = p_running "
        f"ORDER BY {RANK} DESC, position LIMIT {limit} FOR UPDATE SKIP LOCKED) AS first_ones"
    )


# First each kind gives one job; the rest of the limit is shared by those that gave one. The lock of
# the engine's batches says that the engine is alive, and that this is no call of which it has lost
# the answer: `declare_1` and `held_1` wait for it, and change the number. A statement around it may
# not see the transitions of jobs that came meanwhile, so the function gives their numbers.
_TAKE: Final = f"""
CREATE FUNCTION take_1(
    p_engine bigint, p_number bigint, p_kinds text[], p_most bigint[], p_limit bigint,
    p_running text, p_suspects boolean
) RETURNS TABLE (job jobs, sequence bigint) LANGUAGE plpgsql {IN_ORDER_OF_INDEX} AS $$
#variable_conflict use_column
DECLARE
    kinds text[];
    most bigint[];
    quota bigint := 1;
    rest bigint := p_limit;
    asked bigint;
    given bigint;
    octets bigint := 0;
    before bigint;
    suspects bigint := CASE WHEN p_suspects THEN 1 ELSE 0 END;
BEGIN
    SELECT array_agg(given.kind ORDER BY given.place), array_agg(given.most ORDER BY given.place)
        INTO kinds, most
        FROM unnest(p_kinds, p_most) WITH ORDINALITY AS given (kind, most, place)
        WHERE given.most > 0 AND coalesce(
            (SELECT true FROM jobs WHERE kind = given.kind AND {INNOCENT} LIMIT 1),
            (SELECT true FROM jobs WHERE kind = given.kind AND {NOT_INNOCENT} LIMIT 1)
        );
    IF kinds IS NULL THEN
        RETURN;
    END IF;
    PERFORM FROM batches WHERE engine_id = p_engine AND number = p_number FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'engine % is dead, or has given up this call', p_engine
            USING ERRCODE = '{FENCED}';
    END IF;
    IF cardinality(kinds) = 1 THEN
        quota := p_limit;
    END IF;
    LOOP
        before := rest;
        FOR place IN 1 .. cardinality(kinds) LOOP
            asked := least(quota, most[place], rest);
            CONTINUE WHEN asked <= 0;
            given := 0;
            FOR job IN
                UPDATE jobs SET holder = p_engine, ready = false, revision = revision + 1
                WHERE position = ANY (ARRAY(
                    SELECT few.position FROM (
                        SELECT ranked.position, sum(ranked.octets) OVER (
                            ORDER BY ranked.rank DESC, ranked.position
                            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                        ) AS before FROM (
                            {_first(INNOCENT, "asked")}
                            UNION ALL {_first(ORPHAN, "asked")}
                            UNION ALL {_first(SUSPECT, "suspects")}
                        ) AS ranked ORDER BY ranked.rank DESC, ranked.position LIMIT asked
                    ) AS few WHERE coalesce(few.before, 0) + octets <= {MOST_OCTETS}
                )) RETURNING *
            LOOP
                given := given + 1;
                IF cardinality(kinds) > 1 THEN
                    octets := octets + {octets_of("(job)")};
                END IF;
                IF job.died_attempt IS NOT NULL AND job.token IS NULL THEN
                    suspects := 0;
                END IF;
                sequence := (
                    SELECT max(sequence) FROM transitions WHERE position = (job).position
                );
                RETURN NEXT;
            END LOOP;
            rest := rest - given;
            most[place] := CASE WHEN given < asked THEN 0 ELSE most[place] - given END;
        END LOOP;
        EXIT WHEN rest IN (0, before);
        SELECT (rest - 1) / greatest(count(*), 1) + 1 INTO quota
            FROM unnest(most) AS each WHERE each > 0;
    END LOOP;
END $$
"""

# The engine has lost the answer to `take_1`, and that may not even have begun. It takes the number
# of a batch, so that no such call can take jobs any more; or has it, and has lost that answer, too.
_HELD: Final = f"""
CREATE FUNCTION held_1(p_engine bigint, p_number bigint, p_known text[])
RETURNS TABLE (job jobs, sequence bigint) LANGUAGE plpgsql {BY_INDEX} AS $$
BEGIN
    PERFORM FROM batches WHERE engine_id = p_engine FOR UPDATE;
    UPDATE batches SET number = p_number, applied = false
        WHERE engine_id = p_engine AND number IN (p_number - 1, p_number);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'engine % is dead', p_engine USING ERRCODE = '{FENCED}';
    END IF;
    RETURN QUERY SELECT jobs,
        (SELECT max(line.sequence) FROM transitions AS line WHERE line.position = jobs.position)
        FROM jobs WHERE position = ANY (ARRAY(
            SELECT few.position FROM (
                SELECT held.position, sum({octets_of("held")}) OVER (
                    ORDER BY held.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                ) AS before
                FROM jobs AS held WHERE held.job_id = ANY (ARRAY(
                    SELECT job_id FROM jobs WHERE holder = p_engine
                    EXCEPT SELECT unnest(p_known) COLLATE "C"
                ))
            ) AS few WHERE coalesce(few.before, 0) <= {MOST_OCTETS}
        ));
END $$
"""

# A job whose deadline has passed is kept from the other engines for a while: this one expires it,
# if its lifecycle does. Else the job goes on to its next attempt. A job in a status that this one
# doesn't know is left to engines that do.
_DUE: Final = f"""
CREATE FUNCTION due_1(
    p_now timestamptz, p_limit bigint, p_statuses text[],
    OUT late text[], OUT is_full boolean, OUT next_at timestamptz
) LANGUAGE plpgsql {IN_ORDER_OF_INDEX} AS $$
BEGIN
    WITH due AS (
        UPDATE jobs AS job SET
            ready = job.ready OR (job.holder IS NULL AND coalesce(job.retry_at <= p_now, false)),
            due_at = least(
                CASE WHEN job.deadline_at <= p_now THEN p_now + {SEEN_FOR}
                    ELSE job.deadline_at END,
                CASE WHEN job.retry_at > p_now THEN job.retry_at END
            )
        WHERE job.position = ANY (ARRAY(
            SELECT position FROM jobs WHERE due_at <= p_now AND status = ANY (p_statuses)
            ORDER BY due_at LIMIT p_limit FOR UPDATE SKIP LOCKED
        ))
        RETURNING job.job_id, job.deadline_at <= p_now AS is_late
    ) SELECT coalesce(array_agg(due.job_id) FILTER (WHERE due.is_late), '{{}}'),
            count(*) >= p_limit
        INTO late, is_full FROM due;
    next_at := (SELECT due_at FROM jobs WHERE due_at > p_now ORDER BY due_at LIMIT 1);
END $$
"""

# It goes from kind to kind, not from job to job.
_UNHANDLED: Final = f"""
CREATE FUNCTION unhandled_1(p_kinds text[], p_limit bigint) RETURNS SETOF text
LANGUAGE sql {IN_ORDER_OF_INDEX} AS $$
    WITH RECURSIVE ready (kind) AS (
        (SELECT kind FROM jobs WHERE {INNOCENT} ORDER BY kind LIMIT 1)
        UNION ALL
        SELECT (
            SELECT jobs.kind FROM jobs WHERE {INNOCENT} AND jobs.kind > ready.kind
            ORDER BY jobs.kind LIMIT 1
        ) FROM ready WHERE ready.kind IS NOT NULL
    )
    SELECT kind FROM ready WHERE kind IS NOT NULL AND kind <> ALL (p_kinds || handled_1())
    LIMIT p_limit
$$
"""

_HANDLED: Final = f"""
CREATE FUNCTION handled_1() RETURNS text[] LANGUAGE sql {PLAIN} AS $$
    SELECT coalesce(array_agg(DISTINCT kind), '{{}}')
    FROM engines, unnest(kinds) AS kind WHERE NOT dead AND NOT draining
$$
"""

CLAIM_FUNCTIONS: Final = (_TAKE, _HELD, _DUE, _HANDLED, _UNHANDLED)
