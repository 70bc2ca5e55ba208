"""Possible acts: what can be done with a job now.

They are told by the rules by which the engine decides, of the job as it was read. The engine
decides about each act anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from engine.domain.follow_up_rules import Rules
from engine.domain.lifecycle import Event, Lifecycle
from engine.owner.commands.retry import problem_of_retry
from engine.storage.record import Record


def possible_acts(
    job: Record, lifecycle: Lifecycle[Any], rules: Rules, now: datetime
) -> Iterator[str]:
    """Yield the names of the acts that a job takes, the nearest first.

    An attempt that has the job counts as alive: if it isn't, the next engine finds that out.

    Args:
        job: The job.
        lifecycle: The lifecycle.
        rules: Those of follow-ups.
        now: The time.
    """
    if lifecycle.is_final(job.status):
        if job.execution.repeated_by is None:
            yield "repeat"
        if any(rules_about(job, rules)):
            yield "follow-up"
    else:
        yield from _acts_on_live(job, lifecycle, now)


def rules_about(job: Record, rules: Rules) -> Iterator[str]:
    """Yield the kinds of the rules by which a job may be followed up by hand, once it has ended."""
    is_follow_up = job.parent_id is not None
    for rule in rules:
        if rule.is_of(job.kind, is_follow_up=is_follow_up):
            yield rule.kind


def may_be_retried(job: Record, lifecycle: Lifecycle[Any], now: datetime) -> bool:
    """Return whether a retry of a job would do something now."""
    execution = job.execution
    how = (job.status, execution, now, lifecycle)
    return problem_of_retry(*how, is_held=execution.token is not None) is None


def _acts_on_live(job: Record, lifecycle: Lifecycle[Any], now: datetime) -> Iterator[str]:
    status, execution = job.status, job.execution
    if execution.prompt is not None and lifecycle.target(status, Event.ANSWER) is not None:
        yield "answer"
    if may_be_retried(job, lifecycle, now):
        yield "retry"
    if job.started_at is None and lifecycle.target(status, Event.START) is not None:
        yield "start"
    if execution.token is None and status in lifecycle.values and lifecycle.targets(status):
        yield "move"
    if lifecycle.target(status, Event.EXPIRE) is not None:
        yield "extend"
    if lifecycle.target(status, Event.CANCEL) is not None and execution.cancel_reason is None:
        yield "cancel"
