"""What both facades share: calls become messages, and records become what callers see.

A call's arguments are checked here, in the caller's own task or thread, before anything is queued;
answers are turned into snapshots here too, so that the owner is not kept busy with either.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final, Generic, TypeAlias

from pydantic import BaseModel
from typing_extensions import TypeVar

from engine.domain.exceptions import EngineError, InvalidValueError, shown
from engine.domain.lifecycle import Lifecycle
from engine.domain.limits import (
    MAX_BULK_ITEMS,
    MAX_ERROR_CHARACTERS,
    MAX_IDENTIFIER_CHARACTERS,
    MAX_INPUT_HASH_CHARACTERS,
    MAX_INTEGER,
    MAX_PAGE_JOBS,
    MAX_RESULT_CHARACTERS,
    check_integer,
    check_optional_text,
    check_text,
)
from engine.domain.models import Job, JobPage, JobStatus, Move, NewJob, Status, Transition
from engine.domain.record import POSITION, Entry, Record
from engine.messages import (
    CountJobs,
    CreateJobs,
    Draft,
    GetJobs,
    ListJobs,
    Message,
    MoveJobs,
    ReadHistory,
    Step,
)

IdSource: TypeAlias = Callable[[], str]

_CURSOR_FORM: Final = "position "
Item = TypeVar("Item")
Checked = TypeVar("Checked")
Model = TypeVar("Model", bound=BaseModel)


def new_job_id() -> str:
    """Return a new UUID4 as text (RFC 9562, section 5.4), from the system's random source.

    Twice as fast as `uuid.uuid4`, which builds an object to be printed and thrown away.
    """
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


class Codec(Generic[Status]):
    """Turns calls into messages and records into snapshots, for one lifecycle and id source."""

    def __init__(self, lifecycle: Lifecycle[Status], new_id: IdSource) -> None:
        self._lifecycle = lifecycle
        self._new_id = new_id
        self._member_of = {lifecycle.value(status): status for status in lifecycle.statuses}
        statuses: Any = lifecycle.statuses
        # The default lifecycle's snapshots are of the plain classes, as callers write them.
        plain = statuses is JobStatus
        self._job_class: type[Job[Status]] = Job if plain else Job[statuses]
        self._page_class: type[JobPage[Status]] = JobPage if plain else JobPage[statuses]
        self._transition_class: type[Transition[Status]] = (
            Transition if plain else Transition[statuses]
        )

    def create(
        self, input_hash: str, blockchain_identifier: str | None, idempotency_key: str | None
    ) -> CreateJobs:
        """Check a new job and give it an id.

        Raises:
            InvalidValueError: A text is of the wrong type, size or form.
        """
        return CreateJobs([self._draft(input_hash, blockchain_identifier, idempotency_key)])

    def create_many(self, jobs: Iterable[NewJob]) -> CreateJobs:
        """Check new jobs and give each an id.

        Raises:
            InvalidValueError: As for `create`; or an item is no `NewJob`; or too many items.
        """
        return CreateJobs(
            _each(
                jobs,
                NewJob,
                lambda job: self._draft(
                    job.input_hash, job.blockchain_identifier, job.idempotency_key
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
    ) -> MoveJobs:
        """Check a move.

        Raises:
            InvalidValueError: A value is of the wrong type, size or form; a result is given without
                success, or an error without failure.
        """
        return MoveJobs([self._step(job_id, target, result, error, expected_version)])

    def transition_many(self, moves: Iterable[Move[Status]]) -> MoveJobs:
        """Check moves.

        Raises:
            InvalidValueError: As for `transition`; or an item is no `Move`; or too many items.
        """
        return MoveJobs(
            _each(
                moves,
                Move,
                lambda move: self._step(
                    move.job_id, move.target, move.result, move.error, move.expected_version
                ),
            )
        )

    def get(self, job_id: str) -> GetJobs:
        """Check a job id.

        Raises:
            InvalidValueError: It can't be one.
        """
        return GetJobs([_check_job_id(job_id)])

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
        return ListJobs(value, limit + 1, 0 if after is None else _position(after))

    def history(self, job_id: str) -> ReadHistory:
        """Check a job id.

        Raises:
            InvalidValueError: It can't be one.
        """
        return ReadHistory(_check_job_id(job_id))

    def job(self, record: Record) -> Job[Status]:
        """Return the snapshot of a record."""
        job_id, status, input_hash, identifier, created, updated, result, error, version, _, key = (
            record
        )
        return _trusted(
            self._job_class,
            {
                "job_id": job_id,
                "status": self._member_of[status],
                "input_hash": input_hash,
                "blockchain_identifier": identifier,
                "created_at": created,
                "updated_at": updated,
                "result": result,
                "error": error,
                "version": version,
                "idempotency_key": key,
            },
        )

    def one(self, message: Message[Sequence[Record]]) -> Job[Status]:
        """Return the snapshot that answers a message about one job.

        Raises:
            EngineError: The answer; it speaks of no item, as there is only one.
        """
        try:
            [record] = message.outcome()
        except EngineError as error:
            error.item = None
            raise
        return self.job(record)

    def jobs(self, records: Sequence[Record]) -> list[Job[Status]]:
        """Return the snapshots of records."""
        return [self.job(record) for record in records]

    def page(self, records: Sequence[Record], limit: int) -> JobPage[Status]:
        """Return a page of up to ``limit`` jobs; a record more says that there is another page."""
        shown_records = records[:limit]
        more = len(records) > limit
        cursor = _cursor(shown_records[-1][POSITION]) if more else None
        jobs = tuple(self.jobs(shown_records))
        return _trusted(self._page_class, {"jobs": jobs, "next_cursor": cursor})

    def transitions(self, entries: Sequence[Entry]) -> list[Transition[Status]]:
        """Return the lines of a history."""
        member_of = self._member_of
        return [
            _trusted(
                self._transition_class,
                {
                    "sequence": sequence,
                    "from_status": None if from_status is None else member_of[from_status],
                    "to_status": member_of[to_status],
                    "at": at,
                },
            )
            for sequence, from_status, to_status, at in entries
        ]

    def _draft(
        self, input_hash: str, blockchain_identifier: str | None, idempotency_key: str | None
    ) -> Draft:
        return (
            check_text("job_id", self._new_id(), MAX_IDENTIFIER_CHARACTERS),
            check_text("input_hash", input_hash, MAX_INPUT_HASH_CHARACTERS),
            check_optional_text(
                "blockchain_identifier", blockchain_identifier, MAX_IDENTIFIER_CHARACTERS
            ),
            check_optional_text("idempotency_key", idempotency_key, MAX_IDENTIFIER_CHARACTERS),
        )

    def _step(
        self,
        job_id: str,
        target: Status,
        result: str | None,
        error: str | None,
        expected_version: int | None,
    ) -> Step:
        value = self._lifecycle.value(target)
        if result is not None or error is not None:
            check_optional_text("result", result, MAX_RESULT_CHARACTERS, shortest=0)
            check_optional_text("error", error, MAX_ERROR_CHARACTERS, shortest=0)
            self._lifecycle.validate_outcome(value, result, error)
        if expected_version is not None:
            check_integer("expected_version", expected_version, 1)
        return (_check_job_id(job_id), value, result, error, expected_version)


def _each(
    items: Iterable[Item], kind: type[Item], check: Callable[[Item], Checked]
) -> list[Checked]:
    """Check every item; an error says which one was wrong.

    Raises:
        InvalidValueError: An item is not of the kind, or did not pass; or there are too many.
    """
    checked: list[Checked] = []
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


def _cursor(position: int) -> str:
    return urlsafe_b64encode(f"{_CURSOR_FORM}{position}".encode()).decode().rstrip("=")


def _position(cursor: object) -> int:
    text = check_text("after", cursor, MAX_IDENTIFIER_CHARACTERS)
    try:
        plain = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        form, digits = plain[: len(_CURSOR_FORM)], plain[len(_CURSOR_FORM) :]
        position = int(digits)
        if form == _CURSOR_FORM and _cursor(position) == text and 0 < position <= MAX_INTEGER:
            return position
    except ValueError:
        pass
    raise InvalidValueError("after", f"must be the next_cursor of a page, not {shown(cursor)}")


def _trusted(kind: type[Model], fields: dict[str, Any]) -> Model:
    """Build a snapshot from values that were checked when they came in.

    Validation would take four times as long, and `model_construct` does not take less. Sets just
    what pydantic documents a model to have, and a test compares the outcome with a validated model.
    """
    model = _new(kind)
    _set_fields(model, fields)
    _set_fields_set(model, _names_of(kind))
    _set_extra(model, None)
    _set_private(model, None)
    return model


@cache
def _names_of(kind: type[BaseModel]) -> frozenset[str]:
    return frozenset(kind.model_fields)


_new = object.__new__
_set_fields = BaseModel.__dict__["__dict__"].__set__
_set_fields_set = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_set_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
_set_private = BaseModel.__dict__["__pydantic_private__"].__set__
