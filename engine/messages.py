"""The requests to the owner: one class for each, named for what it asks.

A message carries plain, checked values in and one answer out. A single call is a bulk call of one
item, so every rule is written once. The answer is set exactly once, by the owner or by whoever
refuses the message, and read by the caller after it has been told; nothing here waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeAlias

from typing_extensions import TypeVar

from engine.domain.exceptions import EngineClosedError, EngineError
from engine.domain.models import Statistics
from engine.domain.record import Entry, Record

Answer = TypeVar("Answer")


class Draft(NamedTuple):
    """A job to be created; the owner adds the rest."""

    job_id: str
    input_hash: str
    blockchain_identifier: str | None
    idempotency_key: str | None


class Step(NamedTuple):
    """A move to be made."""

    job_id: str
    target: str
    result: str | None
    error: str | None
    expected_version: int | None


_UNANSWERED: Final = EngineClosedError()


class Message(Generic[Answer]):
    """One request, with the slot that its answer goes to.

    Attributes:
        weight: How many jobs it names, 1 at least: what the limits of inbox and batch count.
        writes: Whether it may change jobs.
    """

    __slots__ = ("_answer", "_error", "weight")
    writes: ClassVar[bool] = False

    _answer: Answer

    def __init__(self, weight: int = 1) -> None:
        self.weight = max(1, weight)
        self._error: BaseException | None = _UNANSWERED

    @property
    def answered(self) -> bool:
        """Whether the answer is there."""
        return self._error is not _UNANSWERED

    def answer(self, value: Answer) -> None:
        """Give the answer."""
        self._answer = value
        self._error = None

    def refuse(self, error: EngineError) -> None:
        """Give an error for an answer; the error is this caller's own, shared with no other."""
        self._error = error

    def outcome(self) -> Answer:
        """Return the answer, or raise the error that stands for it. Called once."""
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # its traceback holds this frame: do not make a circle of the two
        return self._answer


class CreateJobs(Message[Sequence[Record]]):
    """Create these jobs, all or none."""

    __slots__ = ("drafts",)
    writes = True

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        super().__init__(len(drafts))


class MoveJobs(Message[Sequence[Record]]):
    """Make these moves in their order, all or none."""

    __slots__ = ("steps",)
    writes = True

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        super().__init__(len(steps))


class GetJobs(Message[Sequence[Record]]):
    """Read these jobs, all or none."""

    __slots__ = ("job_ids",)

    def __init__(self, job_ids: Sequence[str]) -> None:
        self.job_ids = job_ids
        super().__init__(len(job_ids))


class CountJobs(Message[int]):
    """Count the jobs that have a status, or all of them."""

    __slots__ = ("status",)

    def __init__(self, status: str | None) -> None:
        super().__init__()
        self.status = status


class ListJobs(Message[Sequence[Record]]):
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


class ReadStatistics(Message[Statistics[Any]]):
    """Read what the engine holds and has done."""

    __slots__ = ()


Write: TypeAlias = CreateJobs | MoveJobs
Request: TypeAlias = Write | GetJobs | CountJobs | ListJobs | ReadHistory | ReadStatistics
