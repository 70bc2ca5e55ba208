"""Orphans: the jobs whose attempts died with their engine. They become suspects, or end.

`engine.domain.deaths` has the rule. The first claim of a kind after the opening of the engine
applies that of its handler, in its own batch: so an engine without a worker changes nothing, and
nor does a batch that fails.
"""

from __future__ import annotations

from datetime import timedelta

from engine.domain.deaths import NOT_REPEATED, DeathRule
from engine.domain.lifecycle import Event
from engine.owner.batch import Batch
from engine.owner.commands.cancel import end_cancelled
from engine.owner.commands.expire import expire
from engine.owner.failed_attempts import death_text, failed_attempt
from engine.owner.free_places import FreePlaces
from engine.owner.orphans import Orphans
from engine.storage.record import Act, Record


def judge_orphans(batch: Batch, orphans: Orphans, places: FreePlaces) -> None:
    """Make suspects of the jobs whose attempts died with their engine, or end them.

    Args:
        batch: Takes the changes.
        orphans: These jobs.
        places: The kinds of the worker that claims, with their rules.
    """
    for job_id in orphans.of(places.kinds):
        record = batch.newest(job_id)
        if record is None or expire(batch, record):
            continue
        if batch.is_ready(record) and orphans.has(record):
            execution = record.execution
            counts = execution.died_attempt is not None or orphans.died_alone(record)
            rule = places.kinds[record.kind].deaths
            _judge(batch, record, (execution.deaths or 0) + counts, rule, places.act)


def _judge(batch: Batch, record: Record, deaths: int, rule: DeathRule, act: Act) -> None:
    """Decide on one of these jobs, with the deaths that count against it."""
    execution = record.execution
    if execution.cancel_reason is not None:
        end_cancelled(batch, record, execution)
    elif rule.allows_another(deaths):
        batch.retried += 1
        rest = timedelta(seconds=rule.rest_seconds(deaths))
        retry = batch.next_attempt_of(record, rest)
        batch.amend(record, execution.suspected(retry, deaths=deaths))
    else:
        target = batch.lifecycle.after(record.status, Event.DIE, record.job_id)
        error = _error(record, (execution.deaths or 0) + 1, rule)  # the last one always counts
        failed = failed_attempt(record, batch.now, error, died=True)
        batch.force(record, target, Event.DIE, error, execution, act, failed)


def _error(record: Record, deaths: int, rule: DeathRule) -> str:
    what = death_text(record)
    if not rule.idempotent:
        return f"{what}, and {NOT_REPEATED}"
    return f"{what}; {deaths} such deaths count against the job, as many as max_deaths allows"
