"""Counting: the functions that count transitions by minute; see `engine.storage.throughput`.

The row of the note ``counted`` is locked until the counts are written: engines that count at once
do so one after the other, and each transition counts once. It is the last of the locks, but for the
order of all transitions.
"""

from __future__ import annotations

from typing import Final

from engine.storage.postgres.planner import BY_INDEX
from engine.storage.throughput import KEPT_SPAN

_SPAN: Final = f"interval '{KEPT_SPAN.total_seconds():.0f} seconds'"

LOCK_COUNTED: Final = "SELECT value::bigint FROM {}notes WHERE name = 'counted' FOR UPDATE"

# A bisection, for times mostly ascend: a day ago may be millions of transitions ago.
_BEGIN: Final = f"""
CREATE FUNCTION throughput_begin_1(p_counted bigint, p_first timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE {BY_INDEX} AS $$
DECLARE
    low bigint := p_counted;
    middle bigint := p_counted;
    high bigint := greatest(p_counted, (SELECT max(sequence) FROM transitions));
    behind bigint;
    behind_at timestamptz;
BEGIN
    WHILE low < high LOOP
        SELECT sequence, at INTO behind, behind_at FROM transitions
            WHERE sequence > middle ORDER BY sequence LIMIT 1;
        IF behind IS NULL OR behind_at >= p_first THEN
            high := middle;
        ELSE
            low := behind;
        END IF;
        middle := low + (high - low) / 2;
    END LOOP;
    RETURN low;
END $$
"""

# The minutes whose counts are kept: those around the newest transition.
_KEPT: Final = f"""
CREATE FUNCTION throughput_kept_1(OUT first timestamptz, OUT last timestamptz)
LANGUAGE sql STABLE {BY_INDEX} AS $$
    SELECT date_trunc('minute', at - {_SPAN}, 'UTC'), at + {_SPAN}
    FROM transitions ORDER BY sequence DESC LIMIT 1
$$
"""

COUNTS: Final = "date_trunc('minute', at, 'UTC'), to_status, from_status IS NULL, count(*)"
"""What is kept of transitions, in groups by the first three."""

_ADD: Final = f"""
    INSERT INTO throughput (minute, status, is_created, transitions)
        SELECT {COUNTS}
        FROM transitions WHERE {{}} AND at >= kept.first AND at <= kept.last GROUP BY 1, 2, 3
    ON CONFLICT (minute, status, is_created)
        DO UPDATE SET transitions = throughput.transitions + excluded.transitions;
    DELETE FROM throughput WHERE minute < kept.first;
    DELETE FROM throughput WHERE minute > kept.last;
"""

# Returns whether more are left. Looks before it locks: mostly there is nothing to count. Leaves the
# counting to whoever counts at the moment: its caller may be an owner, which must not wait.
_COUNT: Final = f"""
CREATE FUNCTION count_throughput_1(p_limit bigint) RETURNS boolean
LANGUAGE plpgsql {BY_INDEX} AS $$
DECLARE
    counted bigint := (SELECT value::bigint FROM notes WHERE name = 'counted');
    kept record;
    up_to bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM transitions WHERE sequence > coalesce(counted, 0)) THEN
        RETURN false;
    END IF;
    counted := ({LOCK_COUNTED.format("")} SKIP LOCKED);
    IF counted IS NULL THEN
        RETURN true;
    END IF;
    SELECT * INTO kept FROM throughput_kept_1();
    counted := throughput_begin_1(counted, kept.first);
    up_to := (SELECT max(sequence) FROM (
        SELECT sequence FROM transitions WHERE sequence > counted ORDER BY sequence LIMIT p_limit
    ) AS step);
    IF up_to IS NULL THEN
        RETURN false;
    END IF;
    {_ADD.format("sequence > counted AND sequence <= up_to")}
    UPDATE notes SET value = up_to::text WHERE name = 'counted';
    RETURN EXISTS (SELECT FROM transitions WHERE sequence > up_to);
END $$
"""

# Counts the transitions of jobs before these leave, as far as they are not counted yet.
_COUNT_REMOVED: Final = f"""
CREATE FUNCTION count_removed_1(p_positions bigint[]) RETURNS void
LANGUAGE plpgsql {BY_INDEX} AS $$
DECLARE
    counted bigint := ({LOCK_COUNTED.format("")});
    kept record;
BEGIN
    SELECT * INTO kept FROM throughput_kept_1();
    {_ADD.format("position = ANY (p_positions) AND sequence > counted")}
END $$
"""

COUNTING_FUNCTIONS: Final = (_BEGIN, _KEPT, _COUNT, _COUNT_REMOVED)
