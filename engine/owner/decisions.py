"""The decisions of one batch: pure code that turns requests into changes, in order.

Nothing is visible to anybody until the owner has committed it; a decision that fails leaves no
trace.

Who may move a job is decided here, too. While an attempt has it, that is the attempt alone, which
proves it by its token; besides, its time may run out, and it may be cancelled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from os import urandom
from typing import Any

from engine.domain.deadlines import deadline_at, time_after
from engine.domain.exceptions import (
    EngineError,
    IdempotencyConflictError,
    InvalidStateTransitionError,
    InvalidValueError,
    JobClaimedError,
    JobEndedError,
    JobNotFoundError,
    StaleAttemptError,
    StalePromptError,
    VersionConflictError,
)
from engine.domain.lifecycle import Lifecycle
from engine.domain.validation import MAX_ANSWERS_CHARACTERS
from engine.owner.batch import Batch
from engine.owner.messages import (
    CancelJob,
    CheckedJob,
    CheckedMove,
    ClaimJobs,
    CreateJobs,
    ExpireJobs,
    MoveJobs,
    ProvideInput,
    ReleaseJob,
    RequestInput,
    Write,
)
from engine.storage.record import NO_EXECUTION, Execution, Record, default_identifier

EXPIRED = "expired"
CANCELLED = "cancelled"


class Decisions:
    """What one batch decides.

    Args:
        batch: What is decided so far; decisions are added to it.
        lifecycle: The judge of moves.
        is_dead: Tells whether the attempt that has a token can't end its job any more.

    Attributes:
        expired: How many jobs a deadline has moved on.
        retried: How many attempts have failed and are followed by another.
    """

    def __init__(
        self, batch: Batch, lifecycle: Lifecycle[Any], is_dead: Callable[[str], bool]
    ) -> None:
        self.batch = batch
        self.expired = 0
        self.retried = 0
        self._lifecycle = lifecycle
        self._is_dead = is_dead

    def decide(self, message: Write) -> Sequence[Record] | None:
        """Decide one message, all of it or nothing.

        Returns:
            The jobs that it is about; None for a claim, which is decided at the end of the batch.

        Raises:
            EngineError: The caller's mistake; its ``item`` says which item was wrong.
        """
        before = len(self.batch.changes)
        records: list[Record] = []
        try:
            if isinstance(message, CreateJobs):
                for job in message.jobs:
                    records.append(self._create(job))
            elif isinstance(message, MoveJobs):
                for move in message.moves:
                    records.append(self._move(move))
            else:
                return self._decide_other(message)
        except EngineError as error:
            error.item = len(records)
            self.batch.take_back(before)
            raise
        return records

    def _decide_other(self, message: Write) -> Sequence[Record] | None:
        match message:
            case ReleaseJob():
                return [self._release(message)]
            case RequestInput():
                return [self._request_input(message)]
            case ProvideInput():
                return [self._provide_input(message)]
            case CancelJob():
                return [self._cancel(message)]
            case ExpireJobs(job_ids=job_ids):
                return [record for job_id in job_ids if (record := self._expire(job_id))]
            case _:
                return None

    # Creating and moving.

    def _create(self, job: CheckedJob) -> Record:
        key, execution = job.idempotency_key, job.execution
        if key is not None and (existing := self.batch.job_with_key(key)) is not None:
            return _same_content(existing, job)
        status = self._lifecycle.initial_value
        if execution is not NO_EXECUTION:
            execution = self._entering(execution, status)
        return self.batch.create(job, status, execution)

    def _move(self, move: CheckedMove) -> Record:
        before = self.batch.job(move.job_id)
        expected, target, execution = move.expected_version, move.target, before.execution
        if expected is not None and expected != before.version:
            raise VersionConflictError(move.job_id, expected, before.version)
        if move.token is not None or execution is not NO_EXECUTION:
            self._check_holder(before, move.token)
        self._lifecycle.validate(before.status, target, move.job_id)
        if execution is not NO_EXECUTION:
            execution = self._entering(execution, target)
        return self.batch.move(
            before, target, result=move.result, error=move.error, execution=execution
        )

    def _entering(self, execution: Execution, status: str) -> Execution:
        """Return the execution of a job that enters a status: its time there begins."""
        return execution.entering(deadline_at(execution.deadlines, status, self.batch.now))

    def _check_holder(self, record: Record, token: str | None) -> None:
        """Check that whoever has this token, or none, may move a job.

        Raises:
            JobClaimedError: An attempt has the job.
            StaleAttemptError: The attempt that has the token hasn't.
        """
        execution = record.execution
        if token is None:
            if self._is_held(record):
                raise JobClaimedError(record.job_id, execution.attempt)
        elif token != execution.token:
            raise StaleAttemptError(record.job_id, execution.attempt)

    def _is_held(self, record: Record) -> bool:
        token = record.execution.token
        return token is not None and not self._is_dead(token)

    # Attempts.

    def is_ready(self, record: Record) -> bool:
        """Tell whether a job may be claimed."""
        if record.status != self._lifecycle.running_value:
            return False
        retry_at = record.execution.retry_at
        return (retry_at is None or retry_at <= self.batch.now) and not self._is_held(record)

    def claim(self, record: Record, message: ClaimJobs) -> Record | None:
        """Give a ready job to a new attempt; None if it is ended instead."""
        execution = record.execution
        if execution.cancel_reason is not None:
            self._end_cancelled(record)
            return None
        failures = execution.failures
        if execution.token is not None:
            failures += 1
            if not message.idempotent or failures >= message.max_attempts:
                self._end_died(record, execution.attempt)
                return None
            self.retried += 1
        return self.batch.amend(record, execution.claimed(urandom(8).hex(), failures))

    def give_back(self, record: Record) -> None:
        """Let a job be ready again whose claim nobody has taken: as if it had not been."""
        self._give_up(record, retry_at=None, failed=False)

    def _give_up(self, record: Record, *, retry_at: datetime | None, failed: bool) -> Record:
        """End an attempt: its job is ready again, or later; or it ends, if that was asked for."""
        execution = record.execution
        if execution.cancel_reason is not None:
            return self._end_cancelled(record)
        self.retried += failed
        return self.batch.amend(record, execution.released(retry_at, execution.failures + failed))

    def _end_died(self, record: Record, attempt: int) -> Record:
        error = f"the process ended while attempt {attempt} was at work"
        return self._force(record, self._lifecycle.failure_value or "", error, record.execution)

    def _release(self, message: ReleaseJob) -> Record:
        record = self.batch.job(message.job_id)
        self._check_holder(record, message.token)
        delay = timedelta(seconds=message.delay_seconds)
        retry_at = time_after(self.batch.now, delay) if delay else None
        return self._give_up(record, retry_at=retry_at, failed=message.failed)

    # Asking for input.

    def _request_input(self, message: RequestInput) -> Record:
        record = self.batch.job(message.job_id)
        self._check_holder(record, message.token)
        if record.execution.cancel_reason is not None:
            return self._end_cancelled(record)
        target = self._lifecycle.asking_value or ""
        self._lifecycle.validate(record.status, target, message.job_id)
        execution = self._entering(record.execution, target)
        ends = execution.deadline_at
        if isinstance(message.deadline, timedelta):
            ends = time_after(self.batch.now, message.deadline)
        elif message.deadline is not None:
            ends = message.deadline.astimezone(UTC)
        return self.batch.move(record, target, execution=execution.asking(message.prompt, ends))

    def _provide_input(self, message: ProvideInput) -> Record:
        record = self.batch.job(message.job_id)
        before = record.execution
        prompt = {} if before.prompt is None else json.loads(before.prompt)
        if prompt.get("prompt_id") != message.prompt_id:
            raise StalePromptError(message.job_id, message.prompt_id, prompt.get("prompt_id"))
        answers = {} if before.answers is None else json.loads(before.answers)
        answers[prompt["name"]] = json.loads(message.value)
        kept = json.dumps(answers, ensure_ascii=False, separators=(",", ":"))
        if len(kept) > MAX_ANSWERS_CHARACTERS:
            problem = (
                f"is too long: all answers of a job may have {MAX_ANSWERS_CHARACTERS} characters"
            )
            raise InvalidValueError("value", problem)
        target = self._lifecycle.running_value
        return self.batch.move(
            record, target, execution=self._entering(before, target).answered(kept)
        )

    # Forced ends.

    def _cancel(self, message: CancelJob) -> Record:
        record = self.batch.job(message.job_id)
        reason = record.execution.cancel_reason
        if record.status in self._lifecycle.final_values:
            if reason is None or record.status not in self._lifecycle.cancel_targets:
                raise JobEndedError(message.job_id, record.status)
            return record
        if record.status not in self._lifecycle.cancel_of:
            ways = self._lifecycle.targets(record.status)
            raise InvalidStateTransitionError(record.status, CANCELLED, ways, message.job_id)
        if not self._is_held(record):
            return self._end_cancelled(record, message.reason if reason is None else reason)
        if reason is not None:
            return record
        return self.batch.amend(record, record.execution.to_be_cancelled(message.reason))

    def _end_cancelled(self, record: Record, reason: str | None = None) -> Record:
        reason = record.execution.cancel_reason if reason is None else reason
        error = f"{CANCELLED}: {reason}" if reason else CANCELLED
        # The lifecycle may have lost this since it was asked for; a job that runs can fail then.
        target = self._lifecycle.cancel_of.get(record.status, self._lifecycle.failure_value)
        if target is None:
            ways = self._lifecycle.targets(record.status)
            raise InvalidStateTransitionError(record.status, CANCELLED, ways, record.job_id)
        return self._force(record, target, error, record.execution.to_be_cancelled(reason))

    def _expire(self, job_id: str) -> Record | None:
        """Move a job on whose time has run out; it may have moved on by itself, or be removed."""
        try:
            record = self.batch.job(job_id)
        except JobNotFoundError:
            return None
        ends = record.execution.deadline_at
        target = self._lifecycle.expiry_of.get(record.status)
        if ends is None or ends > self.batch.now or target is None:
            return None
        self.expired += 1
        return self._force(record, target, EXPIRED, record.execution)

    def _force(self, record: Record, target: str, error: str, execution: Execution) -> Record:
        """Move a job, whoever has it. The error goes with it where it can hold one."""
        execution = self._entering(execution, target)
        told = error if self._lifecycle.is_failure(target) else None
        return self.batch.move(record, target, error=told, execution=execution)


def _same_content(existing: Record, job: CheckedJob) -> Record:
    """Return the job that has this key already, if it was created with the same content."""
    job_id = existing.job_id
    given_identifier = job.blockchain_identifier or default_identifier(job_id)
    for field, before, now in (
        ("input_hash", existing.input_hash, job.input_hash),
        ("blockchain_identifier", existing.identifier, given_identifier),
        ("input", existing.input, job.input),
    ):
        if before != now:
            raise IdempotencyConflictError(str(job.idempotency_key), job_id, field)
    return existing
