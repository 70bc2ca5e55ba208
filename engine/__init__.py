"""A durable, typed state machine for jobs that wait on money or people.

`JobEngine` is awaited from asyncio and trio; `SyncJobEngine` has the same calls for threads. Both
talk by messages to one owner task, which decides every change in one order, by a `Lifecycle`.
"""

from engine.domain.exceptions import (
    CallTimeoutError,
    CommitCrashedError,
    DuplicateJobIdError,
    EngineClosedError,
    EngineCrashedError,
    EngineError,
    EngineForkedError,
    EngineNotStartedError,
    EngineStartedError,
    EngineUnavailableError,
    IdempotencyConflictError,
    InvalidStateTransitionError,
    InvalidValueError,
    JobNotFoundError,
    LifecycleError,
    OutcomeUnknownError,
    OverloadedError,
    StorageError,
    VersionConflictError,
    WriteTimeoutError,
    WrongLoopError,
)
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import (
    AGENT_JOB_LIFECYCLE,
    LEGAL_TRANSITIONS,
    PAID_JOB_LIFECYCLE,
    AgentJobStatus,
    Job,
    JobPage,
    JobStatus,
    Move,
    NewJob,
    Statistics,
    Transition,
    validate_transition,
)
from engine.job_engine import JobEngine
from engine.storage import MemoryStorage, Storage
from engine.sync_job_engine import SyncJobEngine

__all__ = [
    "AGENT_JOB_LIFECYCLE",
    "LEGAL_TRANSITIONS",
    "PAID_JOB_LIFECYCLE",
    "AgentJobStatus",
    "CallTimeoutError",
    "CommitCrashedError",
    "DuplicateJobIdError",
    "EngineClosedError",
    "EngineCrashedError",
    "EngineError",
    "EngineForkedError",
    "EngineNotStartedError",
    "EngineStartedError",
    "EngineUnavailableError",
    "IdempotencyConflictError",
    "InvalidStateTransitionError",
    "InvalidValueError",
    "Job",
    "JobEngine",
    "JobNotFoundError",
    "JobPage",
    "JobStatus",
    "Lifecycle",
    "LifecycleError",
    "MemoryStorage",
    "Move",
    "NewJob",
    "OutcomeUnknownError",
    "OverloadedError",
    "Statistics",
    "Storage",
    "StorageError",
    "SyncJobEngine",
    "Transition",
    "VersionConflictError",
    "WriteTimeoutError",
    "WrongLoopError",
    "validate_transition",
]
