"""Instructions: what operators tell the engines of a database, which these follow at a beat.

Each is counted, so that an engine learns also of two that cancel each other out: it may have
followed the first one already.

Whoever gives one also notifies the engines, so that those who hear notifications beat at once. That
comes with the commit, from an engine and from a program that is none.
"""

from __future__ import annotations

from typing import Final

from engine.storage.postgres.planner import BY_INDEX

GIVEN: Final = "instructions"
"""What the notification says, where others have the number of an engine."""

_TELL: Final = f"""
    UPDATE notes SET value = (value::bigint + 1)::text WHERE name = 'instructions_number';
    PERFORM pg_notify('engine_' || relnamespace, '{GIVEN}')
        FROM pg_class WHERE oid = 'notes'::regclass;
"""

_KEEP_PAUSES: Final = f"""
CREATE FUNCTION keep_pauses_1(p_pauses text, p_before text, p_audit audit_line_1[])
RETURNS boolean LANGUAGE plpgsql {BY_INDEX} AS $$
BEGIN
    UPDATE notes SET value = p_pauses WHERE name = 'pauses' AND value = p_before;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF cardinality(p_audit) > 0 THEN
        PERFORM note_acts_1(p_audit);
    END IF;
    {_TELL}
    RETURN true;
END $$
"""

_DRAIN: Final = f"""
CREATE FUNCTION drain_1(p_engine bigint, p_draining boolean) RETURNS boolean
LANGUAGE plpgsql {BY_INDEX} AS $$
BEGIN
    UPDATE engines SET draining = p_draining WHERE engine_id = p_engine AND NOT dead;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    {_TELL}
    RETURN true;
END $$
"""

INSTRUCTION_FUNCTIONS: Final = (_KEEP_PAUSES, _DRAIN)
