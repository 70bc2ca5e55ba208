"""The schema: the tables of an engine's file, its marks, and the steps from older versions.

The names are for readers too: any SQLite program may read the tables while an engine has the file.
Only the engine may write to them.

* ``jobs``: a row for each job, as it is now. ``position`` is the order of creation; ``ended_at`` is
  NULL until the job has ended; a ``blockchain_identifier`` that is NULL is the default,
  ``mock_bc_`` and the job's id. ``input`` is the input of the job's handler, as JSON. The columns
  from ``priority`` to ``retry_since`` are the job's execution; most jobs have none, and NULLs
  there:

  * ``priority``: of the ready jobs, those with a higher one are claimed first. It, ``attempt`` and
    ``failures`` are NULL exactly for a job without an execution.
  * ``deadlines``: by status, a JSON object of seconds or times. ``deadline_at``: when the job's
    time in its present status runs out.
  * ``attempt``: the number of the newest attempt, 0 before the first. ``failures``: how many of
    them count against the retries. ``token``: of the attempt that has the job; NULL when none has.
    ``retry_at``: the job is not claimed before this time.
  * ``prompt``: the open question, a JSON object. ``answers``: the answers so far, a JSON object by
    the names of the prompts.
  * ``cancel_reason``: the reason of a request to cancel the job; NULL without a request.
  * ``result_form``: ``json`` for a ``result`` that is JSON; NULL for a text, and without a result.
  * ``trace``: the trace context of the job's submitter, a JSON object of W3C headers.
  * ``deaths``: how many deaths count against the job; NULL for none. ``died_attempt``: the number
    of the attempt whose engine died, while that makes the job a suspect; NULL otherwise.
  * ``deadline_since``, ``retry_since``: when the time until ``deadline_at`` and ``retry_at`` began;
    NULL for an absolute deadline.

* ``transitions``: a row for each change of a job's status, in one order, without gaps except for
  removed jobs. ``position`` is the job's.
* ``epochs``: a row for each epoch of the history, in their order: its name, and the number of its
  first transition (`engine.domain.epochs`).
* ``engine``: notes, by their names: ``final_statuses``, which determine ``ended_at``, as JSON;
  ``renamed``, the new names of old statuses that all rows have, as JSON; ``last_sequence`` and
  ``last_position``, the newest that were ever removed; ``failed_commits``,
  how many commits have failed and were overwritten in the log; ``is_copy``, 1 in a backup until an
  engine opens it, and begins an epoch.

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
            result TEXT,
            error TEXT,
            version INTEGER NOT NULL,
            idempotency_key TEXT,
            ended_at TEXT,
            input TEXT,
            priority INTEGER,
            deadlines TEXT,
            deadline_at TEXT,
            attempt INTEGER,
            failures INTEGER,
            token TEXT,
            retry_at TEXT,
            prompt TEXT,
            answers TEXT,
            cancel_reason TEXT,
            checksum INTEGER NOT NULL
        )
        """,
        # The position is the row's own key, so an index on the status is one in its order, too.
        "CREATE INDEX jobs_by_status ON jobs (status)",
        """
        CREATE UNIQUE INDEX jobs_by_idempotency_key ON jobs (idempotency_key)
        WHERE idempotency_key IS NOT NULL
        """,
        "CREATE INDEX jobs_by_end ON jobs (ended_at) WHERE ended_at IS NOT NULL",
        """
        CREATE TABLE transitions (
            sequence INTEGER PRIMARY KEY,
            position INTEGER NOT NULL REFERENCES jobs (position),
            from_status TEXT,
            to_status TEXT NOT NULL,
            at TEXT NOT NULL,
            checksum INTEGER NOT NULL
        )
        """,
        "CREATE INDEX transitions_by_job ON transitions (position)",
        """
        CREATE TABLE engine (
            name TEXT PRIMARY KEY,
            value NOT NULL,
            checksum INTEGER NOT NULL
        ) WITHOUT ROWID
        """,
        f"""
        INSERT INTO engine VALUES
            ('final_statuses', '[]', {checksum(("final_statuses", "[]"))}),
            ('last_sequence', 0, {checksum(("last_sequence", 0))}),
            ('last_position', 0, {checksum(("last_position", 0))}),
            ('failed_commits', 0, {checksum(("failed_commits", 0))})
        """,
    ),
    ("ALTER TABLE jobs ADD COLUMN result_form TEXT",),
    ("ALTER TABLE jobs ADD COLUMN trace TEXT",),
    (
        "ALTER TABLE jobs ADD COLUMN deaths INTEGER",
        "ALTER TABLE jobs ADD COLUMN died_attempt INTEGER",
    ),
    (
        "ALTER TABLE jobs ADD COLUMN deadline_since TEXT",
        "ALTER TABLE jobs ADD COLUMN retry_since TEXT",
    ),
    (f"INSERT INTO engine VALUES ('renamed', '{{}}', {checksum(('renamed', '{}'))})",),
    (
        """
        CREATE TABLE epochs (
            number INTEGER PRIMARY KEY,
            name TEXT NOT NULL,
            first_sequence INTEGER NOT NULL,
            checksum INTEGER NOT NULL
        )
        """,
    ),
    (f"INSERT INTO engine VALUES ('is_copy', 0, {checksum(('is_copy', 0))})",),
)
