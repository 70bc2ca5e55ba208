"""Attempt checks: whether the failed attempts in a file are as engines have written them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from engine.domain.exceptions import shown
from engine.storage.findings import Finding, printable_name
from engine.storage.record import KEPT_ATTEMPTS
from engine.storage.sqlite.rows import ATTEMPT_COLUMNS
from engine.storage.sqlite.stored import DamagedRowError, read_attempt

_ATTEMPTS: Final = f"""
    SELECT {", ".join(f"attempts.{column}" for column in ATTEMPT_COLUMNS)}, job_id, attempt
    FROM attempts LEFT JOIN jobs ON jobs.position = attempts.position
    ORDER BY attempts.position, number
"""
_WRONG_LAST_ERRORS: Final = """
    SELECT job_id, last_error, newest FROM (
        SELECT job_id, last_error, (
            SELECT error FROM attempts WHERE attempts.position = jobs.position
            ORDER BY number DESC LIMIT 1
        ) AS newest FROM jobs
    ) WHERE last_error IS NOT newest
"""
_TOO_MANY: Final = f"""
    SELECT job_id, count(*) AS kept FROM attempts JOIN jobs ON jobs.position = attempts.position
    GROUP BY attempts.position HAVING kept > {KEPT_ATTEMPTS}
"""


def attempt_problems(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Return all that is wrong with the failed attempts of jobs."""
    for *row, job_id, newest in connection.execute(_ATTEMPTS):
        position, number = row[:2]
        place = f"of the job with position {position}" if job_id is None else f"of job {job_id}"
        where = f"attempt {number} {printable_name(place)}"
        try:
            read_attempt(tuple(row))
        except DamagedRowError as error:
            yield Finding(where, str(error))
            continue
        if job_id is None:
            yield Finding(where, "there is no such job")
        elif not isinstance(newest, int) or number > newest:  # a job's row may be damaged
            yield Finding(where, f"the newest attempt of its job is {shown(newest)}")
    for job_id, last_error, newest in connection.execute(_WRONG_LAST_ERRORS):
        problem = (
            f"its last error is {shown(last_error)}, and that of its attempts is {shown(newest)}"
        )
        yield Finding(f"job {printable_name(job_id)}", problem)
    for job_id, kept in connection.execute(_TOO_MANY):
        problem = f"{kept} of its failed attempts are kept, and not {KEPT_ATTEMPTS} at most"
        yield Finding(f"job {printable_name(job_id)}", problem)
