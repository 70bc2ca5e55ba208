"""Create jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final, Self

from engine.domain.deadlines import check_deadline, deadlines_text
from engine.domain.exceptions import (
    IdempotencyConflictError,
    InvalidValueError,
    PaymentInUseError,
    shown,
)
from engine.domain.ids import IdSource, checked_id, new_job_id
from engine.domain.input_hash import hash_of
from engine.domain.json_text import json_text, same_value
from engine.domain.labels import DEFAULT_KIND, check_kind, labels_text
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import NewJob
from engine.domain.trace_context import trace_text
from engine.domain.validation import (
    MAX_IDENTIFIER_CHARACTERS,
    MAX_INPUT_CHARACTERS,
    MAX_INPUT_HASH_CHARACTERS,
    MAX_PRIORITY,
    check_each,
    check_flag,
    check_integer,
    check_text,
)
from engine.owner.acts import checked_act
from engine.owner.batch import Batch, NewRecord, too_much
from engine.owner.commands.command import Write
from engine.owner.message import CHARACTERS_OF_WEIGHT, UNANSWERED
from engine.storage.answers import ReadLimit
from engine.storage.record import (
    MAX_DEFAULT_IDENTIFIER_CHARACTERS,
    NO_ACT,
    NO_EXECUTION,
    Execution,
    Record,
    default_identifier,
    job_id_in,
)

_NO_PRIORITY: Final = 0  # CPython has one 0; with another the check just runs needlessly


class CreateJobs(Write):
    """Create jobs, all or none."""

    __slots__ = ("jobs", "keys", "payments")

    def __init__(self, jobs: Sequence[NewRecord]) -> None:
        keys: list[str] = []
        payments: list[str] = []
        characters = 0
        for job in jobs:
            if job.idempotency_key is not None:
                keys.append(job.idempotency_key)
            if job.payment_id is not None:
                payments.append(job.payment_id)
            if job.input:
                characters += len(job.input)
        self.weight = (len(jobs) or 1) + characters // CHARACTERS_OF_WEIGHT
        self.is_abandoned = False
        self._outcome = UNANSWERED
        self.jobs = jobs
        self.keys = keys
        self.payments = payments

    @classmethod
    def many(cls, lifecycle: Lifecycle[Any], new_id: IdSource, jobs: Iterable[NewJob]) -> Self:
        """Check the items of a bulk create, and give each job an id.

        Raises:
            InvalidValueError: As for `checked_job`, or an item is no `NewJob`, or there are too
                many items.
        """
        return cls(check_each(jobs, NewJob, partial(checked_job, lifecycle, new_id)))

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`.

        Raises:
            IdempotencyConflictError: A job with other content has the key.
            PaymentInUseError: The payment pays for another job.
            DuplicateJobIdError: A job has the new id already.
            InvalidValueError: The jobs that have the keys are too large for one answer.
        """
        if not self.keys:
            return batch.all_or_none(self.jobs, _create)
        return batch.all_or_none(self.jobs, partial(_create_once, ReadLimit()))


def checked_job(lifecycle: Lifecycle[Any], new_id: IdSource, job: NewJob) -> NewRecord:
    """Return a new job, with an id, after the checks of its arguments.

    Raises:
        InvalidValueError: A value has the wrong type, size or form.
    """
    given, payment_id, key, kind = job.input, job.payment_id, job.idempotency_key, job.kind
    text = None if given is None else json_text("input", given, MAX_INPUT_CHARACTERS)
    return NewRecord(
        new_id() if new_id is new_job_id else checked_id(new_id()),
        _checked_hash(job.input_hash, text),
        None if payment_id is None else checked_payment(payment_id),
        None if key is None else checked_key(key),
        text,
        NO_EXECUTION
        if job.priority is _NO_PRIORITY and job.deadlines is None and job.trace is None
        else _checked_execution(lifecycle, job),
        lifecycle.initial_value if job.start is False else _born_running(lifecycle, job.start),
        kind if kind is DEFAULT_KIND else check_kind(kind),
        None if job.labels is None else labels_text(job.labels),
        None if job.not_before is None else check_deadline("not_before", job.not_before),
        NO_ACT if job.by is None and job.reason is None else checked_act(job.by, job.reason),
    )


def _checked_hash(value: object, text: str | None) -> str:
    """Return the given hash, or that of the input."""
    if value is None:
        return hash_of(text)
    if not isinstance(value, str):
        problem = f"must be a str, not {shown(value)}: give an input as `input=`"
        raise InvalidValueError("input_hash", problem)
    return check_text("input_hash", value, MAX_INPUT_HASH_CHARACTERS)


def _born_running(lifecycle: Lifecycle[Any], start: object) -> str:
    check_flag("start", start)
    return lifecycle.running_value


def checked_key(value: object) -> str:
    """Return an idempotency key, if it is a text of 1 to 256 characters."""
    return check_text("idempotency_key", value, MAX_IDENTIFIER_CHARACTERS)


def check_payment_name(value: object) -> str:
    """Return the name of a payment, or the default of a job, which is longer than its id.

    Raises:
        InvalidValueError: It is no text of 1 to 256 characters, nor the default of a job.
    """
    is_default = isinstance(value, str) and job_id_in(value) is not None
    longest = MAX_DEFAULT_IDENTIFIER_CHARACTERS if is_default else MAX_IDENTIFIER_CHARACTERS
    return check_text("payment_id", value, longest)


def checked_payment(value: object) -> str:
    """Return the name of a payment, if it is one that a caller may give.

    Raises:
        InvalidValueError: It is no text of 1 to 256 characters, or is the default of a job.
    """
    payment_id = check_text("payment_id", value, MAX_IDENTIFIER_CHARACTERS)
    if job_id_in(payment_id) is not None:
        raise InvalidValueError(
            "payment_id",
            f"must not begin with {default_identifier('')}, which names a job without a payment: "
            f"{shown(payment_id)}",
        )
    return payment_id


def _checked_execution(lifecycle: Lifecycle[Any], job: NewJob) -> Execution:
    priority = check_integer("priority", job.priority, -MAX_PRIORITY, MAX_PRIORITY)
    kept = deadlines_text(lifecycle, job.deadlines)
    return Execution(priority, deadlines=kept, trace=trace_text(job.trace))


def _create_once(limit: ReadLimit, batch: Batch, job: NewRecord) -> Record:
    """Create a job, or return the one that has its key: no more of these than one read gives."""
    key = job.idempotency_key
    if key is None or (existing := batch.job_with_key(key)) is None:
        return _create(batch, job)
    if not limit.admits(existing):
        raise too_much("idempotency_key")
    return _same_content(existing, key, job)


def _create(batch: Batch, job: NewRecord) -> Record:
    if job.payment_id is not None and batch.is_paid_by(job.payment_id):
        raise PaymentInUseError(job.payment_id)
    return batch.create(job)


def _same_content(existing: Record, key: str, job: NewRecord) -> Record:
    """Return the existing job with this key, if it has the same content.

    Raises:
        IdempotencyConflictError: It has other content.
    """
    for field, is_same in (
        ("kind", existing.kind == job.kind),
        ("input_hash", existing.input_hash == job.input_hash),
        # `start` may have recorded one since: a request without a payment fits any.
        ("payment_id", job.payment_id in {None, existing.blockchain_identifier}),
        ("input", same_value(existing.input, job.input)),
    ):
        if not is_same:
            raise IdempotencyConflictError(key, existing.job_id, field)
    return existing
