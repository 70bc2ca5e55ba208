"""Arrivals: jobs that a caller creates in a transaction of his own.

Such a job waits in a table that nobody else sees into, and costs the other engines nothing until
the transaction commits. Then a deferred trigger moves all jobs of the transaction to their place:
it takes the order, numbers and inserts them, and writes their history. So the job is there exactly
when the caller's own rows are, and the numbers have no gaps and the order of commits.

The table is unlogged, because no row outlives the transaction that inserts it. Its ``position`` is
none: it numbers the arrivals. Callers may have few rights (insert here, and read): the trigger has
those of the schema's owner.
"""

from __future__ import annotations

from typing import Final

from engine.storage.postgres.batches import IN_READ_COMMITTED, LABELS_OF, TAKE_ORDER
from engine.storage.postgres.columns import JOB_COLUMNS, RECORD_COLUMNS
from engine.storage.postgres.planner import BY_INDEX

ARRIVAL_COLUMNS: Final = (*JOB_COLUMNS[1:], "by", "reason")
"""What a caller's engine says of a job; the position comes later."""

_COLUMNS: Final = ", ".join(ARRIVAL_COLUMNS)
_RECORD: Final = ", ".join(RECORD_COLUMNS)
_NEW_VALUES: Final = {"position": "base.last_position + given.ordinality", "revision": "1"}
_NEWEST: Final = "(SELECT max(sequence) FROM transitions WHERE position = job.position)"
_MOVED: Final = ", ".join(_NEW_VALUES.get(each, f"given.{each}") for each in JOB_COLUMNS)

_TABLE: Final = (
    """
    CREATE UNLOGGED TABLE arrivals (
        LIKE jobs,
        by text,
        reason text,
        PRIMARY KEY (position)
    ) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)
    """,
    "ALTER TABLE arrivals ALTER position ADD GENERATED ALWAYS AS IDENTITY",
    """
    CREATE INDEX arrivals_by_key ON arrivals (idempotency_key)
    WHERE idempotency_key IS NOT NULL
    """,
    """
    CREATE INDEX arrivals_by_payment ON arrivals (blockchain_identifier)
    WHERE blockchain_identifier IS NOT NULL
    """,
    "CREATE INDEX arrivals_by_id ON arrivals (job_id)",
)


def _named(table: str, sequence: str) -> str:
    """Return a query of the jobs of a table that have one of some names."""
    found = " UNION ".join(
        f"SELECT position FROM {table} WHERE {column} = ANY ({names})"
        for column, names in (
            ("job_id", "ids"),
            ("idempotency_key", "keys"),
            ("blockchain_identifier", "payments"),
        )
    )
    return (
        f"SELECT {_RECORD}, {sequence} AS sequence FROM {table} AS job WHERE position IN ({found})"
    )


# Callers need no right to read the notes.
_RULES: Final = f"""
CREATE FUNCTION rules_1() RETURNS json LANGUAGE plpgsql SECURITY DEFINER {BY_INDEX} AS $$
BEGIN
    RETURN (
        SELECT json_build_array(number.value::bigint, rules.value)
        FROM notes AS number, notes AS rules
        WHERE number.name = 'rules_number' AND rules.name = 'rules'
    );
END $$
"""

# The jobs that have some names, as the caller's transaction sees them, and the rules of follow-ups,
# by which the caller decides; and the place: a connection to another database, or to a copy of this
# one, tells of another.
_FIND: Final = f"""
CREATE FUNCTION find_1(p_names text) RETURNS text LANGUAGE plpgsql
{BY_INDEX} AS $$
DECLARE
    names json := p_names;
    ids text[] := ARRAY(SELECT json_array_elements_text(names -> 'job_ids'));
    keys text[] := ARRAY(SELECT json_array_elements_text(names -> 'keys'));
    payments text[] := ARRAY(SELECT json_array_elements_text(names -> 'payments'));
BEGIN
    RETURN json_build_object(
        'isolation', current_setting('transaction_isolation'),
        'place', json_build_array(
            current_database(), 'jobs'::regclass::oid,
            (SELECT name FROM epochs ORDER BY number LIMIT 1)
        ),
        'rules', rules_1(),
        'jobs', (
            SELECT coalesce(json_agg(job), '[]') FROM (
                {_named("jobs", _NEWEST)}
                UNION ALL {_named("arrivals", "0")}
            ) AS job
        )
    );
END $$
"""

_ARRIVE: Final = f"""
CREATE FUNCTION arrive_1(p_jobs text) RETURNS text LANGUAGE sql {BY_INDEX} AS $$
    INSERT INTO arrivals ({_COLUMNS})
        SELECT {_COLUMNS} FROM json_populate_recordset(NULL::arrivals, p_jobs::json);
    SELECT ''
$$
"""

# The transaction's first arrival moves all of them; a savepoint may have taken some back. Each of
# the others looks for itself alone, or many would look at many. Nobody sees those of another
# transaction: they are moved when it commits.
_ADMIT: Final = f"""
CREATE FUNCTION admit_1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
{BY_INDEX} AS $$
DECLARE
    arrived arrivals[];
    base numbers;
    taken record;
BEGIN
    PERFORM FROM arrivals WHERE position = NEW.position;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    {IN_READ_COMMITTED}
    SELECT array_agg(arrival ORDER BY position) INTO arrived
        FROM arrivals AS arrival WHERE position >= NEW.position;
    DELETE FROM arrivals WHERE position >= NEW.position;
    {TAKE_ORDER}
    SELECT named.* INTO taken FROM unnest(arrived) AS given, LATERAL (
        SELECT 'jobs_by_key' AS index, 'idempotency key' AS sort, idempotency_key AS name, job_id
        FROM jobs WHERE idempotency_key = given.idempotency_key
        UNION ALL SELECT 'jobs_by_payment', 'payment', blockchain_identifier, job_id
        FROM jobs WHERE blockchain_identifier = given.blockchain_identifier
        UNION ALL SELECT 'jobs_by_id', 'id', job_id, job_id
        FROM jobs WHERE job_id = given.job_id
    ) AS named LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'unique_violation',
            MESSAGE = format('another job has got the %s %L meanwhile', taken.sort, taken.name),
            DETAIL = format('It is job %L.', taken.job_id),
            HINT = 'Repeat the transaction: create then returns that job, or says what is wrong.',
            SCHEMA = TG_TABLE_SCHEMA, TABLE = 'jobs', CONSTRAINT = taken.index;
    END IF;
    SELECT * INTO base FROM numbers;
    INSERT INTO jobs ({", ".join(JOB_COLUMNS)})
        SELECT {_MOVED} FROM unnest(arrived) WITH ORDINALITY AS given;
    INSERT INTO labels (name, value, position)
        SELECT label.key, label.value, base.last_position + given.ordinality
        FROM unnest(arrived) WITH ORDINALITY AS given, {LABELS_OF};
    INSERT INTO transitions (sequence, position, job_id, from_status, to_status, at, by, reason)
        SELECT base.last_sequence + given.ordinality, base.last_position + given.ordinality,
            given.job_id, NULL, given.status, given.created_at, given.by, given.reason
        FROM unnest(arrived) WITH ORDINALITY AS given;
    PERFORM pg_notify('engine_' || relnamespace, '') FROM pg_class WHERE oid = TG_RELID;
    RETURN NULL;
END $$
"""

# Always: also where a session has put its triggers off, for a job must not be left behind.
_TRIGGER: Final = (
    """
    CREATE CONSTRAINT TRIGGER arrivals_admitted AFTER INSERT ON arrivals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION admit_1()
    """,
    "ALTER TABLE arrivals ENABLE ALWAYS TRIGGER arrivals_admitted",
)

ARRIVALS: Final = (*_TABLE, _RULES, _FIND, _ARRIVE, _ADMIT, *_TRIGGER)
