"""Family checks: whether follow-ups have the parents that they name, and rules can be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from engine.domain.exceptions import EngineError, shown
from engine.domain.follow_up_rule import follow_up_id
from engine.domain.follow_up_rules import Rules, StoredRules
from engine.domain.labels import DEFAULT_KIND
from engine.storage.record import Origin


class FamilyRule(NamedTuple):
    """What holds for every follow-up, by a query that finds those for which it doesn't."""

    problem: str
    """The sentence about the job, in which ``{1}`` stands for the second column, and so on."""
    query: str
    """The first column is the job's id. ``{schema}.`` stands before each table."""


FAMILY_RULES: Final = (
    FamilyRule(
        "it follows job {1}, and there is no such job",
        "SELECT job_id, parent_id FROM {schema}.jobs AS job WHERE parent_id IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM {schema}.jobs AS parent "
        "WHERE parent.job_id = job.parent_id) ORDER BY position",
    ),
    FamilyRule(
        "its family is that of job {1}, and there is no such job",
        "SELECT job_id, root_id FROM {schema}.jobs AS job WHERE root_id IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM {schema}.jobs AS root "
        "WHERE root.job_id = job.root_id) ORDER BY position",
    ),
    FamilyRule(
        "it follows version {1} of job {2}, whose version is {3}",
        "SELECT job.job_id, job.parent_version, parent.job_id, parent.version FROM {schema}.jobs "
        "AS job JOIN {schema}.jobs AS parent ON parent.job_id = job.parent_id "
        "WHERE parent.version < job.parent_version ORDER BY job.position",
    ),
    FamilyRule(
        "its family is that of job {1}, and that of its parent is that of job {2}",
        "SELECT job.job_id, job.root_id, coalesce(parent.root_id, parent.job_id) "
        "FROM {schema}.jobs AS job JOIN {schema}.jobs AS parent ON parent.job_id = job.parent_id "
        "WHERE job.root_id <> coalesce(parent.root_id, parent.job_id) ORDER BY job.position",
    ),
)


def origin_problems(job: Mapping[str, Any]) -> Iterator[str]:
    """Return what is wrong with the origin of a job, as far as its own row tells it.

    A follow-up has the id that is derived from its parent; the repeat of one has that of a repeat.

    Args:
        job: The values of its columns.
    """
    parent_id, version, kind = job["parent_id"], job["parent_version"], job["kind"] or DEFAULT_KIND
    if not Origin(parent_id, version, job["root_id"]).is_whole:
        yield "it has a part of a parent"
    elif parent_id is None or job["first_id"] is not None:
        return
    elif job["job_id"] != follow_up_id(parent_id, version, kind):
        of = f"version {version} of job {parent_id}"
        yield f"its id is not that of the {kind} which follows {of}"


def rules_problem(text: object) -> str | None:
    """Return what is wrong with the rules of follow-ups, as a sentence; None for nothing."""
    try:
        rules = Rules.read(StoredRules(text=str(text)))
        for rule in rules:
            rule.follow_up({})
        rules.check_no_circle()
    except (EngineError, ValueError):
        return f"it can't be {shown(text)}"
    return None
