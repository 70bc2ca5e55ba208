"""Records: jobs as the engine keeps them.

A record is a frozen `msgspec.Struct` that the garbage collector never tracks (``gc=False``): it
holds texts, numbers and times alone, so it can't be part of a cycle. A live frozen pydantic job
takes 1,290 bytes where a record and its texts take less than 500; and a million records cost a
collection nothing, where a million tracked objects stop the event loop for a tenth of a second.

Records never leave the engine: callers get `engine.domain.models.Job`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

from msgspec import Meta, Struct
from msgspec.structs import replace

from engine.domain.deadlines import NEVER, Due, renamed_deadlines
from engine.domain.labels import DEFAULT_KIND
from engine.domain.validation import (
    MAX_BY_CHARACTERS,
    MAX_IDENTIFIER_CHARACTERS,
    MAX_LAST_ERROR_CHARACTERS,
    MAX_PRIORITY,
    MAX_REASON_CHARACTERS,
)

MAX_NUMBER: Final = 2**62
"""No number that is read back is larger, so that the next ones fit a storage."""
Number: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_NUMBER)]
Time: TypeAlias = Annotated[datetime, Meta(tz=True)]


class Execution(Struct, frozen=True, gc=False):
    """The part of a job that only handlers, deadlines and priorities need.

    Jobs without one, as in an engine that is a mere state machine, share `NO_EXECUTION`.
    """

    priority: Annotated[int, Meta(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    """Jobs with a higher one are claimed first."""
    attempt: Number = 0
    """The number of the newest attempt; 0 before the first."""
    failures: Number = 0
    """How many attempts count against the retries."""
    token: str | None = None
    """The token of the attempt that has the job; None when none has."""
    claimed_at: Time | None = None
    """When the newest attempt began."""
    deadlines: str | None = None
    """By status, a JSON object of seconds or times; see `engine.domain.deadlines`."""
    deadline_at: Time | None = None
    """When the job's time in its status runs out."""
    retry_at: Time | None = None
    """The job is not claimed before this time."""
    prompt: str | None = None
    """The open question, a JSON object; see `engine.owner.prompts`."""
    answers: str | None = None
    """The answers so far, a JSON object by the names of the prompts."""
    cancel_reason: str | None = None
    """The reason of a request to cancel the job; None without a request."""
    result_form: Literal["json"] | None = None
    """``json`` for a result that is JSON; None for a text, and without a result."""
    trace: str | None = None
    """The trace context of the submitter, a JSON object; see `engine.domain.trace_context`."""
    deaths: Number | None = None
    """How many deaths count against the job; None for none. See `engine.domain.deaths`."""
    died_attempt: Number | None = None
    """The attempt whose engine died, while that makes the job a suspect; None otherwise."""
    deadline_since: Time | None = None
    """When the time until ``deadline_at`` began; None for an absolute deadline."""
    retry_since: Time | None = None
    """When the time until ``retry_at`` began."""
    not_before: Time | None = None
    """The job is not claimed before this time, which the submitter has given."""
    last_error: str | None = None
    """The error of the newest attempt that failed or died."""
    cancelled_by: str | None = None
    """Who requested to cancel the job."""
    repeat_of: str | None = None
    """The id of the job that this one repeats."""
    repeated_by: str | None = None
    """The id of the job that repeats this one."""

    @property
    def characters(self) -> int:
        """How many characters its texts have."""
        texts = (self.deadlines, self.token, self.prompt, self.answers, self.cancel_reason)
        return sum(map(len, filter(None, (*texts, self.trace, self.last_error))))

    def entering(self, deadline: Due, retry: Due = NEVER) -> Execution:
        """Return it for a job that enters a status: without an attempt, with a new deadline.

        Args:
            deadline: When its time there runs out.
            retry: When the job may be claimed; by default at once.
        """
        return replace(
            self,
            deadline_at=deadline.at,
            deadline_since=deadline.since,
            token=None,
            retry_at=retry.at,
            retry_since=retry.since,
            prompt=None,
            result_form=None,
            died_attempt=None,
        )

    def ended(self) -> Execution:
        """Return it for a job that has ended: nothing holds it, is awaited, or becomes due."""
        return replace(self.entering(NEVER), result_form=self.result_form)

    def claimed(self, token: str, now: datetime) -> Execution:
        """Return it for a new attempt."""
        return replace(
            self,
            attempt=self.attempt + 1,
            token=token,
            claimed_at=now,
            retry_at=None,
            retry_since=None,
        )

    def released(self, retry: Due) -> Execution:
        """Return it for a job that is still running when its attempt has ended."""
        return replace(
            self,
            token=None,
            retry_at=retry.at,
            retry_since=retry.since,
            died_attempt=None,
        )

    def fresh(self) -> Execution:
        """Return it without the failures and deaths that count against the job."""
        if not self.failures and not self.deaths:
            return self
        return replace(self, failures=0, deaths=None)

    def suspected(self, retry: Due, *, deaths: int) -> Execution:
        """Return it for a job whose attempt died with its engine."""
        return replace(
            self,
            token=None,
            retry_at=retry.at,
            retry_since=retry.since,
            deaths=deaths or None,
            died_attempt=self.attempt,
        )

    def asking(self, prompt: str, deadline: Due) -> Execution:
        """Return it with an open question, and the deadline of an answer."""
        return replace(self.due(deadline), prompt=prompt)

    def extended(self, deadlines: str | None) -> Execution:
        """Return it with other deadlines, in their stored form."""
        return replace(self, deadlines=deadlines)

    def due(self, deadline: Due) -> Execution:
        """Return it with another limit of the job's time in its present status."""
        return replace(self, deadline_at=deadline.at, deadline_since=deadline.since)

    def repeated(self, job_id: str) -> Execution:
        """Return it for a job that another one repeats."""
        return replace(self, repeated_by=job_id)

    def deadline(self) -> Due:
        """Return when the job's time in its status runs out."""
        return Due(self.deadline_at, self.deadline_since)

    def retry(self) -> Due:
        """Return when the job may be claimed again."""
        return Due(self.retry_at, self.retry_since)

    def began_after(self, now: datetime) -> bool:
        """Return whether a relative time began in the future: then the clock was set back."""
        since = (self.deadline_since, self.retry_since)
        return any(each is not None and each > now for each in since)

    def set_back(self, now: datetime) -> Execution:
        """Return it with its relative times begun anew if they began in the future."""
        deadline = self.deadline().kept(now)
        retry = self.retry().kept(now)
        if retry.at is not None:
            retry = retry.no_earlier_than(self.not_before)
        return replace(
            self,
            deadline_at=deadline.at,
            deadline_since=deadline.since,
            retry_at=retry.at,
            retry_since=retry.since,
        )

    def failed(self, attempt: AttemptRecord) -> Execution:
        """Return it with a failure or a death that counts against the job."""
        died = attempt.outcome == "died"
        return replace(
            self,
            failures=self.failures + (not died),
            deaths=(self.deaths or 0) + died or None,
            last_error=attempt.error,
        )

    def with_last_error(self, error: str) -> Execution:
        """Return it with the error of an attempt that does not count against the job."""
        return replace(self, last_error=error)

    def answered(self, answers: str) -> Execution:
        """Return it with these answers."""
        return replace(self, answers=answers)

    def with_result(self, form: str) -> Execution:
        """Return it for a job that ends with a result of this form."""
        return replace(self, result_form=form)

    def to_be_cancelled(self, reason: str, by: str | None) -> Execution:
        """Return it with a request to cancel the job."""
        return replace(self, cancel_reason=reason, cancelled_by=by)


NO_EXECUTION: Final = Execution()

DEAD: Final = "dead "
"""How a token begins once the engine of its attempt has died, in a shared storage."""


def dead_token(count: int) -> str:
    """Return the token that an attempt has in a shared storage once its engine has died.

    Args:
        count: How many attempts of the engine died with it.
    """
    return f"{DEAD}{count}"


def died_with(token: str) -> int | None:
    """Return how many attempts died with the engine of a dead one; None for a living attempt."""
    return int(token.removeprefix(DEAD)) if token.startswith(DEAD) else None


class Origin(Struct, frozen=True, gc=False):
    """The jobs that a job stems from. It never changes; most jobs have none."""

    parent_id: str | None = None
    """The id of the job whose follow-up it is."""
    parent_version: Number | None = None
    """The version of the parent at the transition that it follows."""
    root_id: str | None = None
    """The id of the first parent: that of the job which is no follow-up itself."""
    first_id: str | None = None
    """The id of the first job in a row of repeats, of which this one is no first."""

    @property
    def is_whole(self) -> bool:
        """Whether it has all of a parent, or nothing of one."""
        of_parent = (self.parent_id, self.parent_version, self.root_id)
        return None not in of_parent or of_parent == (None, None, None)


_DEFAULT: Final = "mock_bc_"
MAX_DEFAULT_IDENTIFIER_CHARACTERS: Final = len(_DEFAULT) + MAX_IDENTIFIER_CHARACTERS


def default_identifier(job_id: str) -> str:
    """Return the payment's name of a job that was created without one."""
    return f"{_DEFAULT}{job_id}"


def job_id_in(payment_id: str) -> str | None:
    """Return the id of the job that a default payment's name has in it; None for another name.

    The names of this form are reserved, whether there is such a job or not.
    """
    return payment_id.removeprefix(_DEFAULT) if payment_id.startswith(_DEFAULT) else None


class Record(Struct, frozen=True, gc=False):
    """A job as the engine keeps it."""

    job_id: str
    status: str
    """The enum member's value."""
    input_hash: str
    blockchain_identifier: str | None
    """None for the default, which has the job's id in it; see `identifier`."""
    created_at: Time
    """Aware, UTC, as are all times here."""
    updated_at: Time
    """Never before ``created_at``."""
    position: Number
    """1 for the first job of the engine; the order of a listing."""
    version: Number = 1
    """One more with each transition."""
    result: str | None = None
    error: str | None = None
    idempotency_key: str | None = None
    input: str | None = None
    """The handler's input, as JSON."""
    execution: Execution = NO_EXECUTION
    kind: str = DEFAULT_KIND
    """What sort of work it is, and so which handler."""
    labels: str | None = None
    """The submitter's labels, a JSON object of texts, sorted by name; None for none."""
    started_at: Time | None = None
    """When the job was running for the first time; None before."""
    outcome: str | None = None
    """The value of the job's `Outcome`, once it has ended."""
    sequence: Number = 0
    """The number of its newest transition. Not in the job's row: the history has it."""
    origin: Origin | None = None
    """The jobs that it stems from; None for a job that is neither a follow-up nor a repeat."""
    revision: Number = 0
    """How often its row was written in a shared storage, which compares it at the next write. 0 in
    a private storage, and for a job that is new."""

    @property
    def identifier(self) -> str:
        """The payment's name: the caller's, or the default."""
        return self.blockchain_identifier or default_identifier(self.job_id)

    @property
    def parent_id(self) -> str | None:
        """The id of the job whose follow-up it is; None for any other job."""
        return None if self.origin is None else self.origin.parent_id

    @property
    def root_id(self) -> str:
        """The id of the job that its follow-ups, and theirs, belong to: its own, or its root's."""
        return self.job_id if self.origin is None else self.origin.root_id or self.job_id

    @property
    def key(self) -> str:
        """Its id, or that of the first job in a row of repeats: the name of the work."""
        return self.job_id if self.origin is None else self.origin.first_id or self.job_id

    @property
    def characters(self) -> int:
        """How many characters its long texts have: all but its ids, its hash and its key."""
        characters = 0 if self.execution is NO_EXECUTION else self.execution.characters
        if self.result is not None:
            characters += len(self.result)
        if self.error is not None:
            characters += len(self.error)
        if self.input is not None:
            characters += len(self.input)
        if self.labels is not None:
            characters += len(self.labels)
        return characters

    def moved(
        self,
        status: str,
        now: datetime,
        sequence: int,
        *,
        starts: bool = False,
        outcome: str | None = None,
        result: str | None = None,
        error: str | None = None,
        execution: Execution = NO_EXECUTION,
    ) -> Record:
        """Return the record after a move. Its time never goes back, even if the clock does.

        Args:
            status: The next status.
            now: The time.
            sequence: The number of the transition.
            starts: Whether the status is the running one.
            outcome: That of a job that ends.
            result: The job's result from now on.
            error: The job's error from now on.
            execution: The job's execution from now on.
        """
        at = max(self.updated_at, now)
        return replace(
            self,
            status=status,
            updated_at=at,
            version=self.version + 1,
            result=result,
            error=error,
            execution=execution,
            started_at=at if starts and self.started_at is None else self.started_at,
            outcome=outcome,
            sequence=sequence,
        )

    def reopened(
        self, names: Mapping[str, str], outcomes: Mapping[str, str | None], running: str
    ) -> Record:
        """Return it under another lifecycle: with new names, and ended if its status is final.

        In a status that the lifecycle doesn't know, it has ended if it had.

        Args:
            names: The new names of statuses.
            outcomes: Each status, with the outcome of a job that has ended in it if nothing else
                says it; None for a status that is not final.
            running: The running status, in which a job has started.
        """
        status, execution = names.get(self.status, self.status), self.execution
        outcome = outcomes.get(status, self.outcome)
        is_final = outcome is not None
        if is_final:
            outcome = self.outcome or outcome
        if execution is not NO_EXECUTION:
            kept = renamed_deadlines(execution.deadlines, names)
            execution = replace(execution, deadlines=kept)
            if is_final:
                execution = execution.ended()
        started_at = self.started_at
        if started_at is None and status == running:
            started_at = self.updated_at
        return replace(
            self, status=status, outcome=outcome, started_at=started_at, execution=execution
        )

    def paid_by(self, payment_id: str) -> Record:
        """Return the record with the payment that it did not have, otherwise unchanged."""
        return replace(self, blockchain_identifier=payment_id)

    def with_execution(self, execution: Execution) -> Record:
        """Return the record with another execution, otherwise unchanged."""
        return replace(self, execution=execution)


class Act(Struct, frozen=True, gc=False):
    """Who made a transition, and why."""

    by: str | None = None
    reason: str | None = None


NO_ACT: Final = Act()


class AttemptRecord(NamedTuple):
    """An attempt that has failed or died, as a storage keeps it."""

    number: Number
    began_at: Time
    ended_at: Time
    """Never before ``began_at``. Of an attempt that died: when an engine noticed it."""
    outcome: Literal["failed", "died"]
    error: Annotated[str, Meta(max_length=MAX_LAST_ERROR_CHARACTERS)]


KEPT_ATTEMPTS: Final = 20
"""A storage keeps so many failed attempts of a job: the newest."""


class Change(Struct, frozen=True, gc=False):
    """One decided change, for a storage to commit.

    Most are transitions. A change without a sequence number is none: it changes only the job's
    execution or records its payment, does not change its status, version or updated_at, and leaves
    no line in the history.
    """

    sequence: int | None
    """The transition's number: 1 for the engine's first one, without gaps."""
    from_status: str | None
    """The status before; None when the job is created."""
    record: Record
    """The job after the change, with the new status, and the change's time as updated_at."""
    act: Act = NO_ACT
    """Who made the transition, and why."""
    failed_attempt: AttemptRecord | None = None
    """The attempt that the change ends, if it has failed or died."""
    is_payment: bool = False
    """It records the payment of a job that had none: ``blockchain_identifier`` was None. No other
    change of an existing job changes that."""
    is_compared: bool = False
    """It leaves the job as it is. A shared storage applies nothing of the batch if the job has
    another revision; a private one is given none of these."""


class Damaged(NamedTuple):
    """Stands for a record that a storage can't read."""

    job_id: str
    position: int
    problem: str

    @property
    def characters(self) -> int:
        """None of the job's own: they are not kept."""
        return 0


class Entry(NamedTuple):
    """One line of history, as a storage keeps it."""

    sequence: Number
    job_id: str
    from_status: str | None
    to_status: str
    at: Time
    by: Annotated[str, Meta(max_length=MAX_BY_CHARACTERS)] | None = None
    """Who made the transition; None if nobody said it."""
    reason: Annotated[str, Meta(max_length=MAX_REASON_CHARACTERS)] | None = None
    """Why; None if nobody said it."""


def newest_records(changes: Sequence[Change]) -> dict[str, Record]:
    """Return the newest record of each job that changes, by id."""
    return {change.record.job_id: change.record for change in changes}


def entries_of(changes: Sequence[Change]) -> list[Entry]:
    """Return the lines of history of changes: one for each transition."""
    return [
        Entry(
            change.sequence,
            change.record.job_id,
            change.from_status,
            change.record.status,
            change.record.updated_at,
            change.act.by,
            change.act.reason,
        )
        for change in changes
        if change.sequence is not None
    ]
