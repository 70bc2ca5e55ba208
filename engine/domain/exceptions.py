"""Every error that the engine raises, and nothing else.

::

    EngineError
    ├── JobNotFoundError (LookupError)             no job has this id
    ├── InvalidStateTransitionError (ValueError)   the lifecycle has no such move
    ├── VersionConflictError                       the job has changed since it was read
    ├── JobClaimedError                            an attempt has the job: only it may move it on
    ├── StaleAttemptError                          the attempt has the job no more
    ├── StalePromptError                           the job does not wait for this answer any more
    ├── JobEndedError                              the job has ended, and can't be cancelled
    ├── JobFailedError                             the job has failed, and has no result
    ├── AttemptTimeoutError (TimeoutError)         an attempt took too long; it has failed
    ├── IdempotencyConflictError                   the key belongs to a job with other content
    ├── DuplicateJobIdError                        the id source gave an id that is taken
    ├── InvalidValueError (ValueError)             an argument is of the wrong type, size or form
    ├── LifecycleError (ValueError)                a table of moves that can't work
    ├── OverloadedError                            too many calls are waiting; not applied
    ├── StorageError (OSError)                     the storage refused; not applied
    │   ├── StorageInUseError                      another engine has it
    │   ├── StorageFullError                       there is no room left
    │   ├── StorageReadOnlyError                   it may be read, and not be written
    │   ├── StorageFormatError                     it is something else, or of a newer version
    │   └── StorageDamagedError                    what it holds is broken
    │       └── JobDamagedError                    one job is; the others are not affected
    ├── CallTimeoutError (TimeoutError)            a read was not answered in time
    │   └── WriteTimeoutError                      a write was not: also an OutcomeUnknownError
    ├── OutcomeUnknownError                        the change may have been applied, or not
    │   ├── WriteTimeoutError
    │   ├── CommitUnknownError                     the storage failed in the commit, and can't tell
    │   └── CommitCrashedError
    └── EngineUnavailableError (RuntimeError)      this engine can't be called; not applied
        ├── EngineNotStartedError                  before ``async with``
        ├── EngineStartedError                    started for a second time
        ├── EngineClosedError                      after the end of ``async with``, or ``close()``
        ├── EngineForkedError                      in a child of the process that started it
        ├── WrongLoopError                        from a thread or event loop that must not call it
        └── EngineCrashedError                     the owner met a bug; ``__cause__`` is the bug
            └── CommitCrashedError                 in a commit: also an OutcomeUnknownError

"Not applied" and "outcome unknown" are different errors: ``except OutcomeUnknownError`` catches
just the calls after which the job has to be read again. Everything else changed nothing.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, Self, TypeVar

AnyError = TypeVar("AnyError", bound="EngineError")

_SHOWN_CHARACTERS = 80


def shown(value: object) -> str:
    """Return ``repr(value)``, cut to 80 characters, for a message that a person reads.

    A long text is cut before it is quoted and a container is only measured, so that refusing 1 GB
    costs nothing.
    """
    if isinstance(value, str | bytes) and len(value) > _SHOWN_CHARACTERS:
        return f"{value[:_SHOWN_CHARACTERS]!r}… ({len(value)} long)"
    try:
        if isinstance(value, Sized) and not isinstance(value, str | bytes):
            return f"<{type(value).__name__} of {len(value)} items>"
        text = repr(value)
    except Exception:  # noqa: BLE001 - a broken __repr__ must not hide the error that is being told
        return f"<{type(value).__name__} without a repr>"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


class EngineError(Exception):
    """The root of every error of the engine.

    Attributes:
        item: Which item of a bulk call was wrong, counted from 0; None outside bulk calls.
    """

    item: int | None = None

    def __str__(self) -> str:
        """Return the message, with the number of the wrong item in front of it in a bulk call."""
        message = super().__str__()
        return message if self.item is None else f"item {self.item}: {message}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Let errors be pickled, although each builds its own message."""
        return _rebuild, (type(self), self.args, self.__dict__)

    def __copy__(self) -> Self:
        """Return the same error for another caller, with the same cause."""
        twin = _rebuild(type(self), self.args, self.__dict__)
        twin.__cause__ = self.__cause__
        return twin


def _rebuild(kind: type[AnyError], args: tuple[Any, ...], state: dict[str, Any]) -> AnyError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class JobNotFoundError(EngineError, LookupError):
    """No job has this id.

    Attributes:
        job_id: The id as it was given.
    """

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job with the id {shown(job_id)}")
        self.job_id = job_id


class InvalidStateTransitionError(EngineError, ValueError):
    """The lifecycle has no such move. The job is as it was.

    Attributes:
        from_state: The status that the job has, as a plain string.
        to_state: The status that was asked for, as a plain string; or the event that can't happen
            there, such as ``cancel``.
        allowed: The statuses that the job may move to from here; empty if it has ended.
        job_id: The job, or None where no job was involved (``validate_transition``).
    """

    def __init__(
        self,
        from_state: str,
        to_state: str,
        allowed: tuple[str, ...] = (),
        job_id: str | None = None,
        why: str | None = None,
    ) -> None:
        whose = "a job" if job_id is None else f"job {shown(job_id)}"
        if why is None:
            ways = f"it may move to {' or '.join(allowed)}" if allowed else "that status is final"
            super().__init__(f"{whose} can't move from {from_state} to {to_state}: {ways}")
        else:
            super().__init__(f"{whose} in {from_state} {why}")
        self.from_state = from_state
        self.to_state = to_state
        self.allowed = allowed
        self.job_id = job_id


class VersionConflictError(EngineError):
    """The job has changed since the caller read it. Nothing was applied; read it again.

    Attributes:
        job_id: The job.
        expected_version: What the caller passed.
        actual_version: What the job has.
    """

    def __init__(self, job_id: str, expected_version: int, actual_version: int) -> None:
        super().__init__(
            f"job {shown(job_id)} is at version {actual_version}, not {expected_version}: "
            "read it again and decide anew"
        )
        self.job_id = job_id
        self.expected_version = expected_version
        self.actual_version = actual_version


class JobClaimedError(EngineError):
    """An attempt of a handler has the job: only that attempt may move it on, or its deadline.

    Attributes:
        job_id: The job.
        attempt: The number of the attempt.
    """

    def __init__(self, job_id: str, attempt: int) -> None:
        super().__init__(
            f"attempt {attempt} has job {shown(job_id)}, and alone may move it on: "
            "`cancel` asks it to stop"
        )
        self.job_id = job_id
        self.attempt = attempt


class StaleAttemptError(EngineError):
    """The attempt has the job no more: it was taken over, or has ended. Nothing was applied.

    Attributes:
        job_id: The job.
        attempt: The number of the job's newest attempt.
    """

    def __init__(self, job_id: str, attempt: int) -> None:
        super().__init__(
            f"job {shown(job_id)} belongs to this attempt no more: its newest one is {attempt}"
        )
        self.job_id = job_id
        self.attempt = attempt


class StalePromptError(EngineError):
    """The job does not wait for an answer to this prompt (any more). Nothing was applied.

    Attributes:
        job_id: The job.
        prompt_id: The prompt, as it was given.
        current: The prompt that it waits for; None when it waits for none.
    """

    def __init__(self, job_id: str, prompt_id: str, current: str | None) -> None:
        waits = "no prompt" if current is None else shown(current)
        super().__init__(
            f"job {shown(job_id)} waits for an answer to {waits}, and not (or no more) to "
            f"{shown(prompt_id)}"
        )
        self.job_id = job_id
        self.prompt_id = prompt_id
        self.current = current


class JobEndedError(EngineError):
    """The job has ended by itself, and can't be cancelled any more.

    Attributes:
        job_id: The job.
        status: The final status that it has, as a plain string.
    """

    def __init__(self, job_id: str, status: str) -> None:
        super().__init__(f"job {shown(job_id)} is {status} already, and can't be cancelled")
        self.job_id = job_id
        self.status = status


class JobFailedError(EngineError):
    """The job has failed, and so has no result.

    Attributes:
        job_id: The job.
        status: The final status that it has, as a plain string.
        error: Why, as the job says.
    """

    def __init__(self, job_id: str, status: str, error: str | None) -> None:
        super().__init__(f"job {shown(job_id)} is {status}: {error or 'no error was given'}")
        self.job_id = job_id
        self.status = status
        self.error = error


class AttemptTimeoutError(EngineError, TimeoutError):
    """An attempt took longer than its worker allows, and so has failed.

    Nobody is raised it: the job shows it if no other attempt follows.

    Attributes:
        timeout_seconds: The limit.
    """

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__(f"the attempt took more than {timeout_seconds:g} s")
        self.timeout_seconds = timeout_seconds


class IdempotencyConflictError(EngineError):
    """The idempotency key belongs to a job with other content. Nothing was created.

    Attributes:
        idempotency_key: The key.
        job_id: The job that has it.
        field: The field that differs.
    """

    def __init__(self, idempotency_key: str, job_id: str, field: str) -> None:
        super().__init__(
            f"the idempotency key {shown(idempotency_key)} belongs to job {shown(job_id)}, whose "
            f"{field} differs: use one key for one request"
        )
        self.idempotency_key = idempotency_key
        self.job_id = job_id
        self.field = field


class DuplicateJobIdError(EngineError):
    """The id source gave an id that a job has already. Nothing was created.

    Attributes:
        job_id: The id.
    """

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the id source gave {shown(job_id)}, which a job has already")
        self.job_id = job_id


class InvalidValueError(EngineError, ValueError):
    """An argument is of the wrong type, size or form, or names too much. Nothing was applied.

    Attributes:
        field: The argument.
        problem: What is wrong with it, and what is accepted.
    """

    retryable = False  # a handler that tries it again gets the same

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


class LifecycleError(EngineError, ValueError):
    """A table of moves that can't work: the message names the status and the rule."""

    retryable = False


class OverloadedError(EngineError):
    """Too many calls are waiting already. Nothing was applied: try again later, or slow down.

    Attributes:
        waiting: How many jobs the waiting calls name.
        limit: How many may wait, ``max_waiting`` of the engine.
    """

    def __init__(self, waiting: int, limit: int) -> None:
        super().__init__(
            f"messages about {waiting} jobs wait, and the limit is {limit}: try again later"
        )
        self.waiting = waiting
        self.limit = limit


class StorageError(EngineError, OSError):
    """The storage refused, and nothing of the batch was applied. Reads go on.

    Storages raise it from the operating system's or the database's own error.
    """


class StorageInUseError(StorageError):
    """Another engine has the storage open: the message names it. Close that one first.

    Attributes:
        storage: The storage, such as the path of its file.
        holder: Who has it, as far as is known: process id, host, since when.
    """

    def __init__(self, storage: str, holder: str) -> None:
        super().__init__(f"{storage} is in use by another engine: {holder}")
        self.storage = storage
        self.holder = holder


class StorageFullError(StorageError):
    """There is no room for the batch. Reads go on, and so do writes as soon as there is room."""


class StorageReadOnlyError(StorageError):
    """The storage may be read but not be written."""


class StorageFormatError(StorageError):
    """It is something else than a storage of ours, or of a newer version. It was left as it is."""


class StorageDamagedError(StorageError):
    """What the storage holds is broken. ``python -m engine check`` says where."""


class JobDamagedError(StorageDamagedError):
    """What is stored of this job is broken: it is not shown. Other jobs are not affected.

    Attributes:
        job_id: The job.
        problem: What is wrong.
    """

    def __init__(self, job_id: str, problem: str) -> None:
        super().__init__(f"job {shown(job_id)} is damaged: {problem}")
        self.job_id = job_id
        self.problem = problem


class CallTimeoutError(EngineError, TimeoutError):
    """A blocking read was not answered within its timeout.

    Attributes:
        timeout: The limit, in seconds.
    """

    def __init__(self, timeout: float) -> None:
        super().__init__(f"no answer within {timeout:g} s{self._what_then}")
        self.timeout = timeout

    _what_then = ""


class OutcomeUnknownError(EngineError):
    """The change may have been applied, or not: read the job again before trying again.

    An ``idempotency_key`` makes it safe to repeat a create, an ``expected_version`` a transition.
    """


class WriteTimeoutError(CallTimeoutError, OutcomeUnknownError):
    """A blocking write was not answered within its timeout; it may be applied still."""

    _what_then = ": outcome unknown, the change may be applied still"


class CommitUnknownError(OutcomeUnknownError):
    """The storage failed while it committed this change, and can't be asked what became of it.

    It is asked again before anything else is written; until then every write is refused.
    ``__cause__`` is the storage's error.
    """

    def __init__(self, reason: StorageError) -> None:
        super().__init__(f"outcome unknown: {reason}")
        self.__cause__: BaseException | None = reason


_FORMS = {"engine": "JobEngine() as …", "worker": "Worker(…) as …"}


class EngineUnavailableError(EngineError, RuntimeError):
    """This engine can't be called. Nothing was applied, but for a `CommitCrashedError`."""


class EngineNotStartedError(EngineUnavailableError):
    """The engine was called before it was started."""

    def __init__(self, what: str = "engine") -> None:
        super().__init__(f"the {what} has not started: use it inside `async with {_FORMS[what]}`")


class EngineStartedError(EngineUnavailableError):
    """The engine was started before; an engine is started once."""

    def __init__(self, what: str = "engine") -> None:
        super().__init__(f"the {what} was started before: make a new one")


class EngineClosedError(EngineUnavailableError):
    """The engine was called after it was closed, or was closed before it came to the call."""

    def __init__(self) -> None:
        super().__init__("the engine is closed: nothing was applied")


class EngineForkedError(EngineUnavailableError):
    """The engine belongs to the process that this one was forked from."""

    def __init__(self) -> None:
        super().__init__(
            "this process was forked after the engine started, and has no copy of its event loop: "
            "make a new engine in the child"
        )


class WrongLoopError(EngineUnavailableError):
    """The call came from a thread or an event loop that must not make it."""


class EngineCrashedError(EngineUnavailableError):
    """The owner met a bug and stopped; every pending and later call is told.

    ``__cause__`` is the exception that stopped it. What was acknowledged is not affected.
    """

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"the engine crashed: {type(cause).__name__}: {cause}{self._what_then}")
        self.__cause__: BaseException | None = cause

    _what_then = "; this call was not applied"


class CommitCrashedError(EngineCrashedError, OutcomeUnknownError):
    """The owner crashed while it committed the batch that holds this change."""

    _what_then = "; it was committing this change, whose outcome is unknown"
