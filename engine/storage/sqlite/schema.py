"""The schema: the tables of an engine's file, its marks, and the steps from older versions.

The names are for readers too: any SQLite program may read the tables while an engine has the file.
Only the engine may write to them.

* ``jobs``: a row for each job, as it is now. ``position`` is the order of creation;
  ``blockchain_identifier`` names the payment, and is NULL for the default, ``mock_bc_`` and the
  job's id; ``started_at`` is the first time at which the job was running; ``outcome`` and
  ``ended_at`` are NULL until the job has ended; ``kind`` is NULL for the kind ``default``;
  ``labels`` are a JSON object of texts; ``input`` is the input of the job's handler, as JSON. The
  columns from ``priority`` on are the job's execution; jobs of a mere state machine have none, and
  NULLs there:

  * ``priority``: of the ready jobs, those with a higher one are claimed first. It, ``attempt`` and
    ``failures`` are NULL exactly for a job without an execution.
  * ``attempt``: the number of the newest attempt, 0 before the first. ``failures``: how many of
    them count against the retries. ``token``: of the attempt that has the job; NULL when none has.
    ``claimed_at``: when the newest attempt began.
  * ``deadlines``: by status, a JSON object of seconds or times. ``deadline_at``: when the job's
    time in its present status runs out. ``retry_at``: the job is not claimed before this time.
  * ``prompt``: the open question, a JSON object. ``answers``: the answers so far, a JSON object by
    the names of the prompts.
  * ``cancel_reason``, ``cancelled_by``: of a request to cancel the job; NULL without a request.
  * ``result_form``: ``json`` for a ``result`` that is JSON; NULL for a text, and without a result.
  * ``trace``: the trace context of the job's submitter, a JSON object of W3C headers.
  * ``deaths``: how many deaths count against the job; NULL for none. ``died_attempt``: the number
    of the attempt whose engine died, while that makes the job a suspect; NULL otherwise.
  * ``deadline_since``, ``retry_since``: when the time until ``deadline_at`` and ``retry_at`` began;
    NULL for an absolute deadline. ``not_before``: the submitter's earliest time of a claim.
  * ``last_error``: of the newest attempt that failed or died.
  * ``repeat_of``, ``repeated_by``: the ids of the job that it repeats, and of its repeat.

  The last columns say where the job stems from, and never change. ``parent_id`` and
  ``parent_version``: of a follow-up, the job that it follows and that job's version then.
  ``root_id``: the first parent, which is no follow-up. ``first_id``: of a repeat, the id of the
  first job in the row of repeats.

* ``labels``: a row for each label of each job, from which the job can be found.
* ``transitions``: a row for each change of a job's status, in one order, without gaps except for
  removed jobs. ``position`` is the job's; ``by`` and ``reason`` say who made it, and why.
* ``attempts``: a row for each attempt that failed or died, of each job the newest 20. ``number`` is
  the attempt's, ``outcome`` is ``failed`` or ``died``.
* ``audit``: a row for each act, the newest 100,000; their numbers have no gaps. ``job_id`` is NULL
  for an act on no job, and may name one that was removed; ``arguments`` are a JSON object.
* ``throughput``: for each minute of the last day or so, how many transitions there were into a
  status; ``is_created`` is 1 for those that have created their jobs. See
  `engine.storage.throughput`.
* ``epochs``: a row for each epoch of the history, in their order: its name, and the number of its
  first transition (`engine.domain.epochs`).
* ``engine``: notes, by their names: ``final_statuses``, which determine ``ended_at``, as JSON;
  ``renamed``, the new names of old statuses that all rows have, as JSON; ``rules``, those of
  follow-ups (`engine.domain.follow_up_rules`), as JSON; ``pauses``, those of kinds and gates
  (`engine.domain.pauses`), as JSON; ``counted``, the number of the newest transition in
  ``throughput``; ``lifecycle``, the tables of the newest
  engine's (`engine.domain.lifecycle.description`), as JSON; ``last_sequence`` and
  ``last_position``, the newest that were ever removed; ``failed_commits``, how many commits have
  failed and were overwritten in the log; ``other_writes``, how many writes there were without
  changes of jobs, such as removals; ``is_copy``, 1 in a backup until an engine opens it, and begins
  an epoch.

Times are texts such as ``2026-11-22T13:01:02.123456Z``. `engine.storage.sqlite.rows` computes the
checksums.

The first bytes of the file identify it (https://www.sqlite.org/fileformat2.html, 1.3):
``application_id`` is ours, ``user_version`` is the number of the steps below that made the file. A
released step never changes; a new version adds one.
"""

from __future__ import annotations

from typing import Final

from engine.storage.sqlite.rows import checksum

APPLICATION_ID: Final = 0x656E676A  # "engj"

Step = tuple[str, ...]

_TEXTS: Final = (("final_statuses", "[]"), ("renamed", "{}"))
_NUMBERS: Final = ("last_sequence", "last_position", "failed_commits", "is_copy")

STEPS: Final[tuple[Step, ...]] = (
    (
        """
        CREATE TABLE jobs (
            position INTEGER PRIMARY KEY,
            job_id TEXT NOT NULL UNIQUE,
            status TEXT NOT NULL,
            input_hash TEXT NOT NULL,
            blockchain_identifier TEXT,
            created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL,
            version INTEGER NOT NULL,
            idempotency_key TEXT,
            started_at TEXT,
            result TEXT,
            error TEXT,
            outcome TEXT,
            ended_at TEXT,
            kind TEXT,
            labels TEXT,
            input TEXT,
            priority INTEGER,
            attempt INTEGER,
            failures INTEGER,
            token TEXT,
            claimed_at TEXT,
            deadlines TEXT,
            deadline_at TEXT,
            retry_at TEXT,
            prompt TEXT,
            answers TEXT,
            cancel_reason TEXT,
            result_form TEXT,
            trace TEXT,
            deaths INTEGER,
            died_attempt INTEGER,
            deadline_since TEXT,
            retry_since TEXT,
            not_before TEXT,
            last_error TEXT,
            cancelled_by TEXT,
            repeat_of TEXT,
            repeated_by TEXT,
            checksum INTEGER NOT NULL
        )
        """,
        # The position is the row's own key, so an index on the status is one in its order, too.
        "CREATE INDEX jobs_by_status ON jobs (status)",
        """
        CREATE UNIQUE INDEX jobs_by_idempotency_key ON jobs (idempotency_key)
        WHERE idempotency_key IS NOT NULL
        """,
        """
        CREATE UNIQUE INDEX jobs_by_payment ON jobs (blockchain_identifier)
        WHERE blockchain_identifier IS NOT NULL
        """,
        "CREATE INDEX jobs_by_kind ON jobs (kind) WHERE kind IS NOT NULL",
        "CREATE INDEX jobs_by_end ON jobs (ended_at) WHERE ended_at IS NOT NULL",
        """
        CREATE TABLE labels (
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            position INTEGER NOT NULL REFERENCES jobs (position),
            PRIMARY KEY (name, value, position)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE transitions (
            sequence INTEGER PRIMARY KEY,
            position INTEGER NOT NULL REFERENCES jobs (position),
            from_status TEXT,
            to_status TEXT NOT NULL,
            at TEXT NOT NULL,
            by TEXT,
            reason TEXT,
            checksum INTEGER NOT NULL
        )
        """,
        "CREATE INDEX transitions_by_job ON transitions (position)",
        """
        CREATE TABLE attempts (
            position INTEGER NOT NULL REFERENCES jobs (position),
            number INTEGER NOT NULL,
            began_at TEXT NOT NULL,
            ended_at TEXT NOT NULL,
            outcome TEXT NOT NULL,
            error TEXT NOT NULL,
            checksum INTEGER NOT NULL,
            PRIMARY KEY (position, number)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE epochs (
            number INTEGER PRIMARY KEY,
            name TEXT NOT NULL,
            first_sequence INTEGER NOT NULL,
            checksum INTEGER NOT NULL
        )
        """,
        """
        CREATE TABLE engine (
            name TEXT PRIMARY KEY,
            value NOT NULL,
            checksum INTEGER NOT NULL
        ) WITHOUT ROWID
        """,
        "INSERT INTO engine VALUES "
        + ", ".join(f"('{name}', '{value}', {checksum((name, value))})" for name, value in _TEXTS)
        + ", "
        + ", ".join(f"('{name}', 0, {checksum((name, 0))})" for name in _NUMBERS),
    ),
    (
        "ALTER TABLE jobs ADD COLUMN parent_id TEXT",
        "ALTER TABLE jobs ADD COLUMN parent_version INTEGER",
        "ALTER TABLE jobs ADD COLUMN root_id TEXT",
        "ALTER TABLE jobs ADD COLUMN first_id TEXT",
        "CREATE INDEX jobs_by_root ON jobs (root_id) WHERE root_id IS NOT NULL",
        f"INSERT INTO engine VALUES ('rules', '[]', {checksum(('rules', '[]'))})",
    ),
    (
        """
        CREATE TABLE audit (
            number INTEGER PRIMARY KEY,
            at TEXT NOT NULL,
            by TEXT NOT NULL,
            action TEXT NOT NULL,
            job_id TEXT,
            reason TEXT,
            arguments TEXT,
            checksum INTEGER NOT NULL
        )
        """,
        "CREATE INDEX audit_by_job ON audit (job_id) WHERE job_id IS NOT NULL",
    ),
    (f"INSERT INTO engine VALUES ('pauses', '[]', {checksum(('pauses', '[]'))})",),
    (
        """
        CREATE TABLE throughput (
            minute TEXT NOT NULL,
            status TEXT NOT NULL,
            is_created INTEGER NOT NULL,
            transitions INTEGER NOT NULL,
            checksum INTEGER NOT NULL,
            PRIMARY KEY (minute, status, is_created)
        ) WITHOUT ROWID
        """,
        f"INSERT INTO engine VALUES ('counted', 0, {checksum(('counted', 0))})",
    ),
)
