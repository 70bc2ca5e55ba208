"""Move jobs to other statuses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

from msgspec import Struct

from engine.domain.exceptions import VersionConflictError
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import Move
from engine.domain.validation import (
    MAX_ERROR_CHARACTERS,
    MAX_IDENTIFIER_CHARACTERS,
    MAX_RESULT_CHARACTERS,
    check_each,
    check_integer,
    check_job_id,
    check_optional_text,
    check_text,
)
from engine.owner.batch import Batch
from engine.owner.commands.command import Write
from engine.owner.message import CHARACTERS_OF_WEIGHT, UNANSWERED
from engine.storage.record import NO_EXECUTION, Record


class CheckedMove(Struct, frozen=True, gc=False):
    """A move to make, after the checks of its arguments."""

    job_id: str
    target: str
    result: str | None = None
    error: str | None = None
    expected_version: int | None = None
    token: str | None = None
    """Of the attempt that moves the job; None for any other caller."""


class MoveJobs(Write):
    """Make moves in their order, all or none."""

    __slots__ = ("job_ids", "moves")

    def __init__(self, moves: Sequence[CheckedMove]) -> None:
        job_ids: list[str] = []
        characters = 0
        for move in moves:
            job_ids.append(move.job_id)
            if move.result or move.error:
                characters += len(move.result or "") + len(move.error or "")
        self.weight = (len(moves) or 1) + characters // CHARACTERS_OF_WEIGHT
        self.is_abandoned = False
        self._outcome = UNANSWERED
        self.moves = moves
        self.job_ids = job_ids

    @classmethod
    def one(
        cls,
        lifecycle: Lifecycle[Any],
        job_id: str,
        target: object,
        result: str | None,
        error: str | None,
        expected_version: int | None,
        attempt_token: str | None,
    ) -> Self:
        """Check the arguments of a move.

        Raises:
            InvalidValueError: A value is of the wrong type, size or form, a result comes without
                success, or an error without failure.
        """
        move = _checked(lifecycle, job_id, target, result, error, expected_version, attempt_token)
        return cls([move])

    @classmethod
    def many(cls, lifecycle: Lifecycle[Any], moves: Iterable[Move[Any]]) -> Self:
        """Check the items of a bulk transition.

        Raises:
            InvalidValueError: As for `one`, or an item is no `Move`, or there are too many items.
        """

        def check(move: Move[Any]) -> CheckedMove:
            return _checked(
                lifecycle,
                move.job_id,
                move.target,
                move.result,
                move.error,
                move.expected_version,
                move.attempt_token,
            )

        return cls(check_each(moves, Move, check))

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`.

        Raises:
            JobNotFoundError: No job has this id.
            VersionConflictError: The job has changed since the caller read it.
            JobClaimedError: An attempt has the job, and the caller gave no token.
            StaleAttemptError: The attempt with this token doesn't have the job.
            InvalidStateTransitionError: The lifecycle has no such move.
        """
        return batch.all_or_none(self.moves, _move)


def _checked(
    lifecycle: Lifecycle[Any],
    job_id: str,
    target: object,
    result: str | None,
    error: str | None,
    expected_version: int | None,
    attempt_token: str | None,
) -> CheckedMove:
    """Return a move, after the checks of its arguments; see `MoveJobs.one`."""
    status = lifecycle.value(target)
    if result is not None or error is not None:
        result = check_optional_text("result", result, MAX_RESULT_CHARACTERS, shortest=0)
        error = check_optional_text("error", error, MAX_ERROR_CHARACTERS, shortest=0)
        lifecycle.validate_outcome(status, result, error)
    if expected_version is not None:
        expected_version = check_integer("expected_version", expected_version, 1)
    if attempt_token is not None:
        check_text("attempt_token", attempt_token, MAX_IDENTIFIER_CHARACTERS)
    return CheckedMove(check_job_id(job_id), status, result, error, expected_version, attempt_token)


def _move(batch: Batch, move: CheckedMove) -> Record:
    before = batch.job(move.job_id)
    expected, target, execution = move.expected_version, move.target, before.execution
    if expected is not None and expected != before.version:
        raise VersionConflictError(move.job_id, expected, before.version)
    if move.token is not None or execution is not NO_EXECUTION:
        batch.check_holder(before, move.token)
    batch.lifecycle.validate(before.status, target, move.job_id)
    return batch.move(
        before,
        target,
        result=move.result,
        error=move.error,
        execution=batch.entering(execution, target),
    )
