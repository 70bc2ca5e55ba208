"""Reads: the operations that change nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from msgspec import Meta

from engine.domain.lifecycle.description import description
from engine.domain.time_text import time_text
from engine.domain.validation import (
    MAX_INPUT_CHARACTERS,
    MAX_INTEGER,
    MAX_PAGE_JOBS,
    MAX_PAGE_LINES,
    check_seconds,
)
from engine.domain.version import __version__
from engine.operations.fields import (
    attempt_fields,
    audit_fields,
    entry_fields,
    follow_up_fields,
    job_fields,
    plain,
    without_data,
)
from engine.operations.operation import Arguments, Operation
from engine.operations.possible import possible_acts, rules_about
from engine.operations.transitions import OfTransitions, transitions
from engine.owner.commands.audit import ReadAudit
from engine.owner.commands.family import family
from engine.owner.commands.listing import Count, CountJobs, ListJobs, checked_filter
from engine.owner.commands.pause import ReadPauses
from engine.owner.commands.read import (
    FindJob,
    GetJobs,
    ReadAttempts,
    ReadHistory,
    ReadStatistics,
)
from engine.owner.commands.rules import ReadRules
from engine.owner.core import Core
from engine.owner.cursors import cursor_of
from engine.portal.time import utc_now
from engine.storage.answers import StoredPage
from engine.storage.filter import JobFilter
from engine.storage.record import Damaged, Record

_PAGE_JOBS: Final = 50
_PAGE_CHARACTERS: Final = MAX_INPUT_CHARACTERS
"""A page of more than one job has no more: the event loop stands still while it becomes JSON."""
_MOST_COUNTED: Final = 10_000
_COUNTING_MESSAGES: Final = 20
"""One that finds few among many jobs gives up after so many; each looks at a bounded number."""


class OfNothing(Arguments, kw_only=True, frozen=True):
    """No arguments."""


class OfOne(Arguments, kw_only=True, frozen=True):
    """A job by its ``job_id``."""

    job_id: str


class OfStory(OfOne, kw_only=True, frozen=True):
    """A job, and which transitions of its history: the newest ``lines`` of them.

    With ``before`` they are the newest of those with a lower sequence number. The ``older`` of an
    answer is the ``before`` of the next one; it is null if there are no more.
    """

    lines: Annotated[int, Meta(ge=1, le=MAX_PAGE_LINES)] = 100
    before: Annotated[int, Meta(ge=1, le=MAX_INTEGER)] | None = None


class OfNames(Arguments, kw_only=True, frozen=True):
    """The job with a ``key``, its idempotency key, or a ``payment``: one of them is given."""

    key: str | None = None
    payment: str | None = None


class OfAudit(Arguments, kw_only=True, frozen=True):
    """A page of the audit, of one job by its ``job_id`` or of all, the newest line first.

    It has up to ``limit`` lines. The ``next`` of an answer is the ``before`` of the next page; it
    is null if there are no more.
    """

    job_id: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE_LINES)] = 100
    before: int | None = None


class OfJobs(Arguments, kw_only=True, frozen=True):
    """Some of the jobs: those of a ``status``, a ``kind``, an ``input_hash`` and all ``labels``.

    They were created at ``created_after`` or later, and before ``created_before``; without
    ``follow_ups`` none of them is one. ``stuck`` is in seconds: jobs in the running status where
    nothing has begun for so long. ``due`` are those whose deadline, or the time of whose next
    attempt, has passed. Both are of live jobs in the status that is given; of ``stuck`` in the
    running one. Where inputs are hidden, an ``input_hash`` is refused.
    """

    status: str | None = None
    kind: str | None = None
    labels: dict[str, str] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    input_hash: str | None = None
    follow_ups: bool = True
    stuck: float | None = None
    due: bool = False


class OfPage(OfJobs, kw_only=True, frozen=True):
    """A page of up to ``limit`` jobs, the ``newest_first`` or else the oldest.

    They come without their ``input``, ``input_hash`` and ``result``, unless they are ``whole``. A
    page of long ones ends before its limit: the ``next`` of an answer is the ``after`` of the next
    page, and null if there are no more.
    """

    newest_first: bool = True
    whole: bool = False
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE_JOBS)] = _PAGE_JOBS
    after: str | None = None


class OfCount(OfJobs, kw_only=True, frozen=True):
    """A count that stops at a number, ``at_most``."""

    at_most: Annotated[int, Meta(ge=1, le=_MOST_COUNTED)] = _MOST_COUNTED


async def _lifecycle(core: Core[Any], _: OfNothing, __: str | None) -> dict[str, Any]:
    tables: dict[str, Any] = json.loads(description(core.lifecycle))
    return tables


async def _statistics(core: Core[Any], _: OfNothing, __: str | None) -> dict[str, Any]:
    fields = core.statistics(await core.ask(ReadStatistics()))
    return {name: plain(value) for name, value in fields}


async def _jobs(core: Core[Any], given: OfPage, _: str | None) -> dict[str, Any]:
    message = ListJobs.checked(
        _filter(core, given), given.limit, given.after, newest_first=given.newest_first
    )
    page: StoredPage = await core.ask(message)
    jobs = [*_first(page.jobs, whole=given.whole)]
    after = page.next_after if len(jobs) == len(page.jobs) else jobs[-1].position
    progress = core.state.events.progress
    return {
        "jobs": [job_fields(job, progress.get(job.job_id), whole=given.whole) for job in jobs],
        "next": None if after is None else cursor_of(after, newest_first=given.newest_first),
    }


def _first(jobs: Sequence[Record | Damaged], *, whole: bool) -> Iterator[Record | Damaged]:
    """Yield the first jobs, as many as become JSON at once: up to a number of characters."""
    characters = 0
    for job in jobs:
        told = job if whole or isinstance(job, Damaged) else without_data(job)
        characters += told.characters
        if characters > _PAGE_CHARACTERS and characters > told.characters:
            return
        yield told


def _filter(core: Core[Any], given: OfJobs) -> JobFilter:
    lifecycle, now = core.lifecycle, utc_now()
    status = given.status
    if given.stuck is not None and status is None:
        status = lifecycle.running_value
    jobs = checked_filter(
        *(lifecycle, status, given.kind, given.labels),
        *(given.created_after, given.created_before),
        input_hash=given.input_hash,
        follow_ups=given.follow_ups,
    )
    if given.stuck is not None:
        seconds = min(check_seconds("stuck", given.stuck), _LONGEST_SECONDS)
        jobs = jobs._replace(still_since=now - timedelta(seconds=seconds))
    return jobs._replace(due_by=now) if given.due else jobs


_LONGEST_SECONDS: Final = 1e10  # about 300 years: no job is so old


async def _count(core: Core[Any], given: OfCount, _: str | None) -> dict[str, Any]:
    """Count; ``at`` is the time of the answer, as all engines of the place have it."""
    count = Count(_filter(core, given), given.at_most)
    message: CountJobs | None = count.first()
    for _message in range(_COUNTING_MESSAGES):
        if message is not None:
            message = count.following(await core.ask(message))
    return {
        "jobs": count.found,
        "more": message is not None or count.found == given.at_most,
        "at": time_text(core.state.time_of(core.time.now())),
    }


async def _job(core: Core[Any], given: OfStory, _: str | None) -> dict[str, Any]:
    """Tell of a job; of a follow-up that can't be read its id, and what is damaged.

    ``older`` is the number before which its history goes on, or null. ``acts`` are those that the
    job takes now; ``rules`` those by which it may be followed up.
    """
    [job] = await core.ask(GetJobs.one(given.job_id))
    lines = await core.ask(ReadHistory(given.job_id, given.lines + 1, given.before))
    history = lines[-given.lines :]
    attempts = await core.ask(ReadAttempts.checked(given.job_id))
    follow_ups = await core.converse(family(given.job_id))
    rules, now = await core.ask(ReadRules()), core.state.time_of(core.time.now())
    return {
        "job": job_fields(job, core.state.events.progress.get(job.job_id)),
        "history": [entry_fields(entry, core.state.epochs) for entry in history],
        "older": history[0].sequence if len(lines) > len(history) else None,
        "attempts": [attempt_fields(attempt) for attempt in attempts],
        "follow_ups": [follow_up_fields(each) for each in follow_ups],
        "acts": [*possible_acts(job, core.lifecycle, rules, now)],
        "rules": [*rules_about(job, rules)],
    }


async def _find(core: Core[Any], given: OfNames, _: str | None) -> dict[str, Any]:
    [job] = await core.ask(FindJob.checked(given.key, given.payment))
    return job_fields(job, core.state.events.progress.get(job.job_id))


async def _rules(core: Core[Any], _: OfNothing, __: str | None) -> list[Any]:
    rules: list[Any] = json.loads((await core.ask(ReadRules())).text)
    return rules


async def _audit(core: Core[Any], given: OfAudit, _: str | None) -> dict[str, Any]:
    lines = await core.ask(ReadAudit.checked(given.job_id, given.limit, given.before))
    is_last = len(lines) < given.limit or lines[-1].number == 1
    return {
        "lines": [audit_fields(line) for line in lines],
        "next": None if is_last else lines[-1].number,
    }


async def _about(core: Core[Any], _: OfNothing, __: str | None) -> dict[str, Any]:
    kind, file = core.kept
    return {
        "engine": __version__,
        "process": os.getpid(),
        "place": "database" if core.state.shared is not None else kind,
        "file": None if file is None else str(file),
    }


async def _paused(core: Core[Any], _: OfNothing, __: str | None) -> list[Any]:
    pauses = await core.ask(ReadPauses())
    return [{name: plain(value) for name, value in each} for each in pauses]


READS: Final[tuple[Operation[Any], ...]] = (
    Operation("lifecycle", "the statuses and moves of the jobs", OfNothing, _lifecycle),
    Operation("statistics", "the engine's figures", OfNothing, _statistics),
    Operation("jobs", "a page of jobs", OfPage, _jobs),
    Operation("count", "how many jobs there are, up to a number", OfCount, _count),
    Operation("job", "a job with its history, attempts, follow-ups and acts", OfStory, _job),
    Operation("find", "the job with a key or a payment", OfNames, _find),
    Operation("rules", "the rules of follow-ups", OfNothing, _rules),
    Operation("audit", "who has acted, and why, the newest first", OfAudit, _audit),
    Operation("transitions", "the next transitions, as they come", OfTransitions, transitions),
    Operation("about", "the engine and where its jobs are", OfNothing, _about),
    Operation("paused", "the paused kinds and gates", OfNothing, _paused),
)
"""The reads."""
