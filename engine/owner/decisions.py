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
    ClaimJobs,
    CreateJobs,
    Draft,
    ExpireJobs,
    MoveJobs,
    ProvideInput,
    ReleaseJob,
    RequestInput,
    Step,
    Write,
)
from engine.storage.record import (
    BLOCKCHAIN_IDENTIFIER,
    DEADLINE_AT,
    INPUT,
    INPUT_HASH,
    JOB_ID,
    RETRY_AT,
    STATUS,
    TOKEN,
    VERSION,
    WORK,
    Record,
    Work,
    WorkState,
    blockchain_identifier,
)

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
                for draft in message.drafts:
                    records.append(self._create(draft))
            elif isinstance(message, MoveJobs):
                for step in message.steps:
                    records.append(self._move(step))
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

    def _create(self, draft: Draft) -> Record:
        job_id, input_hash, identifier, key, given, work = draft
        if key is not None and (existing := self.batch.job_with_key(key)) is not None:
            return _same_content(existing, draft)
        status = self._lifecycle.initial_value
        if work is not None:
            work = self._entering(work, status)
        return self.batch.create(job_id, status, input_hash, identifier, key, given, work)

    def _move(self, step: Step) -> Record:
        job_id, target, result, error, expected_version, token = step
        before = self.batch.job(job_id)
        if expected_version is not None and expected_version != before[VERSION]:
            raise VersionConflictError(job_id, expected_version, before[VERSION])
        work = before[WORK]
        if token is not None or work is not None:
            self._check_holder(before, token)
        self._lifecycle.validate(before[STATUS], target, job_id)
        if work is not None:
            work = self._entering(work, target)
        return self.batch.move(before, target, result=result, error=error, work=work)

    def _entering(self, work: Work, status: str, **changes: Any) -> Work:  # noqa: ANN401
        """Return the work of a job that enters a status: no attempt has it, its time begins."""
        priority, deadlines, _, attempt, failures, _, _, _, answers, reason = work
        ends = None if deadlines is None else deadline_at(deadlines, status, self.batch.now)
        entered: Work = (
            *(priority, deadlines, ends, attempt, failures),
            *(None, None, None),  # token, retry_at, prompt
            *(answers, reason),
        )
        return WorkState(*entered)._replace(**changes).kept() if changes else entered

    def _check_holder(self, record: Record, token: str | None) -> None:
        """Check that whoever has this token, or none, may move a job.

        Raises:
            JobClaimedError: An attempt has the job.
            StaleAttemptError: The attempt that has the token hasn't.
        """
        work = record[WORK]
        if token is None:
            if self._is_held(record):
                raise JobClaimedError(record[JOB_ID], WorkState.of(record).attempt)
        elif work is None or token != work[TOKEN]:
            raise StaleAttemptError(record[JOB_ID], WorkState.of(record).attempt)

    def _is_held(self, record: Record) -> bool:
        token = None if record[WORK] is None else record[WORK][TOKEN]
        return token is not None and not self._is_dead(token)

    # Attempts.

    def is_ready(self, record: Record) -> bool:
        """Tell whether a job may be claimed."""
        if record[STATUS] != self._lifecycle.running_value:
            return False
        retry_at = None if record[WORK] is None else record[WORK][RETRY_AT]
        return (retry_at is None or retry_at <= self.batch.now) and not self._is_held(record)

    def claim(self, record: Record, message: ClaimJobs) -> Record | None:
        """Give a ready job to a new attempt; None if it is ended instead."""
        work = WorkState.of(record)
        if work.cancel_reason is not None:
            self._end_cancelled(record)
            return None
        failures = work.failures
        if work.token is not None:
            failures += 1
            if not message.idempotent or failures >= message.max_attempts:
                self._end_died(record, work.attempt)
                return None
            self.retried += 1
        claimed: Work = (
            *(work.priority, work.deadlines, work.deadline_at, work.attempt + 1, failures),
            *(urandom(8).hex(), None, work.prompt, work.answers, work.cancel_reason),
        )
        return self.batch.amend_work(record, claimed)

    def give_back(self, record: Record) -> None:
        """Let a job be ready again whose claim nobody has taken: as if it had not been."""
        self._give_up(record, retry_at=None, failed=False)

    def _give_up(self, record: Record, *, retry_at: datetime | None, failed: bool) -> Record:
        """End an attempt: its job is ready again, or later; or it ends, if that was asked for."""
        work = WorkState.of(record)
        if work.cancel_reason is not None:
            return self._end_cancelled(record)
        self.retried += failed
        return self.batch.amend(
            record, token=None, retry_at=retry_at, failures=work.failures + failed
        )

    def _end_died(self, record: Record, attempt: int) -> Record:
        error = f"the process ended while attempt {attempt} was at work"
        return self._force(record, self._lifecycle.failure_value or "", error)

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
        if WorkState.of(record).cancel_reason is not None:
            return self._end_cancelled(record)
        target = self._lifecycle.asking_value or ""
        self._lifecycle.validate(record[STATUS], target, message.job_id)
        changes: dict[str, object] = {"prompt": message.prompt}
        if isinstance(message.deadline, timedelta):
            changes["deadline_at"] = time_after(self.batch.now, message.deadline)
        elif message.deadline is not None:
            changes["deadline_at"] = message.deadline.astimezone(UTC)
        work = self._entering(WorkState.of(record).kept(), target, **changes)
        return self.batch.move(record, target, work=work)

    def _provide_input(self, message: ProvideInput) -> Record:
        record = self.batch.job(message.job_id)
        state = WorkState.of(record)
        prompt = {} if state.prompt is None else json.loads(state.prompt)
        if prompt.get("prompt_id") != message.prompt_id:
            raise StalePromptError(message.job_id, message.prompt_id, prompt.get("prompt_id"))
        answers = {} if state.answers is None else json.loads(state.answers)
        answers[prompt["name"]] = json.loads(message.value)
        kept = json.dumps(answers, ensure_ascii=False, separators=(",", ":"))
        if len(kept) > MAX_ANSWERS_CHARACTERS:
            problem = (
                f"is too long: all answers of a job may have {MAX_ANSWERS_CHARACTERS} characters"
            )
            raise InvalidValueError("value", problem)
        target = self._lifecycle.running_value
        work = self._entering(state.kept(), target, answers=kept)
        return self.batch.move(record, target, work=work)

    # Forced ends.

    def _cancel(self, message: CancelJob) -> Record:
        record = self.batch.job(message.job_id)
        work = WorkState.of(record)
        if record[STATUS] in self._lifecycle.final_values:
            if work.cancel_reason is None or record[STATUS] not in self._lifecycle.cancel_targets:
                raise JobEndedError(message.job_id, record[STATUS])
            return record
        if record[STATUS] not in self._lifecycle.cancel_of:
            ways = self._lifecycle.targets(record[STATUS])
            raise InvalidStateTransitionError(record[STATUS], CANCELLED, ways, message.job_id)
        if not self._is_held(record):
            again = work.cancel_reason is not None
            return self._end_cancelled(record, None if again else message.reason)
        if work.cancel_reason is not None:
            return record
        return self.batch.amend(record, cancel_reason=message.reason)

    def _end_cancelled(self, record: Record, reason: str | None = None) -> Record:
        reason = WorkState.of(record).cancel_reason if reason is None else reason
        error = f"{CANCELLED}: {reason}" if reason else CANCELLED
        # The lifecycle may have lost this since it was asked for; a job that runs can fail then.
        target = self._lifecycle.cancel_of.get(record[STATUS], self._lifecycle.failure_value)
        if target is None:
            ways = self._lifecycle.targets(record[STATUS])
            raise InvalidStateTransitionError(record[STATUS], CANCELLED, ways, record[JOB_ID])
        return self._force(record, target, error, cancel_reason=reason)

    def _expire(self, job_id: str) -> Record | None:
        """Move a job on whose time has run out; it may have moved on by itself, or be removed."""
        try:
            record = self.batch.job(job_id)
        except JobNotFoundError:
            return None
        work = record[WORK]
        ends = None if work is None else work[DEADLINE_AT]
        target = self._lifecycle.expiry_of.get(record[STATUS])
        if ends is None or ends > self.batch.now or target is None:
            return None
        self.expired += 1
        return self._force(record, target, EXPIRED)

    def _force(self, record: Record, target: str, error: str, **changes: object) -> Record:
        """Move a job, whoever has it. The error goes with it where it can hold one."""
        work = self._entering(WorkState.of(record).kept(), target, **changes)
        told = error if self._lifecycle.is_failure(target) else None
        return self.batch.move(record, target, error=told, work=work)


def _same_content(existing: Record, draft: Draft) -> Record:
    """Return the job that has the draft's key already, if it was created with the same content."""
    _, input_hash, identifier, key, given, _ = draft
    job_id = existing[JOB_ID]
    existing_identifier = blockchain_identifier(job_id, existing[BLOCKCHAIN_IDENTIFIER])
    for field, before, now in (
        ("input_hash", existing[INPUT_HASH], input_hash),
        (
            "blockchain_identifier",
            existing_identifier,
            blockchain_identifier(job_id, identifier),
        ),
        ("input", existing[INPUT], given),
    ):
        if before != now:
            raise IdempotencyConflictError(str(key), job_id, field)
    return existing
