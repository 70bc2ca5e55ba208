"""Calls become messages: the arguments are checked, in the caller's own task or thread.

Whatever is wrong by itself is refused here, before it is queued; what depends on other jobs is the
owner's to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, Generic

from typing_extensions import TypeVar

from engine.domain.deadlines import Deadline, deadlines_text
from engine.domain.exceptions import EngineError, InvalidValueError, shown
from engine.domain.ids import IdSource
from engine.domain.json_text import json_text
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import Move, NewJob, Status
from engine.domain.validation import (
    MAX_ANSWER_CHARACTERS,
    MAX_BULK_ITEMS,
    MAX_ERROR_CHARACTERS,
    MAX_IDENTIFIER_CHARACTERS,
    MAX_INPUT_CHARACTERS,
    MAX_INPUT_HASH_CHARACTERS,
    MAX_PAGE_JOBS,
    MAX_PRIORITY,
    MAX_REASON_CHARACTERS,
    MAX_RESULT_CHARACTERS,
    check_integer,
    check_optional_text,
    check_text,
)
from engine.owner.messages import (
    CancelJob,
    CheckedJob,
    CheckedMove,
    CountJobs,
    CreateJobs,
    GetJobs,
    ListJobs,
    MoveJobs,
    ProvideInput,
    ReadHistory,
)
from engine.owner.views import position_of
from engine.storage.record import NO_EXECUTION, Execution

Item = TypeVar("Item")
Checked = TypeVar("Checked")


_NO_PRIORITY: Final = 0  # small integers are the same object; another one is just checked


class Codec(Generic[Status]):
    """Turns calls into messages, for one lifecycle and one id source."""

    def __init__(self, lifecycle: Lifecycle[Status], new_id: IdSource) -> None:
        self._lifecycle = lifecycle
        self._new_id = new_id

    def create(
        self,
        input_hash: str,
        blockchain_identifier: str | None,
        idempotency_key: str | None,
        given: object,
        priority: int,
        deadlines: Mapping[Status, Deadline] | None,
    ) -> CreateJobs:
        """Check a new job and give it an id.

        Raises:
            InvalidValueError: A value is of the wrong type, size or form.
        """
        return CreateJobs(
            [
                self._checked_job(
                    input_hash, blockchain_identifier, idempotency_key, given, priority, deadlines
                )
            ]
        )

    def create_many(self, jobs: Iterable[NewJob]) -> CreateJobs:
        """Check new jobs and give each an id.

        Raises:
            InvalidValueError: As for `create`; or an item is no `NewJob`; or too many items.
        """
        return CreateJobs(
            _each(
                jobs,
                NewJob,
                lambda job: self._checked_job(
                    job.input_hash,
                    job.blockchain_identifier,
                    job.idempotency_key,
                    job.input,
                    job.priority,
                    job.deadlines,
                ),
            )
        )

    def transition(
        self,
        job_id: str,
        target: Status,
        result: str | None,
        error: str | None,
        expected_version: int | None,
        attempt_token: str | None,
    ) -> MoveJobs:
        """Check a move.

        Raises:
            InvalidValueError: A value is of the wrong type, size or form; a result is given without
                success, or an error without failure.
        """
        return MoveJobs(
            [self._checked_move(job_id, target, result, error, expected_version, attempt_token)]
        )

    def transition_many(self, moves: Iterable[Move[Status]]) -> MoveJobs:
        """Check moves.

        Raises:
            InvalidValueError: As for `transition`; or an item is no `Move`; or too many items.
        """
        return MoveJobs(
            _each(
                moves,
                Move,
                lambda move: self._checked_move(
                    move.job_id,
                    move.target,
                    move.result,
                    move.error,
                    move.expected_version,
                    move.attempt_token,
                ),
            )
        )

    def cancel(self, job_id: str, reason: str) -> CancelJob:
        """Check a job id and a reason.

        Raises:
            InvalidValueError: One of them is not right.
        """
        reason = check_text("reason", reason, MAX_REASON_CHARACTERS, shortest=0)
        return CancelJob(_check_job_id(job_id), reason)

    def provide_input(self, job_id: str, prompt_id: str, value: object) -> ProvideInput:
        """Check an answer by itself; whether it fits the prompt is checked elsewhere.

        Raises:
            InvalidValueError: One of them is not right.
        """
        return ProvideInput(
            _check_job_id(job_id),
            check_text("prompt_id", prompt_id, MAX_IDENTIFIER_CHARACTERS),
            json_text("value", value, MAX_ANSWER_CHARACTERS),
        )

    def watch(self, job_id: str | None, after: int | None) -> tuple[str | None, int | None]:
        """Check a job id and a sequence number.

        Raises:
            InvalidValueError: One of them is not right.
        """
        return (
            None if job_id is None else _check_job_id(job_id),
            None if after is None else check_integer("after", after, 0),
        )

    def until(self, statuses: Collection[Status] | None) -> Collection[str]:
        """Check statuses to wait for; those that are final are among them anyway.

        Raises:
            InvalidValueError: The lifecycle doesn't have one of them.
        """
        if statuses is None:
            return self._lifecycle.final_values
        given: object = statuses
        if isinstance(given, str) or not isinstance(given, Collection):
            example = shown(self._lifecycle.running.value)
            raise InvalidValueError("until", f"must be as [{example}], not {shown(given)}")
        return self._lifecycle.final_values | {self._lifecycle.value(each) for each in statuses}

    def get(self, job_id: str) -> GetJobs:
        """Check a job id.

        Raises:
            InvalidValueError: It can't be one.
        """
        return GetJobs([check_text("job_id", job_id, MAX_IDENTIFIER_CHARACTERS)])

    def get_many(self, job_ids: Iterable[str]) -> GetJobs:
        """Check job ids.

        Raises:
            InvalidValueError: One can't be an id; or too many items.
        """
        if isinstance(job_ids, str):
            raise InvalidValueError("job_ids", "must hold several ids; for one there is `get`")
        return GetJobs(_each(job_ids, str, _check_job_id))

    def count(self, status: Status | None) -> CountJobs:
        """Check a status.

        Raises:
            InvalidValueError: The lifecycle doesn't have it.
        """
        return CountJobs(None if status is None else self._lifecycle.value(status))

    def list_jobs(self, status: Status | None, limit: int, after: str | None) -> ListJobs:
        """Check a status, a size and a cursor. Asks for one job more, to know if there are more.

        Raises:
            InvalidValueError: One of them is not right.
        """
        value = None if status is None else self._lifecycle.value(status)
        check_integer("limit", limit, 1, MAX_PAGE_JOBS)
        return ListJobs(value, limit + 1, 0 if after is None else position_of(after))

    def history(self, job_id: str) -> ReadHistory:
        """Check a job id.

        Raises:
            InvalidValueError: It can't be one.
        """
        return ReadHistory(_check_job_id(job_id))

    def _checked_job(
        self,
        input_hash: str,
        blockchain_identifier: str | None,
        idempotency_key: str | None,
        given: object,
        priority: int,
        deadlines: Mapping[Status, Deadline] | None,
    ) -> CheckedJob:
        return CheckedJob(
            check_text("job_id", self._new_id(), MAX_IDENTIFIER_CHARACTERS),
            check_text("input_hash", input_hash, MAX_INPUT_HASH_CHARACTERS),
            check_optional_text(
                "blockchain_identifier", blockchain_identifier, MAX_IDENTIFIER_CHARACTERS
            ),
            check_optional_text("idempotency_key", idempotency_key, MAX_IDENTIFIER_CHARACTERS),
            None if given is None else json_text("input", given, MAX_INPUT_CHARACTERS),
            NO_EXECUTION
            if priority is _NO_PRIORITY and deadlines is None
            else self._execution(priority, deadlines),
        )

    def _execution(self, priority: int, deadlines: Mapping[Status, Deadline] | None) -> Execution:
        check_integer("priority", priority, -MAX_PRIORITY, MAX_PRIORITY)
        return Execution(priority, deadlines_text(self._lifecycle, deadlines))

    def _checked_move(
        self,
        job_id: str,
        target: Status,
        result: str | None,
        error: str | None,
        expected_version: int | None,
        attempt_token: str | None,
    ) -> CheckedMove:
        value = self._lifecycle.value(target)
        if result is not None or error is not None:
            result = check_optional_text("result", result, MAX_RESULT_CHARACTERS, shortest=0)
            error = check_optional_text("error", error, MAX_ERROR_CHARACTERS, shortest=0)
            self._lifecycle.validate_outcome(value, result, error)
        if expected_version is not None:
            check_integer("expected_version", expected_version, 1)
        if attempt_token is not None:
            check_text("attempt_token", attempt_token, MAX_IDENTIFIER_CHARACTERS)
        return CheckedMove(
            _check_job_id(job_id), value, result, error, expected_version, attempt_token
        )


def _each(
    items: Iterable[Item], kind: type[Item], check: Callable[[Item], Checked]
) -> list[Checked]:
    """Check every item; an error says which one was wrong.

    Raises:
        InvalidValueError: An item is not of the kind, or did not pass; or there are too many.
    """
    checked: list[Checked] = []
    if not isinstance(items, Iterable):
        raise InvalidValueError("items", f"must be several, not {shown(items)}")
    try:
        for item in items:
            if not isinstance(item, kind):
                raise InvalidValueError("item", f"must be a {kind.__name__}, not {shown(item)}")
            if len(checked) == MAX_BULK_ITEMS:
                raise InvalidValueError("item", f"is one too many: {MAX_BULK_ITEMS} at most a call")
            checked.append(check(item))
    except EngineError as error:
        error.item = len(checked)
        raise
    return checked


def _check_job_id(value: object) -> str:
    return check_text("job_id", value, MAX_IDENTIFIER_CHARACTERS)
