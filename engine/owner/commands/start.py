"""Start a job that its payment has come for: once in its life, however often the callback comes.

The job's first entry to running decides, never its present status: a callback that comes again
while the job asks its buyer something, or after its end, changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Self

from engine.domain.exceptions import (
    InvalidValueError,
    JobDamagedError,
    JobEndedError,
    JobNotFoundError,
    LifecycleError,
    PaymentConflictError,
    PaymentInUseError,
)
from engine.domain.lifecycle import Event, Lifecycle
from engine.domain.validation import check_job_id
from engine.owner.acts import Acted, acted, checked_act
from engine.owner.batch import Batch
from engine.owner.commands.cancel import outcome_of
from engine.owner.commands.command import Write
from engine.owner.commands.create import check_payment_name
from engine.storage.record import Act, Record, job_id_in

_UNSTARTED: Final = "it never started, and can't any more: give the money back"


class StartJob(Write):
    """Start the job that has this id, or that this payment pays for.

    Attributes:
        job_ids: The job's id; none if the payment alone names it.
        payments: The payment; none if there is none, or if it is a job's default.
        given_id, payment_id: The id and the payment as given; None without one.
        act: Who starts it, and why.
        is_first: Whether this very message has started the job.
    """

    __slots__ = (
        *("_default_of", "act", "acted", "given_id", "is_first"),
        *("job_ids", "payment_id", "payments"),
    )

    def __init__(
        self,
        job_id: str | None,
        payment_id: str | None,
        act: Act,
        acted: Acted | None = None,
    ) -> None:
        super().__init__()
        self.acted = acted
        self._default_of = None if payment_id is None else job_id_in(payment_id)
        name = self._default_of if job_id is None else job_id
        self.job_ids = () if name is None else (name,)
        if payment_id is not None and self._default_of is None:
            self.payments = (payment_id,)
        else:
            self.payments = ()
        self.given_id = job_id
        self.payment_id = payment_id
        self.act = act
        self.is_first = False

    @classmethod
    def checked(
        cls,
        lifecycle: Lifecycle[Any],
        job_id: str | None,
        payment_id: str | None,
        by: str | None,
        reason: str | None,
    ) -> Self:
        """Check the arguments.

        Raises:
            InvalidValueError: A value has the wrong type or size, or both names are missing.
            LifecycleError: No job of this lifecycle can be started.
        """
        if not lifecycle.able(Event.START):
            raise LifecycleError(
                f"{lifecycle!r} has no move from {lifecycle.initial_value} to "
                f"{lifecycle.running_value}, so no job can be started: use `transition`"
            )
        if job_id is None and payment_id is None:
            raise InvalidValueError("job_id", "is missing, and so is payment_id: give one of them")
        if payment_id is not None:
            payment_id = check_payment_name(payment_id)
        job_id = None if job_id is None else check_job_id(job_id)
        act = checked_act(by, reason)
        arguments = None if payment_id is None else {"payment_id": payment_id}
        return cls(job_id, payment_id, act, acted("start", act, arguments))

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`.

        Raises:
            JobNotFoundError: No job has this id, or this payment.
            PaymentInUseError: The payment pays for another job.
            JobEndedError: The job has ended without ever starting.
            PaymentConflictError: Another payment pays for the job.
            InvalidStateTransitionError: The job has never started, and isn't in the initial status.
        """
        self.is_first = False
        record = self._job(batch)
        if record.started_at is None and batch.lifecycle.is_final(record.status):
            raise JobEndedError(record.job_id, record.status, outcome_of(record), _UNSTARTED)
        is_new_payment = self._is_new_payment(record)
        if record.started_at is None:
            target = batch.lifecycle.after(record.status, Event.START, record.job_id)
            self.is_first = True
        if is_new_payment:
            record = batch.record_payment(record, self.payments[0])
        if self.is_first:
            execution = batch.entering(record.execution, target)
            record = batch.move(record, target, execution=execution, act=self.act)
        return [record]

    def _job(self, batch: Batch) -> Record:
        """Return the job that is meant.

        Raises:
            JobNotFoundError: There is none.
            PaymentInUseError: The payment pays for another job.
        """
        paid = self._paid_job(batch)
        job_id = next(iter(self.job_ids), None if paid is None else paid.job_id)
        if job_id is None:
            raise JobNotFoundError(None, payment_id=self.payment_id)
        try:
            record = batch.job(job_id)
        except JobNotFoundError:
            payment_id = self.payment_id if self.given_id is None else None
            raise JobNotFoundError(self.given_id, payment_id=payment_id) from None
        owner_id = self._default_of if paid is None else paid.job_id
        if owner_id not in {None, job_id}:
            raise PaymentInUseError(self.payment_id or "")
        return record

    def _paid_job(self, batch: Batch) -> Record | None:
        """Return the job that has the payment; None if none has it.

        Raises:
            JobDamagedError: It is the job that is meant, and can't be read.
            PaymentInUseError: It is another job, which can't be read.
        """
        try:
            return next(map(batch.job_with_payment, self.payments), None)
        except JobDamagedError as error:
            if self.given_id in {None, error.job_id}:
                raise
        raise PaymentInUseError(self.payment_id or "")

    def _is_new_payment(self, record: Record) -> bool:
        """Return whether the payment is to be recorded.

        Raises:
            PaymentConflictError: Another payment pays for the job.
        """
        kept = record.blockchain_identifier
        if kept is None:
            return bool(self.payments)
        for payment_id in self.payments:  # the job's default names no other payment
            if payment_id != kept:
                raise PaymentConflictError(record.job_id, payment_id)
        return False
