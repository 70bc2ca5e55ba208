"""The family of a job: its follow-ups, and theirs."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from engine.domain.exceptions import JobDamagedError
from engine.domain.validation import MAX_PAGE_JOBS
from engine.owner.commands.listing import ListJobs
from engine.owner.commands.read import GetJobs
from engine.owner.message import Message
from engine.storage.answers import StoredPage
from engine.storage.filter import JobFilter
from engine.storage.record import Damaged, Record


def family(job_id: str) -> Generator[Message[Any], Any, list[Record | Damaged]]:
    """Return the follow-ups of a job, and theirs, in the order of their creation.

    Of a job that can't be read nobody knows whom it follows: all those that descend from the same
    job as this one are among them.

    Yields:
        Messages; takes their answers.

    Raises:
        InvalidValueError: The id is no text of 1 to 256 characters.
        JobNotFoundError: No job has this id.
        JobDamagedError: The job can't be read.
    """
    [job] = yield GetJobs.one(job_id)
    jobs, found, ids = JobFilter(root_id=job.root_id), list[Record | Damaged](), {job_id}
    after: int | None = 0
    while after is not None:
        page: StoredPage = yield ListJobs(jobs, MAX_PAGE_JOBS, after)
        for each in page.jobs:  # a follow-up is younger than its parent
            if isinstance(each, Damaged):
                found.append(each)
            elif each.parent_id in ids:
                ids.add(each.job_id)
                found.append(each)
        after = page.next_after
    return found


def descendants(job_id: str) -> Generator[Message[Any], Any, list[Record]]:
    """Return the `family` of a job, for those who decide by it.

    Yields:
        Messages; takes their answers.

    Raises:
        InvalidValueError: The id is no text of 1 to 256 characters.
        JobNotFoundError: No job has this id.
        JobDamagedError: A job of the family can't be read: nobody knows whom it follows, or whether
            it has ended.
    """
    found = list[Record]()
    for each in (yield from family(job_id)):
        if isinstance(each, Damaged):
            raise JobDamagedError(each.job_id, each.problem)
        found.append(each)
    return found


def follow_ups(job_id: str) -> Generator[Message[Any], Any, list[Record]]:
    """Return the follow-ups of a job alone, as `descendants` does."""
    found = yield from descendants(job_id)
    return [each for each in found if each.parent_id == job_id]
