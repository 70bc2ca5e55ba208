"""The requests to the owner: one class for each, named for what it asks.

A message carries plain, checked values in and one answer out. A single call is a bulk call of one
item, so every rule is written once. The answer is set exactly once, by the owner or by whoever
refuses the message, and read by the caller after it has been told; nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Generic, TypeAlias

from msgspec import Struct
from typing_extensions import TypeVar

from engine.domain.exceptions import EngineClosedError, EngineError
from engine.domain.retention import Retention
from engine.storage.record import Damaged, Entry, Execution, Record

Answer = TypeVar("Answer")


class CheckedJob(Struct, frozen=True, gc=False):
    """A job to be created, checked by itself."""

    job_id: str
    input_hash: str
    blockchain_identifier: str | None
    idempotency_key: str | None
    input: str | None
    """As JSON."""
    execution: Execution


class CheckedMove(Struct, frozen=True, gc=False):
    """A job to be moved, checked by itself."""

    job_id: str
    target: str
    result: str | None = None
    error: str | None = None
    expected_version: int | None = None
    token: str | None = None
    """Of the attempt that moves it."""


CHARACTERS_OF_WEIGHT: Final = 4_096
_UNANSWERED: Final = EngineClosedError()


class Message(Generic[Answer]):
    """One request, with the slot that its answer goes to.

    Attributes:
        job_ids: The jobs that it names.
        keys: The idempotency keys that it names.
        weight: How many jobs it is about, 1 at least, and 1 more for each 4,096 characters of
            inputs, answers, results and errors: what the limits of inbox and batch count.
        given_up: Whether the thread that sent it has stopped to wait.
        writes: Whether it may change jobs.
    """

    __slots__ = ("_outcome", "given_up", "weight")
    writes: ClassVar[bool] = False
    job_ids: Sequence[str] = ()
    keys: Sequence[str] = ()

    _outcome: Answer | EngineError

    def __init__(self) -> None:
        self.weight = 1
        self.given_up = False
        self._outcome = _UNANSWERED

    @property
    def answered(self) -> bool:
        """Whether the answer is there."""
        return self._outcome is not _UNANSWERED

    def answer(self, value: Answer | EngineError) -> None:
        """Give the answer. An error is this caller's own, and shared with no other."""
        self._outcome = value

    def outcome(self) -> Answer:
        """Return the answer, or raise the error that stands for it. Called once."""
        outcome = self._outcome
        if isinstance(outcome, EngineError):
            # The error's traceback holds its frames: let neither them nor the message hold it.
            self._outcome = _UNANSWERED
            try:
                raise outcome
            finally:
                del outcome
        return outcome


class CreateJobs(Message[Sequence[Record]]):
    """Create these jobs, all or none."""

    __slots__ = ("jobs", "keys")
    writes = True

    def __init__(self, jobs: Sequence[CheckedJob]) -> None:
        keys: list[str] = []
        characters = 0
        for job in jobs:
            if job.idempotency_key is not None:
                keys.append(job.idempotency_key)
            if job.input:
                characters += len(job.input)
        self.weight = (len(jobs) or 1) + characters // CHARACTERS_OF_WEIGHT
        self.given_up = False
        self._outcome = _UNANSWERED
        self.jobs = jobs
        self.keys = keys


class MoveJobs(Message[Sequence[Record]]):
    """Make these moves in their order, all or none."""

    __slots__ = ("job_ids", "moves")
    writes = True

    def __init__(self, moves: Sequence[CheckedMove]) -> None:
        job_ids: list[str] = []
        characters = 0
        for move in moves:
            job_ids.append(move.job_id)
            if move.result or move.error:
                characters += len(move.result or "") + len(move.error or "")
        self.weight = (len(moves) or 1) + characters // CHARACTERS_OF_WEIGHT
        self.given_up = False
        self._outcome = _UNANSWERED
        self.moves = moves
        self.job_ids = job_ids


class _MoveJob(Message[Sequence[Record]]):
    """Change one job, in a way that has rules of its own."""

    __slots__ = ("job_ids",)
    writes = True

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self.job_ids = (job_id,)

    @property
    def job_id(self) -> str:
        """The job."""
        return self.job_ids[0]


class ReleaseJob(_MoveJob):
    """Let an attempt give its job back, to be tried again: at once, or after a delay."""

    __slots__ = ("delay_seconds", "failed", "token")

    def __init__(self, job_id: str, token: str, delay_seconds: float, *, failed: bool) -> None:
        super().__init__(job_id)
        self.token = token
        self.delay_seconds = delay_seconds
        self.failed = failed


class RequestInput(_MoveJob):
    """Let an attempt give its job up until somebody has answered a prompt, given as JSON."""

    __slots__ = ("deadline", "prompt", "token")

    def __init__(
        self, job_id: str, token: str, prompt: str, deadline: timedelta | datetime | None
    ) -> None:
        super().__init__(job_id)
        self.token = token
        self.prompt = prompt
        self.deadline = deadline


class ProvideInput(_MoveJob):
    """Answer a prompt, with JSON, and let the job go on."""

    __slots__ = ("prompt_id", "value")

    def __init__(self, job_id: str, prompt_id: str, value: str) -> None:
        super().__init__(job_id)
        self.weight += len(value) // CHARACTERS_OF_WEIGHT
        self.prompt_id = prompt_id
        self.value = value


class CancelJob(_MoveJob):
    """End a job, or ask the attempt that has it to stop."""

    __slots__ = ("reason",)

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(job_id)
        self.reason = reason


class ExpireJobs(Message[Sequence[Record]]):
    """Move on those of these jobs whose time in their status has run out."""

    __slots__ = ("job_ids",)
    writes = True

    def __init__(self, job_ids: Sequence[str]) -> None:
        super().__init__()
        self.job_ids = job_ids
        self.weight = len(job_ids) or 1


class ClaimJobs(Message[Sequence[Record]]):
    """Give up to ``limit`` ready jobs to new attempts; at least one, as soon as there is one.

    It may thus be answered in a later turn than it came in. Whoever sent it waits for ``told``.

    Attributes:
        max_attempts: A job whose attempts have failed as often ends; so do the attempts that died
            with their process.
        idempotent: Whether a job may be run again whose attempt has died with its process.
        told: Called when it has its answer.
    """

    __slots__ = ("idempotent", "limit", "max_attempts", "told")
    writes = True

    def __init__(
        self, limit: int, *, max_attempts: int, idempotent: bool, told: Callable[[], object]
    ) -> None:
        super().__init__()
        self.limit = limit
        self.max_attempts = max_attempts
        self.idempotent = idempotent
        self.told = told


class GetJobs(Message[Sequence[Record]]):
    """Read these jobs, all or none."""

    __slots__ = ("job_ids",)

    def __init__(self, job_ids: Sequence[str]) -> None:
        self.job_ids = job_ids
        self.weight = len(job_ids) or 1
        self.given_up = False
        self._outcome = _UNANSWERED


class CountJobs(Message[int]):
    """Count the jobs that have a status, or all of them."""

    __slots__ = ("status",)

    def __init__(self, status: str | None) -> None:
        super().__init__()
        self.status = status


class ListJobs(Message[Sequence[Record | Damaged]]):
    """List up to ``limit`` jobs in order of creation, behind a position."""

    __slots__ = ("after", "limit", "status")

    def __init__(self, status: str | None, limit: int, after: int) -> None:
        super().__init__()
        self.status = status
        self.limit = limit
        self.after = after


class ReadHistory(Message[Sequence[Entry]]):
    """Read every transition of one job, oldest first."""

    __slots__ = ("job_id",)

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self.job_id = job_id


class ReadTransitions(Message[Sequence[Entry]]):
    """Read up to ``limit`` transitions behind a sequence number, of one job or of all."""

    __slots__ = ("after", "job_id", "limit")

    def __init__(self, after: int, limit: int, job_id: str | None) -> None:
        super().__init__()
        self.after = after
        self.limit = limit
        self.job_id = job_id


class ReadStatistics(Message[dict[str, Any]]):
    """Read what the engine holds and has done."""

    __slots__ = ()


class RemoveEnded(Message[int]):
    """Remove some of the ended jobs that a rule of retention doesn't keep, and count them.

    It is no write: nothing is decided by it, and nobody is told of it. The owner comes to it among
    the reads of its turn.
    """

    __slots__ = ("limit", "retention")

    def __init__(self, retention: Retention, limit: int) -> None:
        super().__init__()
        self.retention = retention
        self.limit = limit


Write: TypeAlias = (
    CreateJobs
    | MoveJobs
    | ReleaseJob
    | RequestInput
    | ProvideInput
    | CancelJob
    | ExpireJobs
    | ClaimJobs
)
Read: TypeAlias = (
    GetJobs | CountJobs | ListJobs | ReadHistory | ReadTransitions | ReadStatistics | RemoveEnded
)
