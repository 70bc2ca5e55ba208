"""Follow-ups by hand: create one that no transition has made, or those of jobs that have ended.

A transition makes its own: see `engine.owner.batch`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any, Final, TypeGuard

from engine.domain.deadlines import check_time
from engine.domain.exceptions import InvalidStateTransitionError, InvalidValueError, shown
from engine.domain.follow_up_rule import Rule, follow_up_id
from engine.domain.follow_up_rules import Rules
from engine.domain.labels import check_kind
from engine.domain.lifecycle import Lifecycle
from engine.owner.acts import Acted, acted, checked_act
from engine.owner.batch import Batch, start_for_rules
from engine.owner.commands.command import Write
from engine.owner.commands.guarded import ANYTHING, Expected
from engine.owner.commands.listing import ListJobs
from engine.owner.commands.read import GetJobs
from engine.owner.commands.rules import ReadRules
from engine.owner.message import Message
from engine.storage.answers import StoredPage
from engine.storage.filter import JobFilter
from engine.storage.record import Act, Damaged, Record

_SHOWN_RULES: Final = 20
_PAGE_JOBS: Final = 200


class FollowJobs(Write):
    """Create the follow-ups of ended jobs by one rule, and return them, old and new ones.

    Attributes:
        rule: The kind of the rule.
        parents: The jobs as they were read. One that has not ended is passed over.
        act: Of the caller.
        made: How many were new; set by `decide`.
    """

    __slots__ = ("act", "acted", "job_ids", "made", "parents", "rule")

    def __init__(
        self, rule: str, parents: Sequence[Record], act: Act, acted: Acted | None = None
    ) -> None:
        super().__init__(2 * len(parents))
        self.acted = acted
        self.rule = rule
        self.parents = [job.job_id for job in parents]
        self.act = act
        self.made = 0
        children = (follow_up_id(job.job_id, job.version, rule) for job in parents)
        self.job_ids = [*self.parents, *children]

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`. Never fails for a job that was removed meanwhile.

        Raises:
            InvalidValueError: There is no such rule any more.
        """
        rule = rule_of(batch.rules, self.rule)
        made, self.made = list[Record](), 0
        for job_id in self.parents:
            parent = batch.newest(job_id)
            if parent is None or not batch.lifecycle.is_final(parent.status):
                continue
            before = len(batch.changes)
            if (job := batch.follow_up(parent, rule, self.act)) is not None:
                made.append(job)
            self.made += len(batch.changes) > before  # with the follow-up, which may have its own
        return made


def rule_of(rules: Rules, kind: str) -> Rule:
    """Return the rule for a kind.

    Raises:
        InvalidValueError: There is none.
    """
    if (rule := rules.by_kind.get(kind)) is None:
        some = [*rules.by_kind][:_SHOWN_RULES]
        known = ", ".join([*some, *["…"] * (len(rules.by_kind) > len(some))]) or "no rule"
        raise InvalidValueError("rule", f"{shown(kind)} is not one of those that are kept: {known}")
    return rule


def following(
    lifecycle: Lifecycle[Any],
    job_id: str,
    rule: str,
    by: str | None,
    reason: str | None,
    *,
    expected: Expected = ANYTHING,
) -> Generator[Message[Any], Any, Record]:
    """Create the follow-up of an ended job by a rule, once.

    One reading of the job tells whether it has ended and is as the caller has seen it; an ended job
    stays as it is.

    Yields:
        Messages; takes their answers.

    Raises:
        StatusConflictError, VersionConflictError, AttemptConflictError: The job is not as expected.
        InvalidValueError: An argument has the wrong type or size, or there is no such rule, or it
            is about other jobs.
        JobNotFoundError: No job has this id.
        JobDamagedError: The follow-up is there, and can't be read.
        InvalidStateTransitionError: The job has not ended.
    """
    act, read = checked_act(by, reason), GetJobs.one(job_id)
    check_kind(rule)
    [parent] = yield read
    expected.check(parent)
    its = rule_of((yield ReadRules()), rule)
    if not its.is_of(parent.kind, is_follow_up=parent.parent_id is not None):
        about = "jobs that are no follow-ups" if its.of is None else ", ".join(its.of)
        raise InvalidValueError("rule", f"{rule} is about {about}, not about a {parent.kind}")
    if not lifecycle.is_final(parent.status):
        raise InvalidStateTransitionError(
            *(parent.status, f"follow up by {rule}", (), job_id),
            why="can't be followed up by hand before it has ended: `wait` for that, or `cancel` it",
        )
    asked = {"rule": rule, "parent_id": job_id}
    made = yield FollowJobs(rule, [parent], act, acted("follow-up", act, asked))
    if not made:  # it is there and can't be read, or the job has been removed
        made = yield GetJobs([job_id, follow_up_id(job_id, parent.version, rule)])
    found: Record = made[-1]
    return found


def backfilling(
    lifecycle: Lifecycle[Any],
    rule: str,
    since: datetime | None,
    by: str | None,
    reason: str | None,
) -> Generator[Message[Any], Any, int]:
    """Create the follow-ups of the jobs that had ended before a rule was there; count them.

    Yields:
        Messages; takes their answers.

    Raises:
        InvalidValueError: An argument has the wrong type or size, or there is no such rule.
    """
    act = checked_act(by, reason)
    arguments: dict[str, object] = {"rule": check_kind(rule)}
    if since is not None:
        arguments["since"] = check_time("since", since).isoformat()
    its = rule_of((yield ReadRules()), rule)
    made = 0
    for status in its.to:
        after: int | None = 0 if lifecycle.is_final(status) else None
        while after is not None:
            page: StoredPage = yield ListJobs(JobFilter(status), _PAGE_JOBS, after)
            after = page.next_after
            parents = [job for job in page.jobs if _is_owed(job, its, since)]
            if parents:
                message = FollowJobs(rule, parents, act, acted("backfill", act, arguments))
                yield message
                made += message.made
    return made


def _is_owed(job: Record | Damaged, rule: Rule, since: datetime | None) -> TypeGuard[Record]:
    if isinstance(job, Damaged) or (since is not None and job.updated_at < since):
        return False
    is_about = rule.is_of(job.kind, is_follow_up=job.parent_id is not None)
    return is_about and rule.admits(start_for_rules(job), job.outcome, job.labels)
