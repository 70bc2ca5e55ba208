"""The schema: the tables of a shared database, and how they are made.

The names are for readers too: any program may read the tables. Only engines may write to them. The
columns that `engine.storage.sqlite.schema` describes mean the same here; times are ``timestamptz``,
and a kind is never NULL. Beside them:

* ``jobs.revision``: one more with each write of the row. ``holder``: the engine whose attempt has
  the job, or that has reserved it. ``ready``: it may be claimed. ``due_at``: when its deadline or
  its next attempt is due.
* ``engines``: a row for each engine that lives, or whose jobs are not yet free. ``beats`` grows
  while it lives, five times in ``lease_seconds``; ``died_with`` is how many attempts it had at its
  death; ``kinds`` are those that have a handler there; one that is ``draining`` claims nothing.
* ``batches``: the number of each engine's newest batch, whether that was applied, and the numbers
  behind which its own begin; of a write without changes of jobs instead the ``answer``. Apart from
  the beats, so that a beat never waits for a commit.
* ``notes``: texts by their names: ``schema``, the number of the steps below that made the tables;
  ``protocols``, the numbers of those whose functions are there, with spaces between;
  ``last_sequence`` and ``last_position``, the newest that were ever removed; ``ended``, the number
  of a transition, and how many of the jobs had ended by then; ``statuses``, those that all rows
  fit; ``fitting``, what is still to be done until they do, or null; ``lifecycle``, that of the
  engine that opened it last; ``rules``, those of follow-ups, and ``rules_number``, one more with
  each change of them; ``pauses``, those of kinds and gates (`engine.domain.pauses`);
  ``instructions_number``, one more with each of `engine.storage.postgres.instructions`;
  ``counted``, the number of the newest transition in ``throughput``.
* ``arrivals``: jobs that callers create in transactions of their own, until these commit; see
  `engine.storage.postgres.arrivals`.
* ``progress``: the newest progress of each attempt, unlogged; ``changed``: the transaction that
  wrote it. ``leaders``: the engine that leads what has a name, such as a gate.
* ``numbers``: a view of the newest sequence number and the newest position that were ever given,
  and of ``rules_number``.

Texts that are compared have the collation ``C``: an upgrade of the operating system may change the
order of any other, and so break an index.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import Connection

from engine.domain.epochs import new_epoch
from engine.domain.exceptions import StorageFormatError, shown
from engine.storage.postgres.arrivals import ARRIVALS
from engine.storage.postgres.claims import INNOCENT, NOT_INNOCENT
from engine.storage.postgres.functions import FUNCTIONS, PROTOCOL

_TABLES: Final = (
    """
    CREATE TABLE jobs (
        position bigint PRIMARY KEY,
        job_id text COLLATE "C" NOT NULL,
        revision bigint NOT NULL,
        status text COLLATE "C" NOT NULL,
        input_hash text COLLATE "C" NOT NULL,
        blockchain_identifier text COLLATE "C",
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        version bigint NOT NULL,
        idempotency_key text COLLATE "C",
        started_at timestamptz,
        result text,
        error text,
        outcome text COLLATE "C",
        kind text COLLATE "C" NOT NULL,
        labels text,
        input text,
        parent_id text COLLATE "C",
        parent_version bigint,
        root_id text COLLATE "C",
        first_id text COLLATE "C",
        priority bigint,
        attempt bigint,
        failures bigint,
        token text COLLATE "C",
        claimed_at timestamptz,
        deadlines text,
        deadline_at timestamptz,
        retry_at timestamptz,
        prompt text,
        answers text,
        cancel_reason text,
        result_form text,
        trace text,
        deaths bigint,
        died_attempt bigint,
        deadline_since timestamptz,
        retry_since timestamptz,
        not_before timestamptz,
        last_error text,
        cancelled_by text,
        repeat_of text COLLATE "C",
        repeated_by text COLLATE "C",
        ended_at timestamptz,
        holder bigint,
        ready boolean NOT NULL,
        due_at timestamptz
    ) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)
    """,
    "CREATE UNIQUE INDEX jobs_by_id ON jobs (job_id)",
    """
    CREATE UNIQUE INDEX jobs_by_key ON jobs (idempotency_key)
    WHERE idempotency_key IS NOT NULL
    """,
    """
    CREATE UNIQUE INDEX jobs_by_payment ON jobs (blockchain_identifier)
    WHERE blockchain_identifier IS NOT NULL
    """,
    "CREATE INDEX jobs_by_status ON jobs (status, position)",
    "CREATE INDEX jobs_by_kind ON jobs (kind, position)",
    "CREATE INDEX jobs_by_end ON jobs (ended_at, position) WHERE ended_at IS NOT NULL",
    "CREATE INDEX jobs_by_root ON jobs (root_id, position) WHERE root_id IS NOT NULL",
    "CREATE INDEX jobs_held ON jobs (holder) WHERE holder IS NOT NULL",
    "CREATE INDEX jobs_due ON jobs (due_at) WHERE due_at IS NOT NULL",
    f"""
    CREATE INDEX jobs_ready ON jobs (kind, coalesce(priority, 0) DESC, position)
    WHERE {INNOCENT}
    """,
    f"""
    CREATE INDEX jobs_suspect ON jobs (kind, coalesce(priority, 0) DESC, position)
    WHERE {NOT_INNOCENT}
    """,
    # No foreign keys: each would lock the job's row again.
    """
    CREATE TABLE transitions (
        sequence bigint PRIMARY KEY,
        position bigint NOT NULL,
        job_id text COLLATE "C" NOT NULL,
        from_status text COLLATE "C",
        to_status text COLLATE "C" NOT NULL,
        at timestamptz NOT NULL,
        by text,
        reason text
    )
    """,
    "CREATE INDEX transitions_by_job ON transitions (position, sequence)",
    """
    CREATE TABLE attempts (
        position bigint NOT NULL,
        number bigint NOT NULL,
        began_at timestamptz NOT NULL,
        ended_at timestamptz NOT NULL,
        outcome text NOT NULL,
        error text NOT NULL,
        PRIMARY KEY (position, number)
    )
    """,
    """
    CREATE TABLE audit (
        number bigint PRIMARY KEY,
        at timestamptz NOT NULL,
        by text NOT NULL,
        action text NOT NULL,
        job_id text COLLATE "C",
        reason text,
        arguments text
    )
    """,
    "CREATE INDEX audit_by_job ON audit (job_id, number) WHERE job_id IS NOT NULL",
    """
    CREATE TABLE labels (
        name text COLLATE "C" NOT NULL,
        value text COLLATE "C" NOT NULL,
        position bigint NOT NULL,
        PRIMARY KEY (name, value, position)
    )
    """,
    "CREATE INDEX labels_by_job ON labels (position)",
    """
    CREATE TABLE throughput (
        minute timestamptz NOT NULL,
        status text COLLATE "C" NOT NULL,
        is_created boolean NOT NULL,
        transitions bigint NOT NULL,
        PRIMARY KEY (minute, status, is_created)
    )
    """,
    """
    CREATE TABLE epochs (
        number bigint PRIMARY KEY,
        name text NOT NULL,
        first_sequence bigint NOT NULL
    )
    """,
    """
    CREATE TABLE engines (
        engine_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL,
        lease_seconds double precision NOT NULL,
        beats bigint NOT NULL DEFAULT 0,
        dead boolean NOT NULL DEFAULT false,
        died_with bigint NOT NULL DEFAULT 0,
        kinds text[] NOT NULL DEFAULT '{}',
        draining boolean NOT NULL DEFAULT false
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE batches (
        engine_id bigint PRIMARY KEY,
        number bigint NOT NULL,
        applied boolean NOT NULL,
        sequence_base bigint,
        position_base bigint,
        answer json
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE UNLOGGED TABLE progress (
        job_id text COLLATE "C" PRIMARY KEY,
        engine_id bigint NOT NULL,
        attempt bigint NOT NULL,
        done double precision NOT NULL,
        total double precision,
        note text,
        changed xid8 NOT NULL DEFAULT pg_current_xact_id()
    ) WITH (fillfactor = 50)
    """,
    'CREATE TABLE leaders (name text COLLATE "C" PRIMARY KEY, engine_id bigint NOT NULL)',
    'CREATE TABLE notes (name text COLLATE "C" PRIMARY KEY, value text NOT NULL)',
    f"""
    INSERT INTO notes VALUES
        ('schema', '0'), ('protocols', '{PROTOCOL}'), ('ended', '0 0'),
        ('last_sequence', '0'), ('last_position', '0'), ('rules', '[]'), ('rules_number', '0'),
        ('pauses', '[]'), ('instructions_number', '0'), ('counted', '0')
    """,
    """
    CREATE VIEW numbers AS SELECT
        greatest(
            (SELECT max(sequence) FROM transitions),
            (SELECT value::bigint FROM notes WHERE name = 'last_sequence')
        ) AS last_sequence,
        greatest(
            (SELECT max(position) FROM jobs),
            (SELECT value::bigint FROM notes WHERE name = 'last_position')
        ) AS last_position,
        (SELECT value::bigint FROM notes WHERE name = 'rules_number') AS rules_number
    """,
)

_KEY: Final = "hashtextextended(%s, 0)"
STEPS: Final[tuple[tuple[str, ...], ...]] = ((*_TABLES, *FUNCTIONS, *ARRIVALS),)


def quoted(name: str) -> str:
    """Return a name of SQL in quotation marks."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def prepare(connection: Connection[Any], schema: str) -> None:
    """Make the schema and its tables, if they are missing. Any number of engines may do so at once.

    A newer version may have made them, and left the functions of this one's protocol.

    Raises:
        StorageFormatError: The functions are not there. All is left as it was.
    """
    with connection.transaction():
        lock_opening(connection, schema)
        version = version_of(connection, schema)
        if version < len(STEPS):
            _make(connection, schema, version)


def lock_opening(connection: Connection[Any], schema: str) -> None:
    """Let nobody else open the schema until the end of the transaction."""
    connection.execute("SELECT set_config('lock_timeout', '60s', true)")
    connection.execute("SELECT set_config('statement_timeout', '0', true)")
    connection.execute(f"SELECT pg_advisory_xact_lock({_KEY})".encode(), (f"engine {schema}",))


def try_lock_opening(connection: Connection[Any], schema: str) -> bool:
    """Let nobody else open the schema until the end of the transaction, unless somebody does now.

    Returns:
        Whether it is locked.
    """
    query = f"SELECT pg_try_advisory_xact_lock({_KEY})"
    [is_locked] = connection.execute(query.encode(), (f"engine {schema}",)).fetchone() or (False,)
    return bool(is_locked)


def version_of(connection: Connection[Any], schema: str) -> int:
    """Return how many steps have been made.

    Raises:
        StorageFormatError: They are no engine's, or those of a newer one that this one can't use.
    """
    notes = f"{quoted(schema)}.notes"
    [found] = connection.execute("SELECT to_regclass(%s)", (notes,)).fetchone() or (None,)
    if found is None:
        return 0
    try:
        values = dict(connection.execute(f"SELECT name, value FROM {notes}".encode()).fetchall())
        version, protocols = int(values["schema"]), values["protocols"].split()
    except (psycopg.errors.UndefinedColumn, KeyError, ValueError):
        raise StorageFormatError(f"no engine made the table {notes}: name another schema") from None
    if str(PROTOCOL) not in protocols:
        raise StorageFormatError(
            f"the engines of the schema {schema} speak the protocols {shown(' '.join(protocols))}, "
            f"and this engine speaks {PROTOCOL}: use a newer engine"
        )
    return version


def _make(connection: Connection[Any], schema: str, version: int) -> None:
    """Make the steps from a version on."""
    [missing] = connection.execute(
        "SELECT to_regnamespace(%s) IS NULL", (quoted(schema),)
    ).fetchone() or (True,)
    if missing:
        connection.execute(f"CREATE SCHEMA {quoted(schema)}".encode())
    connection.execute(
        "SELECT set_config('search_path', %s, true)", (f"{quoted(schema)}, pg_temp",)
    )
    for step in STEPS[version:]:
        for statement in step:
            connection.execute(statement.encode())
    if not version:
        connection.execute("INSERT INTO epochs VALUES (1, %s, %s)", (new_epoch(1)))
    connection.execute("UPDATE notes SET value = %s WHERE name = 'schema'", (str(len(STEPS)),))
