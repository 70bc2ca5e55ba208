"""A durable, typed state machine for jobs that wait on money or people.

`JobEngine` is awaited from asyncio and trio; `SyncJobEngine` has the same calls for threads; a
`Worker` runs a handler for each job that may run, and a `Gate` polls for payments and the like.

The design, for readers of the code. One owner task holds the jobs and decides every message, so
that order comes from message passing and not from locks::

    caller ─▶ facade ─▶ inbox (bounded) ─▶ owner ─▶ answer ─▶ caller
                                            │  take a round: all that waits, capped
                                            │  decide each in order: pure code, no await, no I/O
                                            │  commit the changes in one storage transaction
                                            │  publish: dictionary, events
                                            └  answer

While one round is committed, the next one gathers: group commit comes free, without a timer. No
reader sees an uncommitted change. Known errors go to the caller; anything else is a bug, stops the
owner, and every caller gets it as the cause of an error.

Six floors, each of which imports only from those below; siblings leave each other alone:

* the edges: ``cli``, ``telemetry``, ``testing``, ``web``, ``webhooks``, ``repository``,
  ``services``
* running: ``_job_engine`` and ``_sync_job_engine``, the facades; ``worker``, ``gate``;
  below them ``control`` and ``operations``, for operators
* ``owner``: the owner, its inbox, one file for each command in ``owner/commands``, its state
* ``storage``: the protocol, records, the memory storage, ``sqlite``, ``postgres``
* ``portal``: the only place for threads, locks, signals, time and the event loops' own calls
* ``domain``: models, errors, lifecycles and other rules, pure

Public are the names in ``__all__``, and the modules `engine.domain.models`,
`engine.domain.exceptions`, `engine.repository.job_repo`, `engine.services.job_service`,
`engine.storage`, `engine.storage.postgres`, `engine.telemetry`, `engine.testing`, `engine.web`,
`engine.web.dashboard` and `engine.webhooks`. Everything else may change at any time.
"""

from engine._job_engine import JobEngine
from engine._sync_job_engine import SyncJobEngine
from engine.domain.audit_entry import AuditEntry
from engine.domain.exceptions import (
    AttemptConflictError,
    AttemptTimeoutError,
    CallTimeoutError,
    CommitCrashedError,
    CommitsLostError,
    CommitUnknownError,
    CursorExpiredError,
    DeadlineConflictError,
    DuplicateJobIdError,
    EngineClosedError,
    EngineCrashedError,
    EngineError,
    EngineForkedError,
    EngineNotStartedError,
    EngineStartedError,
    EngineUnavailableError,
    HandlerError,
    HandlerProcessError,
    IdempotencyConflictError,
    InvalidStateTransitionError,
    InvalidValueError,
    JobClaimedError,
    JobDamagedError,
    JobEndedError,
    JobFailedError,
    JobNotFoundError,
    KindInUseError,
    LeaseLostError,
    LifecycleError,
    NotRetryableError,
    OutcomeUnknownError,
    OverloadedError,
    PaymentConflictError,
    PaymentInUseError,
    StaleAttemptError,
    StalePromptError,
    StatusConflictError,
    StorageDamagedError,
    StorageError,
    StorageFormatError,
    StorageFullError,
    StorageInUseError,
    StorageReadOnlyError,
    UnknownCursorError,
    VersionConflictError,
    WriteTimeoutError,
    WrongLoopError,
)
from engine.domain.failed_attempt import FailedAttempt
from engine.domain.follow_ups import FOLLOW_UP_RETRY, FollowUp
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import (
    LEGAL_TRANSITIONS,
    PAID_JOB_LIFECYCLE,
    Job,
    JobPage,
    JobStatus,
    NewJob,
    Pause,
    Progress,
    Prompt,
    Statistics,
    Transition,
    validate_transition,
)
from engine.domain.moves import Move, Started
from engine.domain.outcomes import Outcome
from engine.domain.past_status import PastStatus
from engine.domain.ready_made import (
    AGENT_JOB_LIFECYCLE,
    ORDER_LIFECYCLE,
    AgentJobStatus,
    OrderStatus,
)
from engine.domain.retention import Retention
from engine.domain.retry import Retry
from engine.domain.version import __version__ as __version__
from engine.gate import Gate, GateCheck, WaitingJobs
from engine.storage import MemoryStorage, Storage
from engine.storage.sqlite import SQLiteStorage
from engine.worker import Context, Handler, HandlerFunction, Middleware, Processes, Worker

__all__ = [
    "AGENT_JOB_LIFECYCLE",
    "FOLLOW_UP_RETRY",
    "LEGAL_TRANSITIONS",
    "ORDER_LIFECYCLE",
    "PAID_JOB_LIFECYCLE",
    "AgentJobStatus",
    "AttemptConflictError",
    "AttemptTimeoutError",
    "AuditEntry",
    "CallTimeoutError",
    "CommitCrashedError",
    "CommitUnknownError",
    "CommitsLostError",
    "Context",
    "CursorExpiredError",
    "DeadlineConflictError",
    "DuplicateJobIdError",
    "EngineClosedError",
    "EngineCrashedError",
    "EngineError",
    "EngineForkedError",
    "EngineNotStartedError",
    "EngineStartedError",
    "EngineUnavailableError",
    "FailedAttempt",
    "FollowUp",
    "Gate",
    "GateCheck",
    "Handler",
    "HandlerError",
    "HandlerFunction",
    "HandlerProcessError",
    "IdempotencyConflictError",
    "InvalidStateTransitionError",
    "InvalidValueError",
    "Job",
    "JobClaimedError",
    "JobDamagedError",
    "JobEndedError",
    "JobEngine",
    "JobFailedError",
    "JobNotFoundError",
    "JobPage",
    "JobStatus",
    "KindInUseError",
    "LeaseLostError",
    "Lifecycle",
    "LifecycleError",
    "MemoryStorage",
    "Middleware",
    "Move",
    "NewJob",
    "NotRetryableError",
    "OrderStatus",
    "Outcome",
    "OutcomeUnknownError",
    "OverloadedError",
    "PastStatus",
    "Pause",
    "PaymentConflictError",
    "PaymentInUseError",
    "Processes",
    "Progress",
    "Prompt",
    "Retention",
    "Retry",
    "SQLiteStorage",
    "StaleAttemptError",
    "StalePromptError",
    "Started",
    "Statistics",
    "StatusConflictError",
    "Storage",
    "StorageDamagedError",
    "StorageError",
    "StorageFormatError",
    "StorageFullError",
    "StorageInUseError",
    "StorageReadOnlyError",
    "SyncJobEngine",
    "Transition",
    "UnknownCursorError",
    "VersionConflictError",
    "WaitingJobs",
    "Worker",
    "WriteTimeoutError",
    "WrongLoopError",
    "validate_transition",
]
