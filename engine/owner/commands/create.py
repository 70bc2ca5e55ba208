"""Create jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Self

from engine.domain.deadlines import Deadline, check_deadline, deadlines_text
from engine.domain.exceptions import (
    IdempotencyConflictError,
    InvalidValueError,
    PaymentInUseError,
    shown,
)
from engine.domain.ids import IdSource, checked_id
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
from engine.storage.protocol import ReadLimit
from engine.storage.record import (
    NO_ACT,
    NO_EXECUTION,
    Execution,
    Record,
    default_identifier,
    is_default_identifier,
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

        def check(job: NewJob) -> NewRecord:
            return checked_job(
                lifecycle,
                new_id,
                job.input_hash,
                job.input,
                kind=job.kind,
                payment_id=job.payment_id,
                idempotency_key=job.idempotency_key,
                start=job.start,
                not_before=job.not_before,
                labels=job.labels,
                priority=job.priority,
                deadlines=job.deadlines,
                trace=job.trace,
                by=job.by,
                reason=job.reason,
            )

        return cls(check_each(jobs, NewJob, check))

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


def checked_job(
    lifecycle: Lifecycle[Any],
    new_id: IdSource,
    input_hash: str | None,
    given: object,
    *,
    kind: str,
    payment_id: str | None,
    idempotency_key: str | None,
    start: bool,
    not_before: Deadline | None,
    labels: Mapping[str, str] | None,
    priority: int,
    deadlines: Mapping[Any, Deadline] | None,
    trace: Mapping[str, str] | None,
    by: str | None,
    reason: str | None,
) -> NewRecord:
    """Return a new job, with an id, after the checks of its arguments.

    Raises:
        InvalidValueError: A value is of the wrong type, size or form.
    """
    text = None if given is None else json_text("input", given, MAX_INPUT_CHARACTERS)
    return NewRecord(
        checked_id(new_id()),
        hash_of(text) if input_hash is None else _checked_hash(input_hash),
        None if payment_id is None else checked_payment(payment_id),
        None if idempotency_key is None else checked_key(idempotency_key),
        text,
        NO_EXECUTION
        if priority is _NO_PRIORITY and deadlines is None and trace is None
        else _checked_execution(lifecycle, priority, deadlines, trace),
        lifecycle.initial_value if start is False else _born_running(lifecycle, start),
        kind if kind is DEFAULT_KIND else check_kind(kind),
        None if labels is None else labels_text(labels),
        None if not_before is None else check_deadline("not_before", not_before),
        NO_ACT if by is None and reason is None else checked_act(by, reason),
    )


def _born_running(lifecycle: Lifecycle[Any], start: object) -> str:
    check_flag("start", start)
    return lifecycle.running_value


def checked_key(value: object) -> str:
    """Return an idempotency key, if it is a text of 1 to 256 characters."""
    return check_text("idempotency_key", value, MAX_IDENTIFIER_CHARACTERS)


def _checked_hash(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidValueError(
            "input_hash", f"must be a str, not {shown(value)}: give an input as `input=`"
        )
    return check_text("input_hash", value, MAX_INPUT_HASH_CHARACTERS)


def checked_payment(value: object) -> str:
    """Return the name of a payment, if it is one that a caller may give.

    Raises:
        InvalidValueError: It is no text of 1 to 256 characters, or is the default of a job.
    """
    payment_id = check_text("payment_id", value, MAX_IDENTIFIER_CHARACTERS)
    if is_default_identifier(payment_id):
        raise InvalidValueError(
            "payment_id",
            f"must not begin with {default_identifier('')}, which names a job without a payment: "
            f"{shown(payment_id)}",
        )
    return payment_id


def _checked_execution(
    lifecycle: Lifecycle[Any],
    priority: int,
    deadlines: Mapping[Any, Deadline] | None,
    trace: Mapping[str, str] | None,
) -> Execution:
    priority = check_integer("priority", priority, -MAX_PRIORITY, MAX_PRIORITY)
    kept = deadlines_text(lifecycle, deadlines)
    return Execution(priority, deadlines=kept, trace=trace_text(trace))


def _create_once(limit: ReadLimit, batch: Batch, job: NewRecord) -> Record:
    """Create a job, or return the one that has its key: no more of these than one read gives."""
    key = job.idempotency_key
    if key is None or (existing := batch.job_with_key(key)) is None:
        return _create(batch, job)
    if not limit.admits(existing):
        raise too_much("idempotency_key")
    return _same_content(existing, key, job)


def _create(batch: Batch, job: NewRecord) -> Record:
    if job.payment_id is not None and batch.job_with_payment(job.payment_id) is not None:
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
