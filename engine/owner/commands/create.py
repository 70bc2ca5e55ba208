"""Create jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Self

from msgspec import Struct

from engine.domain.deadlines import Deadline, deadlines_text
from engine.domain.exceptions import IdempotencyConflictError
from engine.domain.ids import IdSource
from engine.domain.json_text import json_text, same_value
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import NewJob
from engine.domain.trace_context import trace_text
from engine.domain.validation import (
    MAX_IDENTIFIER_CHARACTERS,
    MAX_INPUT_CHARACTERS,
    MAX_INPUT_HASH_CHARACTERS,
    MAX_PRIORITY,
    check_each,
    check_integer,
    check_job_id,
    check_optional_text,
    check_text,
)
from engine.owner.batch import Batch, too_much
from engine.owner.commands.command import Write
from engine.owner.message import CHARACTERS_OF_WEIGHT, UNANSWERED
from engine.storage.protocol import ReadLimit
from engine.storage.record import NO_EXECUTION, Execution, Record, default_identifier

_NO_PRIORITY: Final = 0  # CPython has one 0; with another the check just runs needlessly


class CheckedJob(Struct, frozen=True, gc=False):
    """A job to create, after the checks of its arguments."""

    job_id: str
    input_hash: str
    blockchain_identifier: str | None
    idempotency_key: str | None
    input: str | None
    """As JSON."""
    execution: Execution


class CreateJobs(Write):
    """Create jobs, all or none."""

    __slots__ = ("jobs", "keys")

    def __init__(self, jobs: Sequence[CheckedJob]) -> None:
        keys: list[str] = []
        characters = 0
        for job in jobs:
            if job.idempotency_key is not None:
                keys.append(job.idempotency_key)
            if job.input:
                characters += len(job.input)
        self.weight = (len(jobs) or 1) + characters // CHARACTERS_OF_WEIGHT
        self.is_abandoned = False
        self._outcome = UNANSWERED
        self.jobs = jobs
        self.keys = keys

    @classmethod
    def one(
        cls,
        lifecycle: Lifecycle[Any],
        new_id: IdSource,
        input_hash: str,
        blockchain_identifier: str | None,
        idempotency_key: str | None,
        given: object,
        priority: int,
        deadlines: Mapping[Any, Deadline] | None,
        trace: Mapping[str, str] | None,
    ) -> Self:
        """Check the arguments of a new job, and give it an id.

        Raises:
            InvalidValueError: A value is of the wrong type, size or form.
        """
        job = _checked(
            lifecycle,
            new_id,
            input_hash,
            blockchain_identifier,
            idempotency_key,
            given,
            priority,
            deadlines,
            trace,
        )
        return cls([job])

    @classmethod
    def many(cls, lifecycle: Lifecycle[Any], new_id: IdSource, jobs: Iterable[NewJob]) -> Self:
        """Check the items of a bulk create, and give each job an id.

        Raises:
            InvalidValueError: As for `one`, or an item is no `NewJob`, or there are too many items.
        """

        def check(job: NewJob) -> CheckedJob:
            return _checked(
                lifecycle,
                new_id,
                job.input_hash,
                job.blockchain_identifier,
                job.idempotency_key,
                job.input,
                job.priority,
                job.deadlines,
                job.trace,
            )

        return cls(check_each(jobs, NewJob, check))

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`.

        Raises:
            IdempotencyConflictError: A job with other content has the key.
            DuplicateJobIdError: A job has the new id already.
            InvalidValueError: The jobs that have the keys are too large for one answer.
        """
        if not self.keys:
            return batch.all_or_none(self.jobs, _create)
        return batch.all_or_none(self.jobs, partial(_create_once, ReadLimit()))


def _checked(
    lifecycle: Lifecycle[Any],
    new_id: IdSource,
    input_hash: str,
    blockchain_identifier: str | None,
    idempotency_key: str | None,
    given: object,
    priority: int,
    deadlines: Mapping[Any, Deadline] | None,
    trace: Mapping[str, str] | None,
) -> CheckedJob:
    """Return a new job, after the checks of its arguments; see `CreateJobs.one`."""
    return CheckedJob(
        check_job_id(new_id()),
        check_text("input_hash", input_hash, MAX_INPUT_HASH_CHARACTERS),
        check_optional_text(
            "blockchain_identifier", blockchain_identifier, MAX_IDENTIFIER_CHARACTERS
        ),
        check_optional_text("idempotency_key", idempotency_key, MAX_IDENTIFIER_CHARACTERS),
        None if given is None else json_text("input", given, MAX_INPUT_CHARACTERS),
        NO_EXECUTION
        if priority is _NO_PRIORITY and deadlines is None and trace is None
        else _checked_execution(lifecycle, priority, deadlines, trace),
    )


def _checked_execution(
    lifecycle: Lifecycle[Any],
    priority: int,
    deadlines: Mapping[Any, Deadline] | None,
    trace: Mapping[str, str] | None,
) -> Execution:
    priority = check_integer("priority", priority, -MAX_PRIORITY, MAX_PRIORITY)
    kept_trace = trace_text(trace)
    return Execution(priority, deadlines_text(lifecycle, deadlines), trace=kept_trace)


def _create_once(limit: ReadLimit, batch: Batch, job: CheckedJob) -> Record:
    """Create a job, or return the one that has its key: no more of these than one read gives."""
    key = job.idempotency_key
    if key is None or (existing := batch.job_with_key(key)) is None:
        return _create(batch, job)
    if not limit.admits(existing):
        raise too_much("idempotency_key")
    return _same_content(existing, key, job)


def _create(batch: Batch, job: CheckedJob) -> Record:
    return batch.create(
        job.job_id,
        input_hash=job.input_hash,
        blockchain_identifier=job.blockchain_identifier,
        idempotency_key=job.idempotency_key,
        given=job.input,
        execution=job.execution,
    )


def _same_content(existing: Record, key: str, job: CheckedJob) -> Record:
    """Return the existing job with this key, if it has the same content.

    Raises:
        IdempotencyConflictError: It has other content.
    """
    identifier = job.blockchain_identifier or default_identifier(existing.job_id)
    for field, is_same in (
        ("input_hash", existing.input_hash == job.input_hash),
        ("blockchain_identifier", existing.identifier == identifier),
        ("input", same_value(existing.input, job.input)),
    ):
        if not is_same:
            raise IdempotencyConflictError(key, existing.job_id, field)
    return existing
