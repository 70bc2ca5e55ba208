"""Every error that the engine raises, and nothing else.

::

    EngineError
    ├── JobNotFoundError (LookupError)             no job has this id, or this payment
    ├── InvalidStateTransitionError (ValueError)   the lifecycle has no such move
    ├── VersionConflictError                       the job has changed since you read it
    ├── StatusConflictError                        the job isn't in the status that you expect
    ├── AttemptConflictError                       the job has been attempted since you read it
    ├── DeadlineConflictError                      the job has another deadline than you have read
    ├── JobClaimedError                            an attempt holds the job: only it may move it
    ├── StaleAttemptError                          the attempt no longer holds the job
    ├── StalePromptError                           the job has another prompt open, or none
    ├── JobEndedError                              the job has ended: too late to cancel or start
    ├── NotRetryableError                          no attempt of the job has failed, or it has ended
    ├── JobFailedError                             the job has failed and has no result
    ├── AttemptTimeoutError (TimeoutError)         an attempt took too long, and so has failed
    ├── HandlerProcessError                        a handler's process did not start, or died
    ├── HandlerError                               a handler raised an exception in its process
    ├── IdempotencyConflictError                   the key belongs to a job with other content
    ├── PaymentInUseError                          the payment pays for another job
    ├── KindInUseError                             another open worker has this kind of job
    ├── PaymentConflictError                       the job is paid for by another payment
    ├── DuplicateJobIdError                        the id source returned the id of another job
    ├── UnknownCursorError (LookupError)           no transition here is the one to start behind
    ├── CursorExpiredError (LookupError)           the retention rule removed transitions after it
    ├── InvalidValueError (ValueError)             an argument has the wrong type, size or form
    ├── LifecycleError (ValueError)                a table of moves that can't work
    ├── OverloadedError                            too many calls are waiting; not applied
    ├── StorageError (OSError)                     the storage refused; not applied
    │   ├── StorageInUseError                      another engine has it open
    │   ├── StorageFullError                       it has no room left
    │   ├── StorageReadOnlyError                   it can be read but not written
    │   ├── StorageFormatError                     no engine made it, or a newer version did
    │   ├── LeaseLostError                         the other engines take this one for dead
    │   └── StorageDamagedError                    its contents are broken
    │       ├── CommitsLostError                   a failover has lost what it acknowledged
    │       └── JobDamagedError                    one job is broken; the others are not
    ├── CallTimeoutError (TimeoutError)            a read was not answered in time
    │   └── WriteTimeoutError                      a write was not: also an OutcomeUnknownError
    ├── OutcomeUnknownError                        the change may have been applied, or not
    │   ├── WriteTimeoutError
    │   ├── CommitUnknownError                     the storage failed during the commit
    │   └── CommitCrashedError
    └── EngineUnavailableError (RuntimeError)      this engine can't be called; not applied
        ├── EngineNotStartedError                  before ``async with``
        ├── EngineStartedError                     started for a second time
        ├── EngineClosedError                      after the end of ``async with``, or ``close()``
        ├── EngineForkedError                      in a child of the process that started it
        ├── WrongLoopError                         from a thread or event loop that must not call it
        └── EngineCrashedError                     the engine met a bug; ``__cause__`` is the bug
            └── CommitCrashedError                 in a commit: also an OutcomeUnknownError

"Not applied" and "outcome unknown" are different errors. After an `OutcomeUnknownError` you have to
read again what the call was to change. After any other error nothing has changed.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any, Self, TypeVar, cast

from engine.domain.interrupts import must_pass
from engine.domain.outcomes import Outcome

AnyError = TypeVar("AnyError", bound="EngineError")

_SHOWN_CHARACTERS = 80


def shown(value: object) -> str:
    """Return ``repr(value)``, cut to 80 characters, for an error message.

    Cuts a long text before quoting it, and only measures a container: refusing 1 GB costs nothing.
    """
    if isinstance(value, str | bytes) and len(value) > _SHOWN_CHARACTERS:
        return f"{value[:_SHOWN_CHARACTERS]!r}… ({len(value)} long)"
    try:
        if isinstance(value, Sized) and not isinstance(value, str | bytes):
            return f"<{type(value).__name__} of {len(value)} items>"
        text = repr(value)
    except BaseException as broken:
        if must_pass(broken):
            raise
        # A broken __repr__ must not hide the error to be raised.
        return f"<{type(value).__name__} without a repr>"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def message_of(error: BaseException) -> str:
    """Return ``str(error)`` of an error that isn't the engine's, whatever its methods raise."""
    try:
        return str(error)
    except BaseException as broken:
        if must_pass(broken):
            raise
        # A broken __str__ must not hide the error, nor end more.
        return "an error without a message"


def alternatives(names: Sequence[str]) -> str:
    """Return names as in "a, b or c", for an error message."""
    *others, last = names or ("",)
    return f"{', '.join(others)} or {last}" if others else last


class EngineError(Exception):
    """The base of every error that the engine raises.

    Attributes:
        item: The number of the wrong item in a bulk call, counted from 0; None in other calls.
    """

    item: int | None = None

    def __str__(self) -> str:
        """Return the message; in a bulk call the number of the wrong item comes first."""
        message = super().__str__()
        return message if self.item is None else f"item {self.item}: {message}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the message as it is: each class builds it from other arguments."""
        return _rebuild, (type(self), self.args, self.__dict__)

    def __copy__(self) -> Self:
        """Return an equal error with the same cause, for another caller."""
        twin = _rebuild(type(self), self.args, self.__dict__)
        twin.__cause__ = self.__cause__
        return twin


def _rebuild(kind: type[AnyError], args: tuple[Any, ...], state: dict[str, Any]) -> AnyError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class JobNotFoundError(EngineError, LookupError):
    """No job has this name, or no longer: the retention rule removes ended jobs.

    Attributes:
        job_id: The id as given; None if the job was sought by another name.
        idempotency_key, payment_id: That name, as given.
    """

    def __init__(
        self,
        job_id: str | None,
        *,
        idempotency_key: str | None = None,
        payment_id: str | None = None,
    ) -> None:
        names = {"id": job_id, "idempotency key": idempotency_key, "payment": payment_id}
        [(sort, name)] = ((sort, name) for sort, name in names.items() if name is not None)
        super().__init__(f"no job has the {sort} {shown(name)}: it was removed, or never existed")
        self.job_id = job_id
        self.idempotency_key = idempotency_key
        self.payment_id = payment_id


class InvalidStateTransitionError(EngineError, ValueError):
    """The lifecycle does not allow this move. The job is unchanged.

    Attributes:
        from_state: The job's current status, as a plain string.
        to_state: The requested status, as a plain string; or an event that can't happen in the
            current one, such as ``cancel``.
        allowed: The statuses that the job may move to now; empty if it has ended.
        job_id: The job; None if the check was about no job (``validate_transition``).
    """

    def __init__(
        self,
        from_state: str,
        to_state: str,
        allowed: tuple[str, ...] = (),
        job_id: str | None = None,
        why: str | None = None,
        hint: str = "",
    ) -> None:
        whose = "a job" if job_id is None else f"job {shown(job_id)}"
        ways = f"it may move to {alternatives(allowed)}" if allowed else f"{from_state} is final"
        message = (
            f"{whose} can't move from {from_state} to {to_state}: {ways}"
            if why is None
            else f"{whose} in {from_state} {why}"
        )
        super().__init__(f"{message}; {hint}" if hint else message)
        self.from_state = from_state
        self.to_state = to_state
        self.allowed = allowed
        self.job_id = job_id


class VersionConflictError(EngineError):
    """The job has changed since you read it. Nothing was applied: read it again and decide anew.

    Attributes:
        job_id: The job.
        expected_version: The version that you passed.
        actual_version: The job's current version.
    """

    def __init__(self, job_id: str, expected_version: int, actual_version: int) -> None:
        super().__init__(
            f"job {shown(job_id)} is at version {actual_version}, not {expected_version}: "
            "read it again and decide anew"
        )
        self.job_id = job_id
        self.expected_version = expected_version
        self.actual_version = actual_version


class StatusConflictError(EngineError):
    """The job isn't in the status that you expect. Nothing was applied.

    Attributes:
        job_id: The job.
        expected_status: The status that you passed, as a plain string.
        actual_status: The job's current status, as a plain string.
    """

    def __init__(self, job_id: str, expected_status: str, actual_status: str) -> None:
        super().__init__(
            f"job {shown(job_id)} is in {actual_status}, not in {expected_status}: "
            "read it again and decide anew"
        )
        self.job_id = job_id
        self.expected_status = expected_status
        self.actual_status = actual_status


class AttemptConflictError(EngineError):
    """The job has been attempted since you read it. Nothing was applied: read it again.

    Attributes:
        job_id: The job.
        expected_attempt: The number of the newest attempt that you passed.
        actual_attempt: The number of the job's newest attempt.
    """

    def __init__(self, job_id: str, expected_attempt: int, actual_attempt: int) -> None:
        super().__init__(
            f"job {shown(job_id)} is at attempt {actual_attempt}, not {expected_attempt}: "
            "read it again and decide anew"
        )
        self.job_id = job_id
        self.expected_attempt = expected_attempt
        self.actual_attempt = actual_attempt


class DeadlineConflictError(EngineError):
    """The job has another deadline than you have read. Nothing was applied: read it again.

    Attributes:
        job_id: The job.
        status: The status whose deadline it is.
        expected_deadline: The deadline that you passed, as a text; None for none.
        actual_deadline: The deadline that it has, as a text; None for none.
    """

    def __init__(
        self, job_id: str, status: str, expected_deadline: str | None, actual_deadline: str | None
    ) -> None:
        super().__init__(
            f"the deadline of job {shown(job_id)} in {status} is {actual_deadline or 'none'}, not "
            f"{expected_deadline or 'none'}: read it again and decide anew"
        )
        self.job_id = job_id
        self.status = status
        self.expected_deadline = expected_deadline
        self.actual_deadline = actual_deadline


class JobClaimedError(EngineError):
    """An attempt holds the job: only that attempt or a deadline may move it. `cancel` stops it.

    Attributes:
        job_id: The job.
        attempt: The number of the attempt.
    """

    def __init__(self, job_id: str, attempt: int) -> None:
        super().__init__(
            f"attempt {attempt} holds job {shown(job_id)}, and no other call may move it: "
            "use `cancel` to stop the attempt"
        )
        self.job_id = job_id
        self.attempt = attempt


class StaleAttemptError(EngineError):
    """The attempt no longer holds the job. Nothing was applied: stop working on the job.

    Another attempt has taken over, or the job has ended or moved on.

    Attributes:
        job_id: The job.
        attempt: The number of the job's newest attempt.
    """

    def __init__(self, job_id: str, attempt: int) -> None:
        super().__init__(
            f"this attempt no longer holds job {shown(job_id)}, whose newest attempt is number "
            f"{attempt}: stop working on it"
        )
        self.job_id = job_id
        self.attempt = attempt


class StalePromptError(EngineError):
    """This prompt is not the job's open one, or no longer. Nothing was applied.

    Get the job, and answer the prompt that it shows.

    Attributes:
        job_id: The job.
        prompt_id: The prompt as given.
        current: The id of the job's open prompt; None if it has none.
    """

    def __init__(self, job_id: str, prompt_id: str, current: str | None) -> None:
        opened = "the job waits for no answer" if current is None else f"answer {shown(current)}"
        super().__init__(f"prompt {shown(prompt_id)} of job {shown(job_id)} is not open: {opened}")
        self.job_id = job_id
        self.prompt_id = prompt_id
        self.current = current


class JobEndedError(EngineError):
    """The job has ended, and so can't change any more. Nothing was applied.

    `cancel` raises it for a job that has not ended as cancelled; `start` for one that ended without
    ever starting: then give the money back.

    Attributes:
        job_id: The job.
        status: The job's final status, as a plain string.
        outcome: The way in which it has ended.
    """

    def __init__(
        self,
        job_id: str,
        status: str,
        outcome: Outcome,
        advice: str = "it can't change any more",
    ) -> None:
        super().__init__(
            f"job {shown(job_id)} has ended as {status}, with the outcome {outcome.value}: {advice}"
        )
        self.job_id = job_id
        self.status = status
        self.outcome = outcome


class NotRetryableError(EngineError):
    """The job can't be retried now. Nothing was applied: the message says what to do instead.

    A job can be retried in the lifecycle's ``exhausted_to``, and while it is running and waits for
    another attempt after one that has failed or died.

    Attributes:
        job_id: The job.
        status: The job's status, as a plain string.
    """

    def __init__(self, job_id: str, status: str, problem: str) -> None:
        super().__init__(f"job {shown(job_id)} in {status} can't be retried: {problem}")
        self.job_id = job_id
        self.status = status


class JobFailedError(EngineError):
    """The job has failed and has no result.

    Attributes:
        job_id: The job.
        status: The job's final status, as a plain string.
        error: The job's ``error``.
    """

    def __init__(self, job_id: str, status: str, error: str | None) -> None:
        reason = error or "it gives no error"
        super().__init__(f"job {shown(job_id)} has ended as {status}, without a result: {reason}")
        self.job_id = job_id
        self.status = status
        self.error = error


class AttemptTimeoutError(EngineError, TimeoutError):
    """An attempt took longer than its worker's ``timeout_seconds``, and so has failed.

    No call raises it. It stands in the job's ``error`` if no other attempt follows.

    Attributes:
        timeout_seconds: The limit.
    """

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__(f"the attempt took more than {timeout_seconds:g} s")
        self.timeout_seconds = timeout_seconds


class HandlerProcessError(EngineError):
    """A handler's process could not start, or ended before the handler did.

    Attributes:
        has_begun: Whether the handler was called. If not, the attempt counts as nothing; otherwise
            as a death.
    """

    def __init__(self, problem: str, *, has_begun: bool = False) -> None:
        super().__init__(problem)
        self.has_begun = has_begun


class HandlerError(EngineError):
    """A handler raised an exception in its process; this stands for it in the engine's process.

    The exception itself stays there: it may be of any class, with any contents, and nothing that
    comes from the process of a handler is unpickled. A traceback of this shows its traceback.

    Attributes:
        kinds: The names of its class and its base classes, such as ``shop.NoPictureError``, in the
            order of their resolution.
        retryable: False if its attribute ``retryable`` is False.
        retry_after_seconds: As its attribute; None if it has none.
        disables_rule: True if its attribute ``disables_rule`` is True.
    """

    def __init__(
        self,
        text: str,
        kinds: Sequence[str],
        *,
        retryable: bool = True,
        retry_after_seconds: float | None = None,
        disables_rule: bool = False,
    ) -> None:
        super().__init__(text)
        self.kinds: tuple[str, ...] = tuple(kinds)
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds
        self.disables_rule = disables_rule


class IdempotencyConflictError(EngineError):
    """The idempotency key belongs to a job with other content. Nothing was created.

    Attributes:
        idempotency_key: The key.
        job_id: The job that has the key.
        field: The first field whose values differ.
    """

    def __init__(self, idempotency_key: str, job_id: str, field: str) -> None:
        super().__init__(
            f"the idempotency key {shown(idempotency_key)} belongs to job {shown(job_id)}, which "
            f"has another {field}: use a new key for each request"
        )
        self.idempotency_key = idempotency_key
        self.job_id = job_id
        self.field = field


class PaymentInUseError(EngineError):
    """The payment pays for another job: one payment pays for one job. Nothing was applied.

    It doesn't name that job, which may be another customer's.

    Attributes:
        payment_id: The payment.
    """

    def __init__(self, payment_id: str) -> None:
        super().__init__(
            f"the payment {shown(payment_id)} pays for another job: each job needs a payment of "
            "its own; to repeat a create safely, give it an idempotency_key"
        )
        self.payment_id = payment_id


class KindInUseError(EngineError):
    """Another open worker of this engine has the kind: each kind has one handler.

    Attributes:
        kind: The kind.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"another open worker of this engine has the kind {shown(kind)}: close it first, or "
            "give each handler a kind of its own, as in Worker(engine, {'report': write_report})"
        )
        self.kind = kind


class PaymentConflictError(EngineError):
    """The job is paid for by another payment. Nothing was applied: give this one back.

    Attributes:
        job_id: The job.
        payment_id: The payment as given.
    """

    def __init__(self, job_id: str, payment_id: str) -> None:
        super().__init__(
            f"job {shown(job_id)} is paid for by another payment than {shown(payment_id)}: "
            "give this one back"
        )
        self.job_id = job_id
        self.payment_id = payment_id


class DuplicateJobIdError(EngineError):
    """The id source returned the id of another job. Nothing was created.

    Attributes:
        job_id: The id.
    """

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"the id source returned {shown(job_id)}, the id of another job: each must be new"
        )
        self.job_id = job_id


class UnknownCursorError(EngineError, LookupError):
    """No transition is the one to start behind: the storage may be an older copy of another.

    Attributes:
        after: The number or cursor as given.
        last_sequence: The number of the newest transition.
    """

    def __init__(self, after: int | str, last_sequence: int) -> None:
        super().__init__(
            f"there is no transition {shown(after)} to start behind, and the newest is "
            f"{last_sequence}: if the storage was restored from a copy, read the jobs again, and "
            "watch from there"
        )
        self.after = after
        self.last_sequence = last_sequence


class CursorExpiredError(EngineError, LookupError):
    """The retention rule has removed transitions that the watcher has not seen.

    Attributes:
        after: The number of the last transition that it has seen.
        removed_up_to: The highest number of a removed transition.
    """

    def __init__(self, after: int, removed_up_to: int) -> None:
        super().__init__(
            f"transitions after {after} were removed with their jobs, up to {removed_up_to}: read "
            f"the jobs again, and watch after {removed_up_to}, or after 0 for all that are left"
        )
        self.after = after
        self.removed_up_to = removed_up_to


class InvalidValueError(EngineError, ValueError):
    """An argument has the wrong type, size or form, or names too much. Nothing was applied.

    Attributes:
        field: The name of the argument, or of its part, such as ``deadlines['running']``.
        problem: The rest of the message: the fault and the accepted values.
    """

    retryable = False  # a second attempt of the handler would fail alike

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        """Return the message; if the item itself is wrong, its number is a part of the name."""
        if self.field == "item" and self.item is not None:
            return f"item {self.item} {self.problem}"
        return super().__str__()


class LifecycleError(EngineError, ValueError):
    """A table of moves can't work, or lacks a status that is needed; the message names it."""

    retryable = False


class OverloadedError(EngineError):
    """Too many calls are waiting. Nothing was applied: try again later, or slow down.

    Attributes:
        waiting: The number of jobs that the waiting calls name.
        limit: The most that they may name: ``max_waiting`` of the engine.
    """

    def __init__(self, waiting: int, limit: int) -> None:
        super().__init__(
            f"calls about {waiting} jobs wait, and the limit is {limit}: try again later"
        )
        self.waiting = waiting
        self.limit = limit


class StorageError(EngineError, OSError):
    """The storage refused the change, and nothing was applied. The engine still answers reads.

    ``__cause__`` is the error of the operating system or the database, if there was one.
    """


class StorageInUseError(StorageError):
    """Another engine has the storage open. Close that engine first; the message names it.

    Attributes:
        storage: The storage, such as the path of its file.
        holder: The other engine, as far as known: process id, host, start.
    """

    def __init__(self, storage: str, holder: str) -> None:
        super().__init__(
            f"{storage} is in use by another engine, {holder}: close that engine first"
        )
        self.storage = storage
        self.holder = holder


class StorageFullError(StorageError):
    """The storage has no room for the change. Make room; writes then succeed again."""


class StorageReadOnlyError(StorageError):
    """The storage can be read but not written."""


class LeaseLostError(StorageError):
    """The engines that share the storage take this one for dead: it gave no sign of life.

    Its process was stopped, or the network was cut, for longer than the lease. The others run its
    jobs now. The engine crashes with this error: start it again.

    Attributes:
        storage: The storage, without a password.
    """

    def __init__(self, storage: str) -> None:
        super().__init__(
            f"the other engines on {storage} took this one for dead, and run its jobs now: "
            "start it again"
        )
        self.storage = storage


class StorageFormatError(StorageError):
    """No engine made the file or the schema, or a newer version made it. It is unchanged."""


class StorageDamagedError(StorageError):
    """The contents of the storage are broken. ``engine check`` says where."""


class CommitsLostError(StorageDamagedError):
    """The storage doesn't know of changes that it had acknowledged: a failover has lost them.

    A standby took over that had not got them; a synchronous one would have. The engine crashes with
    this error, because its jobs may be as they were before. Start it again, and compare what you
    know of the newest jobs with what is there.

    Attributes:
        storage: The storage, without a password.
    """

    def __init__(self, storage: str) -> None:
        super().__init__(
            f"{storage} does not know what it has acknowledged: a failover has lost commits. Start "
            "the engine again, and look at the newest jobs"
        )
        self.storage = storage


class JobDamagedError(StorageDamagedError):
    """The stored data of this job is broken, so the job is not shown. Other jobs are not affected.

    Attributes:
        job_id: The job.
        problem: The fault.
    """

    def __init__(self, job_id: str, problem: str) -> None:
        super().__init__(f"job {shown(job_id)} is damaged: {problem}")
        self.job_id = job_id
        self.problem = problem


class CallTimeoutError(EngineError, TimeoutError):
    """A blocking read was not answered in time, or a job did not get where a caller waits for it.

    Attributes:
        timeout: The limit, in seconds.
        job_id: The job that `wait` or `result` waited for; None for other calls.
        status: The status that the job had then, as a plain string; None if it is not known.
        unhandled_kind: The kind of the job, if it was ready, and workers were open, but none had
            that kind; otherwise None.
        paused_kind: The kind of the job, if it is paused, and no attempt was known to have the job;
            otherwise None.
    """

    def __init__(
        self,
        timeout: float,
        job_id: str | None = None,
        status: str | None = None,
        unhandled_kind: str | None = None,
        paused_kind: str | None = None,
    ) -> None:
        if job_id is None or status is None:
            text = f"no answer within {timeout:g} s{self._what_then}"
        elif paused_kind is not None:
            text = (
                f"job {shown(job_id)} is still {status} after {timeout:g} s, and its kind "
                f"{shown(paused_kind)} is paused: `resume` the kind, and the job runs"
            )
        elif unhandled_kind is not None:
            text = (
                f"job {shown(job_id)} is ready; no worker has the kind {shown(unhandled_kind)}, "
                f"and {timeout:g} s have passed: open a Worker with a handler for it"
            )
        else:
            text = (
                f"job {shown(job_id)} is still {status} after {timeout:g} s, and goes on: "
                "wait again, or `get` it later"
            )
        super().__init__(text)
        self.timeout = timeout
        self.job_id = job_id
        self.status = status
        self.unhandled_kind = unhandled_kind
        self.paused_kind = paused_kind

    _what_then = ""


class OutcomeUnknownError(EngineError):
    """The change may have been applied, or not: read what it was to change before you repeat it.

    An ``idempotency_key`` makes it safe to repeat a create, an ``expected_version`` a transition.
    Pauses, drains, prunes and changes of rules may be repeated as they are.
    """


class WriteTimeoutError(CallTimeoutError, OutcomeUnknownError):
    """A blocking write was not answered within its timeout. It may still be applied."""

    _what_then = ": outcome unknown, the change may still be applied"


class CommitUnknownError(OutcomeUnknownError):
    """The storage failed while it committed this change, and can't tell the outcome yet.

    The engine refuses every write until the storage knows. ``__cause__`` is the storage's error.
    """

    def __init__(self, reason: StorageError) -> None:
        super().__init__(
            f"outcome unknown, the storage failed during the commit: {reason}; read what you meant "
            "to change before you repeat the call"
        )
        self.__cause__: BaseException | None = reason


def reason_of(unknown: CommitUnknownError) -> StorageError:
    """Return the storage's error, to tell of a change that turned out not to be applied."""
    return cast("StorageError", unknown.__cause__)


_FORMS = {"engine": "JobEngine() as …", "worker": "Worker(…) as …", "gate": "Gate(…)"}


class EngineUnavailableError(EngineError, RuntimeError):
    """This engine can't be called. Nothing was applied, unless it is a `CommitCrashedError`."""


class EngineNotStartedError(EngineUnavailableError):
    """The engine was called before it was started."""

    def __init__(self, what: str = "engine") -> None:
        super().__init__(f"the {what} has not started: use it inside `async with {_FORMS[what]}`")


class EngineStartedError(EngineUnavailableError):
    """The engine was started a second time. It starts once: make a new one."""

    def __init__(self, what: str = "engine") -> None:
        super().__init__(f"the {what} can't start a second time: make a new one")


class EngineClosedError(EngineUnavailableError):
    """The engine was closed before the call, or before it decided the call.

    A blocking engine is also closed to finalizers that run after the interpreter has ended its
    threads: a ``__del__``, or the rest of an abandoned generator.
    """

    def __init__(
        self, text: str = "the engine is closed, and this call was not applied: start a new engine"
    ) -> None:
        super().__init__(text)


class EngineForkedError(EngineUnavailableError):
    """The engine was started before this process was forked. Make a new one in the child."""

    def __init__(self) -> None:
        super().__init__(
            "this process was forked after the engine started, and the engine's event loop does "
            "not run here: make a new engine in the child"
        )


class WrongLoopError(EngineUnavailableError):
    """The call came from a thread, an event loop or a task that must not make it.

    The message says which. Nothing was applied.
    """


class EngineCrashedError(EngineUnavailableError):
    """The engine met a bug and stopped. Every pending and later call raises this.

    ``__cause__`` is the exception that stopped it. Acknowledged changes are not affected.
    """

    def __init__(self, cause: BaseException) -> None:
        text = f"{type(cause).__name__}: {message_of(cause)}"
        super().__init__(f"the engine crashed: {text}{self._what_then}")
        self.__cause__: BaseException | None = cause

    _what_then = "; this call was not applied"


class CommitCrashedError(EngineCrashedError, OutcomeUnknownError):
    """The engine crashed while it committed this change. The outcome is unknown."""

    _what_then = "; it was committing this change: outcome unknown"
