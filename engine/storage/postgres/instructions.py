"""Instructions: what operators tell the engines of a database.

Rules of follow-ups are followed at the next commit, pauses and drains at a beat. Each of these two
is counted, so that an engine learns also of two that cancel each other out: it may have followed
the first one already. Lines of the audit are kept in the same transaction.

Whoever pauses or drains also notifies the engines, so that those who hear notifications beat at
once. That comes with the commit, from an engine and from a program that is none.
"""

from __future__ import annotations

from typing import Final

from engine.storage.postgres.batches import IN_READ_COMMITTED, TAKE_ORDER
from engine.storage.postgres.planner import BY_INDEX

GIVEN: Final = "instructions"
"""What the notification says, where others have the number of an engine."""

_TELL: Final = f"""
    UPDATE notes SET value = (value::bigint + 1)::text WHERE name = 'instructions_number';
    PERFORM pg_notify('engine_' || relnamespace, '{GIVEN}')
        FROM pg_class WHERE oid = 'notes'::regclass;
"""

# No transition that was decided by other rules can follow: each of them takes the order, too.
_KEEP_RULES: Final = f"""
CREATE FUNCTION keep_rules_1(p_number bigint, p_rules text, p_audit audit_line_1[])
RETURNS boolean
LANGUAGE plpgsql {BY_INDEX} AS $$
BEGIN
    {IN_READ_COMMITTED}
    {TAKE_ORDER}
    UPDATE notes SET value = (p_number + 1)::text
        WHERE name = 'rules_number' AND value = p_number::text;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE notes SET value = p_rules WHERE name = 'rules';
    PERFORM note_acts_1(p_audit);
    RETURN true;
END $$
"""

_KEEP_PAUSES: Final = f"""
CREATE FUNCTION keep_pauses_1(p_pauses text, p_before text, p_audit audit_line_1[])
RETURNS boolean LANGUAGE plpgsql {BY_INDEX} AS $$
BEGIN
    UPDATE notes SET value = p_pauses WHERE name = 'pauses' AND value = p_before;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM note_acts_1(p_audit);
    {_TELL}
    RETURN true;
END $$
"""

# It waits for the order before it has the engine's row: with the row it would hold up the beats.
_DRAIN: Final = f"""
CREATE FUNCTION drain_1(p_engine bigint, p_draining boolean, p_audit audit_line_1[])
RETURNS boolean LANGUAGE plpgsql {BY_INDEX} AS $$
BEGIN
    {IN_READ_COMMITTED}
    {TAKE_ORDER}
    UPDATE engines SET draining = p_draining
        WHERE engine_id = p_engine AND NOT dead AND draining <> p_draining;
    IF FOUND THEN
        PERFORM note_acts_1(p_audit);
        {_TELL}
        RETURN true;
    END IF;
    RETURN EXISTS (SELECT FROM engines WHERE engine_id = p_engine AND NOT dead);
END $$
"""

INSTRUCTION_FUNCTIONS: Final = (_KEEP_RULES, _KEEP_PAUSES, _DRAIN)
