"""The models that callers see: jobs, transitions, pages, statistics; and the default lifecycle.

A `Job` is a frozen snapshot. The engine never changes one: a change of the job makes a new snapshot
with a higher ``version``. `Job` is generic in its status: `Job` alone has the `JobStatus` of the
default lifecycle, and an engine with your own lifecycle returns ``Job[MyStatus]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Annotated, Any, Generic, Literal, Self

from msgspec import Struct
from pydantic import Field, computed_field, model_validator
from typing_extensions import TypeVar

from engine.domain.epochs import Cursor
from engine.domain.json_text import value_of
from engine.domain.labels import DEFAULT_KIND, KIND_FORM
from engine.domain.lifecycle import Lifecycle
from engine.domain.outcomes import Outcome
from engine.domain.past_status import MemberFirst, PastStatus
from engine.domain.snapshot import Snapshot, UtcDatetime
from engine.domain.validation import MAX_IDENTIFIER_CHARACTERS


class JobStatus(StrEnum):
    """The statuses of the default lifecycle."""

    AWAITING_PAYMENT = "awaiting_payment"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


LEGAL_TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.AWAITING_PAYMENT: frozenset({JobStatus.RUNNING}),
    JobStatus.RUNNING: frozenset({JobStatus.COMPLETED, JobStatus.FAILED}),
    JobStatus.COMPLETED: frozenset(),
    JobStatus.FAILED: frozenset(),
}

PAID_JOB_LIFECYCLE: Lifecycle[JobStatus] = Lifecycle(
    JobStatus,
    LEGAL_TRANSITIONS,
    initial=JobStatus.AWAITING_PAYMENT,
    running=JobStatus.RUNNING,
    success={JobStatus.COMPLETED},
    failure={JobStatus.FAILED},
    hint="use ORDER_LIFECYCLE, whose unpaid jobs may expire and be cancelled, whose running jobs "
    "may ask, and whose failed ones may be retried; AGENT_JOB_LIFECYCLE has all but the retry",
)
"""The default: a job waits for its payment, runs, and completes or fails."""


def validate_transition(current: JobStatus, target: JobStatus) -> None:
    """Check a move of the default lifecycle; `Lifecycle.validate` checks those of any other.

    Raises:
        InvalidStateTransitionError: ``LEGAL_TRANSITIONS`` has no such move.
        InvalidValueError: One of the two is not a `JobStatus`.
    """
    PAID_JOB_LIFECYCLE.validate(current, target)


Status = TypeVar("Status", bound=Enum, default=JobStatus)


class Prompt(Snapshot):
    """A question of a job's handler. The job waits until `provide_input` answers it."""

    prompt_id: str
    """Names this one prompt: it is answered once, and not after the job's next prompt."""
    name: str
    """The handler's name for the prompt; a handler with several gives each its own."""
    question: str | None
    """A text for the person who answers."""
    json_schema: dict[str, Any]
    """The form of a valid answer: JSON Schema, draft 2020-12."""
    refusal: str | None = None
    """Why the handler's own type refused the answer before: up to 1,024 characters. That answer
    had fitted the JSON Schema. None if the question is new."""


class Progress(Snapshot):
    """The last progress report of a running job's handler. Kept in memory only."""

    job_id: str
    attempt: int
    """The number of the attempt that reports."""
    done: float
    """The part that is done, in the handler's own unit."""
    total: float | None = None
    """The whole, in the same unit; None if the handler doesn't know it."""
    note: str | None = None


class Job(Snapshot, Generic[Status]):
    """A job, as it was when the engine answered.

    Two snapshots are equal when all their fields are equal. `get` the job again to see later
    changes.

    A dump has all fields and `value`, so that a ``model_dump(mode="json")`` is a JSON response as
    it is. ``Job.model_validate`` reads a dump back; it leaves `value` out, which follows from
    `result`.
    """

    job_id: str
    """A UUID7 as text, unless the engine has another id source."""
    status: Status
    input_hash: str
    """Names the input: any text of 1 to 256 characters, such as a SHA-256."""
    blockchain_identifier: str
    """The payment's name elsewhere; ``mock_bc_`` and the job's id by default."""
    payment_id: str | None = None
    """The same; None if no payment was given."""
    kind: str = DEFAULT_KIND
    """What sort of work it is, and so which handler runs it."""
    labels: dict[str, str] = Field(default_factory=dict)
    """The submitter's labels."""
    created_at: UtcDatetime
    updated_at: UtcDatetime
    """The time of the last change; never before ``created_at``, even if the clock jumps back."""
    started_at: UtcDatetime | None = None
    """The time at which the job was running for the first time; None before."""
    outcome: Outcome | None = None
    """The way in which the job has ended; None until then."""
    sequence: int = Field(default=0, ge=0)
    """The number of its newest transition: watch ``after`` it, and nothing is missed."""
    result: str | None = None
    """The result of a success: a text, or JSON as `result_form` says. None until then."""
    error: str | None = None
    """The reason of a failure. None until then."""
    version: int = Field(default=1, ge=1)
    """1 for a new job, plus 1 with each transition: pass it as ``expected_version``. An attempt
    that is retried leaves it, and so does another deadline."""
    idempotency_key: str | None = None
    """The key under which a repeated `create` returns this job."""
    input: Any = None
    """The handler's input: any JSON value."""
    priority: int = 0
    """Ready jobs with a higher priority run first."""
    attempt: int = 0
    """The number of the newest attempt; 0 before the first."""
    next_attempt_at: UtcDatetime | None = None
    """The time of the next attempt, after a failed one that is retried, or by ``not_before``."""
    not_before: UtcDatetime | None = None
    """The submitter's earliest time of an attempt."""
    claimed_at: UtcDatetime | None = None
    """The time at which the newest attempt began; None before the first."""
    last_error: str | None = None
    """The error of the newest attempt that failed or died: up to 4,000 characters."""
    failures: int = 0
    """The number of failed attempts that count against the job: the last one, too.

    `JobEngine.retry`, or a move back from the lifecycle's ``exhausted_to`` to running, begins anew.
    """
    deaths: int = 0
    """The number of deaths of a process that count against the job, as for ``failures``."""
    deadline_at: UtcDatetime | None = None
    """The deadline of the current status."""
    deadlines: dict[str, timedelta | datetime] = Field(default_factory=dict)
    """The submitter's deadlines, by the value of the status; also after they are met."""
    prompt: Prompt | None = None
    """The prompt that the job waits for."""
    cancel_reason: str | None = None
    """The reason given to `cancel`, empty without one; None if nobody has cancelled the job. It may
    have ended in another way before that took effect."""
    repeat_of: str | None = None
    """The id of the job that this one repeats."""
    repeated_by: str | None = None
    """The id of the job that repeats this one."""
    parent_id: str | None = None
    """The id of the job whose follow-up this is; None for any other job."""
    parent_version: int | None = None
    """The parent's version at the transition that this follows: the number of its line in the
    parent's history, counted from 1."""
    result_form: Literal["json"] | None = None
    """``json`` if the handler returned anything but a text, and `result` is JSON."""
    trace: dict[str, str] | None = None
    """The trace context of the submitter: ``traceparent``, and ``tracestate`` if it has one."""
    progress: Progress | None = None
    """The newest progress report; None if there was none, or since the process restarted."""

    @computed_field(repr=False)  # type: ignore[prop-decorator]
    @property
    def value(self) -> Any:  # noqa: ANN401 - any JSON value
        """The result as the handler returned it: a JSON value, a text, or None.

        Read from `result` each time; the result of a model is its fields as JSON has them, and
        `JobEngine.result` reads it as the model.
        """
        return value_of(self.result) if self.result_form == "json" else self.result

    @model_validator(mode="before")
    @classmethod
    def _without_value(cls, given: Any) -> Any:  # noqa: ANN401 - anything to be validated
        if isinstance(given, dict) and "value" in given:
            return {name: each for name, each in given.items() if name != "value"}
        return given

    def __hash__(self) -> int:
        """Hash a job by its id and version: an input may be a dict, which has no hash."""
        return hash((self.job_id, self.version))


class Transition(Snapshot, Generic[Status]):
    """A job's creation, or its move to another status. Together they are its history."""

    sequence: int = Field(ge=1)
    """The number among all transitions of the engine, counted from 1 without gaps."""
    job_id: str
    from_status: Annotated[Status | PastStatus, MemberFirst()] | None
    """The status before; None for the creation."""
    to_status: Annotated[Status | PastStatus, MemberFirst()]
    """Both are texts, as `PastStatus`, if the lifecycle doesn't have them any more."""
    at: UtcDatetime
    by: str | None = None
    """Who made it, as the caller says; ``deadline``, ``gate``, ``rule`` (of follow-ups) and
    ``worker …``, with the worker's host and process id, are the engine's own."""
    reason: str | None = None
    """Why, as the caller says."""
    epoch: str = Field(default="", repr=False)
    """Names the part of the history: an opened backup begins another one. Empty if its record in
    the file is damaged."""

    @property
    def cursor(self) -> str:
        """The epoch, if it is known, and the number: pass it to `watch` as ``after``."""
        return str(Cursor(self.sequence, self.epoch))


class Pause(Snapshot):
    """A kind whose jobs no engine claims, or a gate whose check none calls, until it is resumed."""

    kind: str | None = Field(default=None, pattern=KIND_FORM)
    """The kind; None of a gate."""
    gate: str | None = Field(default=None, min_length=1, max_length=MAX_IDENTIFIER_CHARACTERS)
    """The name of the gate; None of a kind."""
    at: UtcDatetime
    """Since when."""
    by: str | None = None
    """Who has paused it, as the caller says."""
    reason: str | None = None
    """Why, as the caller says."""

    @model_validator(mode="after")
    def _of_one(self) -> Self:
        if (self.kind is None) == (self.gate is None):
            raise ValueError("it is of a kind or of a gate")
        return self


class JobPage(Snapshot, Generic[Status]):
    """A page of jobs in the order of their creation, or the reverse, and a cursor to the next."""

    jobs: tuple[Job[Status], ...]
    next_cursor: str | None
    """Pass it as ``after`` to get the next page; None on the last one. A page may be empty, and
    have one."""
    damaged: tuple[str, ...] = ()
    """The ids of this page's damaged jobs, which can't be shown; `get` raises each fault."""


class Statistics(Snapshot, Generic[Status]):
    """The figures of an engine: its jobs now, and its counts since it started."""

    jobs: dict[Status, int]
    """The number of jobs in each status of the lifecycle."""
    last_sequence: int
    """The number of the newest transition; 0 before the first."""
    answered: int
    """Messages answered, errors included."""
    refused: int
    """Messages refused because too many were waiting."""
    batches: int
    """Batches decided; ``answered / batches`` is the mean size of a batch."""
    largest_batch: int
    """The most messages in one batch."""
    queued: int
    """Jobs named by the calls that wait for a decision."""
    removed: int
    """Ended jobs removed, by the retention rule and by `JobEngine.prune`."""
    ready: int
    """Jobs in the running status that a worker may claim now."""
    running: int
    """Jobs held by an attempt."""
    unhandled: int
    """Ready jobs whose kind no open worker has, of this engine or, over a database, of another."""
    paused: int
    """Jobs that would be ready, but for the pause of their kind."""
    draining: bool
    """Whether this engine claims no jobs, because an operator drains it."""
    waiting: int
    """All other live jobs: they wait for a gate, an answer, their next attempt's time, or, as
    suspects after a death of the process, for their turn."""
    strays: int
    """Jobs with a thread that runs on though its attempt has ended; they are not ready."""
    attempts: int
    """Attempts begun."""
    retried: int
    """Attempts that failed or died and are followed by another."""
    expired: int
    """Jobs moved by a deadline."""
    watchers: int
    """Listeners to events: waiting and watching calls, workers, gates and hooks."""


class _FirstOfNewJob(Struct, frozen=True):
    """The only field that may be given by its place."""

    input_hash: str | None = None


class NewJob(_FirstOfNewJob, frozen=True, kw_only=True):
    """An item of `create_many`; its fields are the arguments of `create`."""

    kind: str = DEFAULT_KIND
    input: Any = None
    payment_id: str | None = None
    idempotency_key: str | None = None
    start: bool = False
    not_before: timedelta | datetime | None = None
    labels: Mapping[str, str] | None = None
    priority: int = 0
    deadlines: Mapping[Any, timedelta | datetime] | None = None
    trace: Mapping[str, str] | None = None
    by: str | None = None
    reason: str | None = None
