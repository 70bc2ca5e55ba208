"""What callers see: statuses, jobs, history entries, pages, statistics; and the default lifecycle.

`Job` is a snapshot: frozen, and never changed by the engine. A change makes a new one with a higher
``version``. It is generic in its status: `Job` alone means the default lifecycle's `JobStatus`, and
an engine with a lifecycle of the user's own gives ``Job[MyStatus]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import Annotated, Any, ClassVar, Generic

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from typing_extensions import TypeVar

from engine.domain.lifecycle import Lifecycle


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
    hint="in AGENT_JOB_LIFECYCLE unpaid jobs can expire and be cancelled, and handlers can ask",
)
"""The default: a job waits for its payment, runs, and completes or fails."""


class AgentJobStatus(StrEnum):
    """The statuses of `AGENT_JOB_LIFECYCLE`."""

    AWAITING_PAYMENT = "awaiting_payment"
    AWAITING_INPUT = "awaiting_input"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


AGENT_JOB_LIFECYCLE: Lifecycle[AgentJobStatus] = Lifecycle(
    AgentJobStatus,
    {
        AgentJobStatus.AWAITING_PAYMENT: {AgentJobStatus.RUNNING, AgentJobStatus.FAILED},
        AgentJobStatus.AWAITING_INPUT: {AgentJobStatus.RUNNING, AgentJobStatus.FAILED},
        AgentJobStatus.RUNNING: {
            AgentJobStatus.AWAITING_INPUT,
            AgentJobStatus.COMPLETED,
            AgentJobStatus.FAILED,
        },
        AgentJobStatus.COMPLETED: set(),
        AgentJobStatus.FAILED: set(),
    },
    initial=AgentJobStatus.AWAITING_PAYMENT,
    running=AgentJobStatus.RUNNING,
    success={AgentJobStatus.COMPLETED},
    failure={AgentJobStatus.FAILED},
    awaiting_input=AgentJobStatus.AWAITING_INPUT,
)
"""For agent services: a running job may stop to ask its user, and whatever waits may fail, because
it expired or was cancelled."""


def validate_transition(current: JobStatus, target: JobStatus) -> None:
    """Check a move in the default lifecycle; `Lifecycle.validate` checks it in any other.

    Raises:
        InvalidStateTransitionError: ``LEGAL_TRANSITIONS`` has no such move.
        InvalidValueError: One of the two is no `JobStatus`.
    """
    PAID_JOB_LIFECYCLE.validate(current, target)


Status = TypeVar("Status", bound=Enum, default=JobStatus)

UtcDatetime = Annotated[AwareDatetime, AfterValidator(lambda value: value.astimezone(UTC))]


class _Snapshot(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    def __reduce__(self) -> tuple[Any, ...]:
        """Let snapshots be pickled: pickle can't find a class such as ``Job[MyStatus]`` by name."""
        generic = type(self).__pydantic_generic_metadata__
        return _unpickle, (generic["origin"] or type(self), generic["args"], self.__getstate__())


def _unpickle(kind: Any, args: tuple[Any, ...], state: dict[Any, Any]) -> object:  # noqa: ANN401
    snapshot = object.__new__(kind[args] if args else kind)
    snapshot.__setstate__(state)
    return snapshot


class Prompt(_Snapshot):
    """What a job waits to be told; `provide_input` answers it."""

    prompt_id: str
    """Used once: an answer to it is taken once, and never after the next prompt."""
    name: str
    """The handler's name for it; the same handler asks for several by different names."""
    question: str | None
    json_schema: dict[str, Any]
    """What an answer has to look like: JSON Schema, draft 2020-12."""


class Progress(_Snapshot):
    """How far a running job is, as its handler said last. Kept in memory alone."""

    job_id: str
    attempt: int
    done: float
    total: float | None = None
    note: str | None = None


class Job(_Snapshot, Generic[Status]):
    """One piece of work, as it was when the engine answered.

    Two snapshots are equal when all their fields are. To learn of later changes, `get` it again.
    """

    job_id: str
    """UUID7 text, unless the engine was given another id source."""
    status: Status
    input_hash: str
    """What the work is about: any text of 1 to 256 characters, such as a SHA-256."""
    blockchain_identifier: str
    """The payment's name elsewhere; ``mock_bc_`` and the job's id by default."""
    created_at: UtcDatetime
    updated_at: UtcDatetime
    """When the job last changed; never before ``created_at``, however the clock jumps."""
    result: str | None = None
    """What a job that went well has to say. None until then."""
    error: str | None = None
    """Why a job failed. None until then."""
    version: int = Field(default=1, ge=1)
    """1 when the job is created, one more with each change: pass it as ``expected_version``."""
    idempotency_key: str | None = None
    input: Any = None
    """What its handler is given: any JSON value."""
    priority: int = 0
    """Of the jobs that are ready, those with a higher one are run first."""
    attempt: int = 0
    """The number of the newest attempt; 0 before the first."""
    next_attempt_at: UtcDatetime | None = None
    """When it is tried again, after an attempt that failed."""
    deadline_at: UtcDatetime | None = None
    """When its time in this status runs out."""
    prompt: Prompt | None = None
    """What it waits to be told."""
    cancel_reason: str | None = None
    """Why somebody asked for it to be cancelled; it may have ended otherwise nevertheless."""
    progress: Progress | None = None
    """How far its handler is; None when nothing was said, or after the process has ended."""


class Transition(_Snapshot, Generic[Status]):
    """One line of a job's history."""

    sequence: int = Field(ge=1)
    """The change's number among all of the engine's, counted from 1 without gaps."""
    job_id: str
    from_status: Status | None
    """None for the line that says that the job was created."""
    to_status: Status
    at: UtcDatetime


class JobPage(_Snapshot, Generic[Status]):
    """Some jobs in the order of their creation, and where the next ones are."""

    jobs: tuple[Job[Status], ...]
    next_cursor: str | None
    """Pass it as ``after`` to get the next page; None when there was nothing more."""
    damaged: tuple[str, ...] = ()
    """The ids of jobs that belong here and can't be shown; `get` says what is wrong with each."""


class Statistics(_Snapshot, Generic[Status]):
    """What an engine holds and has done since it started."""

    jobs: dict[Status, int]
    """How many jobs have each status; every status of the lifecycle is there."""
    last_sequence: int
    """The number of the newest change; 0 when there was none."""
    answered: int
    """Messages answered, errors included."""
    refused: int
    """Messages refused because too many were waiting."""
    batches: int
    """Batches decided; ``answered / batches`` is the mean size of a batch."""
    largest_batch: int
    """The most messages that one batch held."""
    queued: int
    """How many jobs are named by the calls that wait to be decided."""
    removed: int
    """How many ended jobs were removed by the rule of retention."""
    ready: int
    """Jobs in the running status that nobody works on, and that may be claimed now."""
    running: int
    """Jobs that an attempt has."""
    waiting: int
    """All other jobs that have not ended: for a gate, an answer, or the time of a next attempt."""
    attempts: int
    """Attempts begun."""
    retried: int
    """Attempts that failed and are followed by another one."""
    expired: int
    """Jobs that a deadline moved on."""
    watchers: int
    """How many listen to what happens: who waits or watches, and workers, gates and hooks."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """One item of `create_many`; the fields are the arguments of `create`."""

    input_hash: str
    blockchain_identifier: str | None = None
    idempotency_key: str | None = None
    input: Any = None
    priority: int = 0
    deadlines: Mapping[Any, timedelta | datetime] | None = None


@dataclass(frozen=True, slots=True)
class Move(Generic[Status]):
    """One item of `transition_many`; the fields are the arguments of `transition`."""

    job_id: str
    target: Status
    result: str | None = None
    error: str | None = None
    expected_version: int | None = None
    attempt_token: str | None = None
