"""Move jobs to other statuses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import replace

from engine.domain.exceptions import (
    InvalidStateTransitionError,
    StatusConflictError,
    VersionConflictError,
)
from engine.domain.lifecycle import Event, Lifecycle
from engine.domain.moves import Move
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
from engine.owner.acts import Acted, acted, checked_act
from engine.owner.batch import Batch
from engine.owner.commands.command import Write
from engine.owner.message import CHARACTERS_OF_WEIGHT, UNANSWERED
from engine.storage.audit import AuditLine
from engine.storage.record import NO_ACT, NO_EXECUTION, Act, Change, Record


class CheckedMove(Struct, frozen=True, gc=False):
    """A move to make, after the checks of its arguments."""

    job_id: str
    target: str
    result: str | None = None
    error: str | None = None
    expected_version: int | None = None
    expected_status: str | None = None
    token: str | None = None
    """Of the attempt that moves the job; None for any other caller."""
    act: Act = NO_ACT
    acted: Acted | None = None


class MoveJobs(Write):
    """Make moves in their order, all or none.

    Attributes:
        acted: That of the first move that has one.
    """

    __slots__ = ("acted", "job_ids", "moves")

    def __init__(self, moves: Sequence[CheckedMove]) -> None:
        job_ids: list[str] = []
        characters = 0
        first: Acted | None = None
        for move in moves:
            job_ids.append(move.job_id)
            first = first or move.acted
            if move.result or move.error:
                characters += len(move.result or "") + len(move.error or "")
        self.weight = (len(moves) or 1) + characters // CHARACTERS_OF_WEIGHT
        self.is_abandoned = False
        self._outcome = UNANSWERED
        self.moves = moves
        self.job_ids = job_ids
        self.acted = first

    @classmethod
    def many(cls, lifecycle: Lifecycle[Any], moves: Iterable[Move[Any]]) -> Self:
        """Check the items of a bulk transition.

        Raises:
            InvalidValueError: As for `checked_move`, or an item is no `Move`, or there are too many
                items.
        """
        return cls(check_each(moves, Move, partial(checked_move, lifecycle)))

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`.

        Raises:
            JobNotFoundError: No job has this id.
            VersionConflictError: The job has changed since the caller read it.
            StatusConflictError: The job isn't in the status that the caller expects.
            JobClaimedError: An attempt has the job, and the caller gave no token.
            StaleAttemptError: The attempt with this token doesn't have the job.
            InvalidStateTransitionError: The lifecycle has no such move, or it leads back to running
                and the caller expects nothing.
        """
        return batch.all_or_none(self.moves, _move)

    def lines(self, changes: Sequence[Change], at: datetime) -> Iterable[AuditLine]:
        """Return a line for each move whose caller acts; see `Write.lines`."""
        del changes
        return [move.acted.line(move.job_id, at) for move in self.moves if move.acted is not None]


def checked_move(lifecycle: Lifecycle[Any], move: Move[Any]) -> CheckedMove:
    """Return a move, after the checks of its arguments.

    Raises:
        InvalidValueError: A value has the wrong type, size or form, a result comes without
            success, or an error without failure.
    """
    target, result, error = lifecycle.value(move.target), move.result, move.error
    if result is not None or error is not None:
        result = check_optional_text("result", result, MAX_RESULT_CHARACTERS, shortest=0)
        error = check_optional_text("error", error, MAX_ERROR_CHARACTERS, shortest=0)
        lifecycle.validate_outcome(target, result, error)
    version, status, token = move.expected_version, move.expected_status, move.attempt_token
    checked = CheckedMove(
        check_job_id(move.job_id),
        target,
        result,
        error,
        None if version is None else check_integer("expected_version", version, 1),
        None if status is None else lifecycle.value(status, "expected_status"),
        None if token is None else check_text("attempt_token", token, MAX_IDENTIFIER_CHARACTERS),
    )
    if move.by is None and move.reason is None:
        return checked
    act = checked_act(move.by, move.reason)
    return replace(checked, act=act, acted=acted("move", act, {"status": target}))


def _move(batch: Batch, move: CheckedMove) -> Record:
    before = batch.job(move.job_id)
    target, execution, lifecycle = move.target, before.execution, batch.lifecycle
    version, status = move.expected_version, move.expected_status
    if version is not None and version != before.version:
        raise VersionConflictError(move.job_id, version, before.version)
    if status is not None and status != before.status:
        raise StatusConflictError(move.job_id, status, before.status)
    if move.token is not None or execution is not NO_EXECUTION:
        batch.check_holder(before, move.token)
    lifecycle.validate(before.status, target, move.job_id)
    if target == lifecycle.running_value and before.status != lifecycle.initial_value:
        _check_return(lifecycle, before, move)
        if lifecycle.target(before.status, Event.RETRY) == target:
            execution = execution.fresh()
    return batch.move(
        before,
        target,
        result=move.result,
        error=move.error,
        execution=batch.entering(execution, target),
        act=move.act,
    )


def _check_return(lifecycle: Lifecycle[Any], before: Record, move: CheckedMove) -> None:
    """Check that whoever moves a job back to running expects its present state.

    A payment's callback that comes again must not take up a job that has come further.

    Raises:
        InvalidStateTransitionError: Its mover expects nothing.
    """
    if move.expected_version is not None or move.expected_status is not None:
        return
    running, status = lifecycle.running_value, before.status
    others = tuple(to for to in lifecycle.targets(status) if to != running)
    raise InvalidStateTransitionError(
        *(status, running, others, before.job_id),
        why=f"can't move to {running} without another word: a callback that comes twice would "
        "take it up again",
        hint="use `provide_input` or `retry`, or give its expected_status or expected_version",
    )
