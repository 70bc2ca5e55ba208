"""Label checks: whether the table of labels has the labels of the jobs, and no others."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from engine.domain.exceptions import shown
from engine.storage.findings import Finding, printable_name

# Labels that can't be read are a finding about their job.
_MISSING: Final = """
    SELECT job_id, its.key, its.value
    FROM jobs, json_each(CASE WHEN json_valid(labels) THEN labels END) AS its
    WHERE jobs.labels IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM labels
        WHERE labels.name = its.key AND labels.value = its.value
        AND labels.position = jobs.position
    )
    ORDER BY jobs.position
"""
_LEFT_OVER: Final = """
    SELECT job_id, labels.name, labels.value, labels.position
    FROM labels LEFT JOIN jobs ON jobs.position = labels.position
    WHERE (jobs.labels IS NULL OR json_valid(jobs.labels)) AND NOT EXISTS (
        SELECT 1 FROM json_each(jobs.labels) AS its
        WHERE its.key = labels.name AND its.value = labels.value
    )
    ORDER BY labels.position
"""


def label_problems(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Return the labels by which a job can't be found, and those that lead to a wrong job."""
    for job_id, name, value in connection.execute(_MISSING):
        problem = f"it can't be found by its label {shown(name)}: {shown(value)}"
        yield Finding(f"job {printable_name(job_id)}", problem)
    for job_id, name, value, position in connection.execute(_LEFT_OVER):
        label = f"the label {shown(name)}: {shown(value)}"
        if job_id is None:
            yield Finding("the labels", f"{label} is of position {position}, which has no job")
        else:
            problem = f"it is found by {label}, which it doesn't have"
            yield Finding(f"job {printable_name(job_id)}", problem)
