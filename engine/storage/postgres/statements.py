"""Statements: those of the calls, with the names of one schema."""

from __future__ import annotations

from typing import Final

from engine.storage.postgres.batches import TYPES
from engine.storage.postgres.claims import INNOCENT, ORPHAN, SUSPECT
from engine.storage.postgres.columns import MOST_OCTETS, RECORD_COLUMNS, has_died, octets_of
from engine.storage.postgres.schema import quoted

FOUND_BY: Final = ("job_id", "idempotency_key", "blockchain_identifier")


class Statements:
    """The statements of the calls.

    Args:
        schema: The schema's name.
    """

    def __init__(self, schema: str) -> None:
        self.schema = quoted(schema)
        s = self.schema
        newest = f"SELECT max(sequence) FROM {s}.transitions AS line WHERE position = job.position"
        self._records = _records("job", f"({newest})")
        self.commit = _bytes(
            f"SELECT * FROM {s}.commit_1(%b, %b, %b, {', '.join(['%b'] * len(TYPES))})"
        )
        types = ", ".join(f"pg_typeof(NULL::{s}.{each})::oid::bigint" for each in TYPES)
        self.note_acts = self._numbered("%b::json", f"{s}.note_acts_1(%b)")
        self.row_types = _bytes(f"SELECT {types}")
        self.resolve = _bytes(f"SELECT * FROM {s}.resolve_1(%b, %b)")
        self.rules = _bytes(
            "SELECT number.value::bigint, rules.value "
            f"FROM {s}.notes AS number, {s}.notes AS rules "
            "WHERE number.name = 'rules_number' AND rules.name = 'rules'"
        )
        self.keep_rules = self._numbered(f"to_json({s}.keep_rules_1(%b, %b, %b))")
        self.batch_number = _bytes(f"SELECT (SELECT number FROM {s}.batches WHERE engine_id = %b)")
        self.join = _bytes(f"SELECT {s}.join_1(%b, %b)")
        of_functions = f"SELECT {_records('(job)', 'sequence')} FROM {s}"
        self.give_up = _bytes(
            f"WITH gone AS (DELETE FROM {s}.engines WHERE engine_id = %b AND beats = 0 "
            f"RETURNING engine_id) DELETE FROM {s}.batches "
            "WHERE engine_id IN (SELECT engine_id FROM gone)"
        )
        self.take = _bytes(f"{of_functions}.take_1({', '.join(['%b'] * 7)})")
        self.held = _bytes(f"{of_functions}.held_1(%b, %b, %b)")
        self.changed = _bytes(
            f"SELECT given.position, {self._records} FROM unnest(%b, %b) AS given (position, "
            f"revision) LEFT JOIN {s}.jobs AS job ON job.position = given.position "
            "WHERE job.revision IS DISTINCT FROM given.revision"
        )
        self.due = _bytes(f"SELECT * FROM {s}.due_1(%b, %b, %b)")
        self.unhandled = _bytes(f"SELECT {s}.unhandled_1(%b, %b)")
        self.progress = _bytes(f"SELECT * FROM {s}.progress_1({', '.join(['%b'] * 8)})")
        self.lead = _bytes(f"SELECT {s}.lead_1(%b, %b)")
        self.resign = _bytes(f"DELETE FROM {s}.leaders WHERE name = %b AND engine_id = %b")
        self.remove = _bytes(f"SELECT {s}.remove_1(%b, %b, %b)")
        self.remove_alone = self._numbered(f"to_json(ARRAY(SELECT {s}.remove_1(%b, %b, %b)))")
        self.count_throughput = _bytes(f"SELECT {s}.count_throughput_1(%b)")
        self.numbers = _bytes(f"SELECT last_sequence, last_position FROM {s}.numbers")
        self.place = _bytes(f"SELECT {s}.find_1('{{}}')::json ->> 'place'")
        self.epochs = _bytes(f"SELECT name, first_sequence FROM {s}.epochs ORDER BY number")
        self.find = {column: self._find(column) for column in FOUND_BY}
        self.note = _bytes(f"SELECT value FROM {s}.notes WHERE name = %b")
        self.write_note = _bytes(
            f"INSERT INTO {s}.notes VALUES (%b, %b) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        )
        self.keep_pauses = self._numbered(f"to_json({s}.keep_pauses_1(%b, %b, %b))")
        self.drain = self._numbered(f"to_json({s}.drain_1(%b, %b, %b))")
        self.is_draining = _bytes(
            f"SELECT coalesce((SELECT draining FROM {s}.engines WHERE engine_id = %b), false)"
        )
        may_run = "kind <> ALL (given.paused)"
        others = f"{may_run} AND kind <> ALL (given.kinds)"
        self.ready_counts = _bytes(
            f"SELECT {_ready(s, may_run)}, (SELECT count(*) FROM {s}.jobs "
            f"WHERE holder IS NOT NULL AND NOT {has_died()}), {_ready(s, others)}, "
            f"{_ready(s, 'kind = ANY (given.paused)')} "
            f"FROM (SELECT %b || {s}.handled_1() AS kinds, %b::text[] AS paused) AS given"
        )

    def _numbered(self, answer: str, *others: str) -> bytes:
        """Return a statement that writes, takes the number of a batch last, and gives the answer.

        Args:
            answer: An expression of JSON, which may write.
            others: Expressions that write.
        """
        return _bytes(
            f"WITH written AS MATERIALIZED (SELECT {', '.join((f'{answer} AS answer', *others))}) "
            f"SELECT answer, {self.schema}.take_number_1(%b, %b, answer) FROM written"
        )

    def select(self, source: str) -> bytes:
        """Return a query of records from jobs, which it calls ``job``."""
        return _bytes(f"SELECT {self._records} FROM {source}")

    def limited(self, jobs: str, direction: str = "ASC") -> str:
        """Return a query of records, with their place before them.

        It ends behind the first job that `engine.storage.answers.ReadLimit` surely refuses, so
        that no read gives more than 64 MiB and one job.

        Args:
            jobs: A query of jobs, each with a ``place``.
            direction: In the order of the places, or in the reverse order.
        """
        return (
            f"SELECT job.place, {self._records} FROM (SELECT found.*, sum({octets_of('found')}) "
            f"OVER (ORDER BY place {direction} ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING) "
            f"AS octets FROM ({jobs}) AS found) AS job "
            f"WHERE coalesce(job.octets, 0) <= {MOST_OCTETS} ORDER BY job.place {direction}"
        )

    def _find(self, column: str) -> bytes:
        return _bytes(
            self.limited(
                "SELECT job.*, given.place FROM unnest(%b) WITH ORDINALITY AS given (name, place) "
                f"JOIN {self.schema}.jobs AS job ON job.{column} = given.name"
            )
        )


def _records(job: str, newest: str) -> str:
    """Return the columns of a record; ``newest`` gives the number of its newest transition."""
    return ", ".join((*(f"{job}.{column}" for column in RECORD_COLUMNS), newest))


def _ready(schema: str, kinds: str) -> str:
    """Return the number of ready jobs of some kinds. A suspect runs alone, so they count as one."""
    jobs = f"FROM {schema}.jobs WHERE {kinds} AND"
    one = f"SELECT count(*) FROM (SELECT {jobs} {SUSPECT} LIMIT 1) AS suspect"
    return f"(SELECT count(*) {jobs} {INNOCENT}) + (SELECT count(*) {jobs} {ORPHAN}) + ({one})"


def _bytes(statement: str) -> bytes:
    return statement.encode()
