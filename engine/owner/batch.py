"""The batch: the changes that a round decides, and the jobs as they are after them.

No one sees a change before its commit. Until then it can be undone: a bulk call that fails leaves
no trace.

The batch also knows the holder of a job: while an attempt holds it, only that attempt may move it,
and proves itself by its token. The lifecycle judges the moves.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from engine.domain.deadlines import NEVER, Deadline, Due, due_after, due_in
from engine.domain.exceptions import (
    DuplicateJobIdError,
    EngineError,
    InvalidValueError,
    JobClaimedError,
    JobDamagedError,
    JobNotFoundError,
    StaleAttemptError,
)
from engine.domain.follow_up_rule import Rule, follow_up_id
from engine.domain.follow_up_rules import NONE, Rules, RulesOfStatus
from engine.domain.input_hash import hash_of
from engine.domain.lifecycle import Event, Lifecycle
from engine.domain.validation import MAX_READ_CHARACTERS
from engine.owner.failed_attempts import death_text, failed_attempt
from engine.owner.message import Message
from engine.storage.answers import CheckedOut, Found
from engine.storage.audit import AuditLine
from engine.storage.record import (
    NO_ACT,
    NO_EXECUTION,
    Act,
    AttemptRecord,
    Change,
    Damaged,
    Execution,
    Origin,
    Record,
    newest_records,
)

BY_RULE: Final = Act("rule")
_NO_INPUT: Final = hash_of(None)

Item = TypeVar("Item")


def start_for_rules(record: Record) -> datetime | None:
    """Return when a job has started, as the rules of follow-ups see it; None if it has not.

    The payment of an order stays with it when it is repeated: what was paid is settled or refunded
    there. So a repeat has started for them once a payment of its own is recorded.
    """
    is_repeat = record.execution.repeat_of is not None and record.parent_id is None
    return None if is_repeat and record.blockchain_identifier is None else record.started_at


class NewRecord(Struct, frozen=True, gc=False):
    """A job to create, whose arguments were checked."""

    job_id: str
    input_hash: str
    payment_id: str | None
    idempotency_key: str | None
    input: str | None
    """As JSON."""
    execution: Execution
    status: str
    kind: str
    labels: str | None
    """In their stored form."""
    not_before: Deadline | None
    """Relative to the creation, or absolute."""
    act: Act
    origin: Origin | None = None

    def execution_at(self, now: datetime) -> Execution:
        """Return the execution of the job that is created now."""
        not_before = self.not_before
        if not_before is None:
            return self.execution
        at = due_after(now, not_before).at if isinstance(not_before, timedelta) else not_before
        return replace(self.execution, not_before=at)


class Batch:
    """The changes of one round.

    Args:
        lifecycle: The judge of moves.
        now: The time of every change.
        last_sequence: The number of the newest committed transition.
        last_position: The position of the newest committed job.
        named: The committed jobs that the round's messages name, by id and by key. Read only.
        find: Returns the job with an id, if the owner holds it.
        is_orphan: Returns whether a job's newest attempt died with its engine.
        strays: The jobs that stray threads hold back.
        rules: By which transitions make follow-ups.

    Attributes:
        lifecycle, now, rules: The same.
        changes: The changes to commit, in order.
        lines: Those of the audit to commit with them.
        last_position: The position of the newest job, new ones included.
        expired: The jobs that a deadline has moved on.
        has_late: Whether the deadline of a job that was named or changed may have passed.
        retried: How many attempts have failed and are followed by another.
    """

    def __init__(
        self,
        lifecycle: Lifecycle[Any],
        *,
        now: datetime,
        last_sequence: int,
        last_position: int,
        named: CheckedOut,
        find: Callable[[str], Record | None],
        is_orphan: Callable[[Record], bool],
        strays: Container[str],
        rules: Rules = NONE,
    ) -> None:
        self.lifecycle = lifecycle
        self.now = now
        self.rules = rules
        self._rules_of = rules.by_status
        self._strays = strays
        self.changes: list[Change] = []
        self.lines: list[AuditLine] = []
        self.last_position = last_position
        self.expired: list[Record] = []
        self.retried = 0
        self._next_sequence = last_sequence + 1
        self._named = named
        self._jobs = dict(named.ids.jobs)  # as they are after the changes so far
        self._ids_of_keys: dict[str, str] = {}
        self._ids_of_payments: dict[str, str] = {}
        for ids, found in (
            (self._ids_of_keys, named.keys),
            (self._ids_of_payments, named.payments),
        ):
            for name, record in found.jobs.items():
                ids[name] = record.job_id
                self._jobs[record.job_id] = record
        self._find = find
        self._is_orphan = is_orphan
        self._before: list[Record | None] = []  # for each change, the job before it
        self.has_late = False
        for record in self._jobs.values():
            if record.execution.deadline_at is not None:
                self.has_late |= self.is_late(record)

    # Looking.

    def new_ids(self) -> set[str]:
        """Return the ids of the new jobs."""
        return {change.record.job_id for change in self.changes if change.from_status is None}

    def changed(self) -> dict[str, Record]:
        """Return the jobs that change, as they are after it, by id."""
        return newest_records(self.changes)

    def started_ids(self) -> set[str]:
        """Return the ids of the jobs that enter the running status, or are born in it."""
        running = self.lifecycle.running_value
        return {
            change.record.job_id
            for change in self.changes
            if change.sequence is not None and change.record.status == running != change.from_status
        }

    def holds(self, job_id: str) -> bool:
        """Return whether the owner holds a job."""
        return self._find(job_id) is not None

    def job(self, job_id: str) -> Record:
        """Return a job that was named, as it is now.

        Raises:
            JobNotFoundError: There is none.
            JobDamagedError: It can't be read.
            InvalidValueError: It was not read: the jobs of the items before are too large.
        """
        record = self._jobs.get(job_id)
        if record is None:
            _check_sound(self._named.ids.damaged.get(job_id))
            if job_id in self._named.ids.left_out:
                raise too_much("job_id")
            raise JobNotFoundError(job_id)
        return record

    def newest(self, job_id: str) -> Record | None:
        """Return a job that the owner holds, as it is now; None if it holds none."""
        return self._jobs.get(job_id) or self._find(job_id)

    def jobs_named_by(self, message: Message[Any]) -> Iterator[Record]:
        """Iterate over the jobs that a message names, as they are now; skip those not found."""
        jobs = self._jobs
        for job_id in message.job_ids:
            if (record := jobs.get(job_id)) is not None:
                yield record
        for names, ids in (
            (message.keys, self._ids_of_keys),
            (message.payments, self._ids_of_payments),
        ):
            for name in names:
                if (named_id := ids.get(name)) is not None:
                    yield jobs[named_id]

    def job_with_key(self, key: str) -> Record | None:
        """Return the job that has an idempotency key, or None.

        Raises:
            JobDamagedError: It can't be read.
            InvalidValueError: It was not read: the jobs of the items before are too large.
        """
        return self._job_by(key, self._ids_of_keys, self._named.keys, "idempotency_key")

    def job_with_payment(self, payment_id: str) -> Record | None:
        """Return the job that a given payment pays for, or None.

        Raises:
            JobDamagedError, InvalidValueError: As for `job_with_key`.
        """
        return self._job_by(payment_id, self._ids_of_payments, self._named.payments, "payment_id")

    def is_paid_by(self, payment_id: str) -> bool:
        """Return whether a given payment pays for any job, even one that can't be read."""
        found = self._named.payments
        unread = payment_id in found.damaged or payment_id in found.left_out
        return unread or payment_id in self._ids_of_payments

    def _job_by(self, name: str, ids: dict[str, str], found: Found, field: str) -> Record | None:
        if name in ids:
            return self._jobs[ids[name]]
        _check_sound(found.damaged.get(name))
        if name in found.left_out:
            raise too_much(field)
        return None

    def is_late(self, record: Record) -> bool:
        """Tell whether a job has had a deadline that has passed, whatever its status."""
        ends = record.execution.deadline_at
        return ends is not None and ends <= self.now

    # The holder of a job.

    def is_held(self, record: Record) -> bool:
        """Return whether a living attempt holds a job."""
        return record.execution.token is not None and not self._is_orphan(record)

    def check_holder(self, record: Record, token: str | None) -> None:
        """Check that the holder of this token, or of none, may move a job.

        Raises:
            JobClaimedError: An attempt holds the job.
            StaleAttemptError: The attempt with this token doesn't hold the job.
        """
        execution = record.execution
        if token is None:
            if self.is_held(record):
                raise JobClaimedError(record.job_id, execution.attempt)
        elif token != execution.token:
            raise StaleAttemptError(record.job_id, execution.attempt)

    def is_ready(self, record: Record) -> bool:
        """Tell whether a job may be claimed."""
        if record.status != self.lifecycle.running_value or record.job_id in self._strays:
            return False
        retry_at = record.execution.retry_at
        return (retry_at is None or retry_at <= self.now) and not self.is_held(record)

    # Changing.

    def entering(self, execution: Execution, status: str) -> Execution:
        """Return the execution of a job that enters a status: its time there begins.

        A running job is claimed, and its time begins, no earlier than its submitter allows.
        """
        if execution is NO_EXECUTION:
            return execution
        if execution.deadlines is None and execution.not_before is None:  # nearly always
            return execution.entering(NEVER)
        retry = NEVER.no_earlier_than(self._waits_until(execution, status))
        return execution.entering(self.deadline_in(execution, status), retry)

    def deadline_in(self, execution: Execution, status: str) -> Due:
        """Return the end of a job's time in a status, if that begins now, or by `not_before`."""
        waits_until = self._waits_until(execution, status)
        if waits_until is None:
            return due_in(execution.deadlines, status, self.now)
        # Absolute, as `not_before` is: a time that begins later looks like a clock set back.
        return Due(due_in(execution.deadlines, status, waits_until).at)

    def next_attempt_of(self, record: Record, delay: timedelta) -> Due:
        """Return when a running job may be claimed again: after a delay, and by `not_before`."""
        retry = due_after(self.now, delay) if delay else NEVER
        return retry.no_earlier_than(self._waits_until(record.execution, record.status))

    def _waits_until(self, execution: Execution, status: str) -> datetime | None:
        """Return the time before which a running job is not claimed; None for now."""
        not_before = execution.not_before
        if not_before is None or status != self.lifecycle.running_value or not_before <= self.now:
            return None
        return not_before

    def create(self, job: NewRecord) -> Record:
        """Add a new job.

        Raises:
            DuplicateJobIdError: There is one with this id.
        """
        job_id, now = job.job_id, self.now
        taken = job_id in self._jobs or job_id in self._named.ids.damaged
        if taken or self._find(job_id) is not None:
            raise DuplicateJobIdError(job_id)
        self.last_position += 1
        execution, status = job.execution_at(now), job.status
        if execution is not NO_EXECUTION:
            execution = self.entering(execution, status)
        record = Record(
            job_id,
            status,
            job.input_hash,
            job.payment_id,
            now,
            now,
            self.last_position,
            idempotency_key=job.idempotency_key,
            input=job.input,
            execution=execution,
            kind=job.kind,
            labels=job.labels,
            started_at=now if status == self.lifecycle.running_value else None,
            sequence=self._next_sequence,
            origin=job.origin,
        )
        if job.idempotency_key is not None:
            self._ids_of_keys[job.idempotency_key] = job_id
        if job.payment_id is not None:
            self._ids_of_payments[job.payment_id] = job_id
        return self._add(None, record, job.act)

    def move(
        self,
        before: Record,
        status: str,
        *,
        execution: Execution,
        event: Event | None = None,
        result: str | None = None,
        error: str | None = None,
        act: Act = NO_ACT,
        failed: AttemptRecord | None = None,
    ) -> Record:
        """Add a transition.

        Args:
            before: The job before it.
            status: The next status.
            execution: That of the job after it.
            event: What moves the job; None for a caller that names the status.
            result: The job's result after it.
            error: The job's error after it.
            act: Who makes it, and why.
            failed: The attempt that it ends, if that has failed or died; it counts.
        """
        failed, execution = self._after_attempt(before, execution, failed)
        lifecycle = self.lifecycle
        record = before.moved(
            status,
            self.now,
            self._next_sequence,
            starts=status == lifecycle.running_value,
            outcome=lifecycle.end_values.get((status, event)),
            result=result,
            error=error,
            execution=execution,
        )
        return self._add(before, record, act, failed)

    def force(
        self,
        before: Record,
        status: str,
        event: Event,
        error: str,
        execution: Execution,
        act: Act = NO_ACT,
        failed: AttemptRecord | None = None,
    ) -> Record:
        """Add a transition even if an attempt holds the job. Keep the error only in a failure."""
        kept = error if self.lifecycle.is_failure(status) else None
        entered = self.entering(execution, status)
        return self.move(
            before, status, event=event, error=kept, execution=entered, act=act, failed=failed
        )

    def amend(
        self, before: Record, execution: Execution, failed: AttemptRecord | None = None
    ) -> Record:
        """Change a job's execution without a transition; ``failed`` as for `move`."""
        failed, execution = self._after_attempt(before, execution, failed)
        record = before.with_execution(execution)
        return self._put(before, Change(None, before.status, record, NO_ACT, failed))

    def record_payment(self, before: Record, payment_id: str) -> Record:
        """Record the payment of a job that has none, without a transition."""
        record = before.paid_by(payment_id)
        self._ids_of_payments[payment_id] = record.job_id
        return self._put(before, Change(None, before.status, record, is_payment=True))

    def compare(self, record: Record) -> None:
        """Let the commit refuse the batch if others write a job that it leaves as it is."""
        self._put(record, Change(None, record.status, record, is_compared=True))

    def _after_attempt(
        self, before: Record, execution: Execution, failed: AttemptRecord | None
    ) -> tuple[AttemptRecord | None, Execution]:
        """Return the failed attempt that a change ends, and the execution after it.

        A failure or death that a command names counts against the job. An attempt that died with
        its engine is found here; `engine.owner.commands.orphans` alone knows whether it counts.
        """
        if failed is not None:
            return failed, execution.failed(failed)
        token = before.execution.token
        if token is None or token == execution.token or not self._is_orphan(before):
            return None, execution
        death = failed_attempt(before, self.now, death_text(before), died=True)
        return death, execution.with_last_error(death.error)

    def _add(
        self,
        before: Record | None,
        record: Record,
        act: Act,
        failed: AttemptRecord | None = None,
    ) -> Record:
        from_status = None if before is None else before.status
        change = Change(self._next_sequence, from_status, record, act, failed)
        self._next_sequence += 1
        self._put(before, change)
        if (rules := self._rules_of.get(record.status)) is not None:
            self._follow(before, record, rules)
        return record

    def _follow(self, before: Record | None, record: Record, rules: RulesOfStatus) -> None:
        """Create the follow-ups of a transition, and theirs."""
        started_at = None if before is None else start_for_rules(before)
        for rule in rules.about(record.kind, is_follow_up=record.parent_id is not None):
            if rule.admits(started_at, record.outcome, record.labels):
                self.follow_up(record, rule, BY_RULE)

    def follow_up(self, parent: Record, rule: Rule, act: Act) -> Record | None:
        """Create the follow-up of a job by a rule, unless it is there.

        Returns:
            The follow-up, new or as it is; None if it is there and can't be read.
        """
        job_id = follow_up_id(parent.job_id, parent.version, rule.kind)
        if job_id in self._named.ids.damaged:
            return None
        if (existing := self.newest(job_id)) is not None:
            return existing
        trace = parent.execution.trace
        new = NewRecord(
            job_id,
            input_hash=_NO_INPUT,
            payment_id=None,
            idempotency_key=None,
            input=None,
            execution=NO_EXECUTION if trace is None else Execution(trace=trace),
            status=self.lifecycle.running_value,
            kind=rule.kind,
            labels=parent.labels,
            not_before=rule.delay,
            act=act,
            origin=Origin(parent.job_id, parent.version, parent.root_id),
        )
        return self.create(new)

    def _put(self, before: Record | None, change: Change) -> Record:
        record = change.record
        self.changes.append(change)
        self._before.append(before)
        self._jobs[record.job_id] = record
        if record.execution.deadline_at is not None:
            self.has_late |= self.is_late(record)
        return record

    # Taking back.

    def all_or_none(
        self, items: Iterable[Item], decide: Callable[[Batch, Item], Record]
    ) -> list[Record]:
        """Decide items in their order; return a job for each.

        Raises:
            EngineError: An item's; its ``item`` is the item's number. Nothing is added.
        """
        before = len(self.changes)
        records: list[Record] = []
        try:
            for item in items:
                records.append(decide(self, item))
        except EngineError as error:
            error.item = len(records)
            self._take_back(before)
            raise
        return records

    def _take_back(self, to: int) -> None:
        """Undo the newest changes, until there are so many."""
        while len(self.changes) > to:
            change = self.changes.pop()
            before, record = self._before.pop(), change.record
            if change.sequence is not None:
                self._next_sequence -= 1
            if record.blockchain_identifier is not None and (before is None or change.is_payment):
                del self._ids_of_payments[record.blockchain_identifier]
            if before is not None:
                self._jobs[record.job_id] = before
                continue
            del self._jobs[record.job_id]
            self.last_position -= 1
            if record.idempotency_key is not None:
                del self._ids_of_keys[record.idempotency_key]


def too_much(field: str) -> InvalidValueError:
    """Return the error of an item whose job no longer fits into the answer of its call."""
    return InvalidValueError(
        field,
        f"is one too many: the items before it name jobs of {MAX_READ_CHARACTERS:,} characters, "
        "as many as one call returns; put it into another call",
    )


def _check_sound(damaged: Damaged | None) -> None:
    """Refuse to go on with a job that can't be read.

    Raises:
        JobDamagedError: There is such a job.
    """
    if damaged is not None:
        raise JobDamagedError(damaged.job_id, damaged.problem)
