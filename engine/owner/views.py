"""Views: make the snapshots that callers get.

Done in the caller's own task or thread, so that the owner is not kept busy with it. The values were
checked when they came in; validating them again would take four times as long as building a model
from them, and `pydantic.BaseModel.model_construct` does not take less. So a snapshot is given just
the four attributes that pydantic documents every model to have, here and nowhere else; a test
compares the outcome with a validated model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, cast

from anyio.lowlevel import checkpoint
from pydantic import BaseModel
from typing_extensions import TypeVar

from engine.domain.audit_entry import AuditEntry
from engine.domain.deadlines import shown_deadlines
from engine.domain.epochs import Epochs
from engine.domain.exceptions import (
    EngineError,
    JobFailedError,
    StorageDamagedError,
)
from engine.domain.failed_attempt import FailedAttempt
from engine.domain.follow_up_rules import Rules
from engine.domain.follow_ups import FollowUp
from engine.domain.json_text import value_of
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import (
    Job,
    JobPage,
    JobStatus,
    Progress,
    Prompt,
    Statistics,
    Status,
    Transition,
)
from engine.domain.outcomes import Outcome
from engine.domain.past_status import PastStatus
from engine.domain.snapshot import NOTHING
from engine.owner.cursors import cursor_of
from engine.owner.message import Message
from engine.owner.results import result_as
from engine.storage.answers import StoredPage
from engine.storage.audit import DamagedAuditLine, KeptAuditLine
from engine.storage.record import (
    NO_EXECUTION,
    AttemptRecord,
    Damaged,
    Entry,
    Execution,
    Record,
    default_identifier,
)

Model = TypeVar("Model", bound=BaseModel)

# A slice takes some milliseconds: so many plain jobs, or 64 times as many characters of JSON.
_SLICE_JOBS: Final = 2_000
_CHARACTERS_OF_A_JOB: Final = 64


def slot_setter(name: str) -> Callable[[BaseModel, object], None]:
    """Return the function that sets a slot of any pydantic model.

    Raises:
        RuntimeError: This version of pydantic has no such slot.
    """
    try:
        setter: Callable[[BaseModel, object], None] = BaseModel.__dict__[name].__set__
    except (KeyError, AttributeError):
        raise RuntimeError(
            f"pydantic's BaseModel has no slot {name} any more: see engine/owner/views.py"
        ) from None
    return setter


_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}

_new = object.__new__
_set_fields = slot_setter("__dict__")
_set_fields_set = slot_setter("__pydantic_fields_set__")
_set_extra = slot_setter("__pydantic_extra__")
_set_private = slot_setter("__pydantic_private__")


class Views(Generic[Status]):
    """Makes snapshots of records, for one lifecycle.

    Args:
        lifecycle: Has the statuses.
        progress: The newest progress of each running job, by its id.
        epochs: The epochs of the history.
    """

    def __init__(
        self, lifecycle: Lifecycle[Status], progress: Mapping[str, Progress], epochs: Epochs
    ) -> None:
        self._epochs = epochs
        self._success = lifecycle.success
        self._member_of = {lifecycle.value(status): status for status in lifecycle.statuses}
        self._shown_as = _PastStatuses(self._member_of)
        statuses: Any = lifecycle.statuses
        # The default lifecycle's snapshots are of the plain classes, as callers write them.
        plain = statuses is JobStatus
        self._page = JobPage if plain else JobPage[statuses]
        self._transition = Transition if plain else Transition[statuses]
        self._statistics = Statistics if plain else Statistics[statuses]
        self.job = job_maker(Job if plain else Job[statuses], self._shown_as, progress)
        """Returns the snapshot of a record. A status of other engines is shown as its text."""

    def status(self, value: str) -> Status | PastStatus:
        """Return a status by its value; one of another lifecycle is its text."""
        shown: Status | PastStatus = self._shown_as[value]
        return shown

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

    def result(self, job: Job[Status], kind: Any) -> Any:  # noqa: ANN401 - as it is asked for
        """Return the result of a job that has ended, made into a kind of value.

        Raises:
            JobFailedError: It has none, because it has failed.
            InvalidValueError: The result doesn't fit the kind, or pydantic doesn't know the kind.
        """
        if job.status not in self._success:
            raise JobFailedError(job.job_id, str(job.status.value), job.error)
        return result_as(job, kind)

    def jobs(self, records: Sequence[Record]) -> list[Job[Status]]:
        """Return the snapshots of records."""
        return [self.job(record) for record in records]

    async def jobs_in_slices(self, records: Sequence[Record]) -> list[Job[Status]]:
        """Return the snapshots of records; let other tasks run after each slice.

        A slice takes some milliseconds; an answer that is no larger takes no checkpoint.
        """
        jobs: list[Job[Status]] = []
        for part in _slices(records):
            if jobs:
                await checkpoint()
            jobs += self.jobs(part)
        return jobs

    def page(self, stored: StoredPage, *, newest_first: bool) -> JobPage[Status]:
        """Return a page of jobs."""
        records, damaged = _parted(stored)
        return self._page_of(self.jobs(records), damaged, _cursor(stored, newest_first))

    async def page_in_slices(self, stored: StoredPage, *, newest_first: bool) -> JobPage[Status]:
        """Return a page of jobs; see `jobs_in_slices`."""
        records, damaged = _parted(stored)
        jobs = await self.jobs_in_slices(records)
        return self._page_of(jobs, damaged, _cursor(stored, newest_first))

    def _page_of(
        self, jobs: list[Job[Status]], damaged: Sequence[Damaged], next_cursor: str | None
    ) -> JobPage[Status]:
        fields = {
            "jobs": tuple(jobs),
            "next_cursor": next_cursor,
            "damaged": tuple(each.job_id for each in damaged),
        }
        return _build(self._page, fields)

    def transitions(self, entries: Sequence[Entry]) -> list[Transition[Status]]:
        """Return the lines of a history."""
        shown_as, epoch_at = self._shown_as, self._epochs.name_at
        return [
            _build(
                self._transition,
                {
                    "sequence": entry.sequence,
                    "job_id": entry.job_id,
                    "from_status": entry.from_status and shown_as[entry.from_status],
                    "to_status": shown_as[entry.to_status],
                    "at": entry.at,
                    "by": entry.by,
                    "reason": entry.reason,
                    "epoch": epoch_at(entry.sequence),
                },
            )
            for entry in entries
        ]

    def attempts(self, records: Sequence[AttemptRecord]) -> list[FailedAttempt]:
        """Return failed attempts."""
        return [
            _build(FailedAttempt, {**record._asdict(), "outcome": Outcome(record.outcome)})
            for record in records
        ]

    def audit(self, lines: Sequence[KeptAuditLine | DamagedAuditLine]) -> list[AuditEntry]:
        """Return entries of the audit.

        Raises:
            StorageDamagedError: One of them can't be read.
        """
        return [*map(_audit_entry, lines)]

    def rules(self, rules: Rules) -> list[FollowUp[Status]]:
        """Return the rules of follow-ups, in the order of their kinds."""
        return [rule.follow_up(self._member_of) for rule in rules]

    def statistics(self, fields: dict[str, Any]) -> Statistics[Status]:
        """Build the statistics from these fields."""
        return _build(self._statistics, fields)


class _PastStatuses(dict[str, Any]):
    """Members of an enum by their values. A value that none has is shown as its text."""

    def __missing__(self, value: str) -> PastStatus:
        return PastStatus(value)


def _audit_entry(line: KeptAuditLine | DamagedAuditLine) -> AuditEntry:
    if isinstance(line, DamagedAuditLine):
        raise StorageDamagedError(f"{line}; those behind it are read with before={line.number}")
    arguments = {} if line.arguments is None else json.loads(line.arguments)
    return _build(AuditEntry, {**line._asdict(), "arguments": arguments})


def _parted(stored: StoredPage) -> tuple[Sequence[Record], Sequence[Damaged]]:
    """Return the jobs of a page that can be shown, and the others."""
    damaged = [each for each in stored.jobs if isinstance(each, Damaged)]
    if not damaged:  # nearly always
        return cast("Sequence[Record]", stored.jobs), damaged
    return [each for each in stored.jobs if not isinstance(each, Damaged)], damaged


def _cursor(stored: StoredPage, newest_first: bool) -> str | None:  # noqa: FBT001 - handed on
    after = stored.next_after
    return None if after is None else cursor_of(after, newest_first=newest_first)


def _slices(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Split records into slices, whose snapshots are made without a checkpoint."""
    start = size = 0
    for place, record in enumerate(records):
        size += 1
        given, execution = record.input, record.execution
        if given is not None:
            size += len(given) // _CHARACTERS_OF_A_JOB
        if execution is not NO_EXECUTION:
            size += len(execution.prompt or "") // _CHARACTERS_OF_A_JOB
        if size >= _SLICE_JOBS:
            yield records[start : place + 1]
            start, size = place + 1, 0
    yield records[start:]


def job_maker(
    kind: type[Job[Status]], member_of: Mapping[str, Status], progress: Mapping[str, Progress]
) -> Callable[[Record], Job[Status]]:
    """Return a function that returns the snapshot of a record.

    A closure, because it runs once for each job of each answer.

    Args:
        kind: The class of the snapshots.
        member_of: The statuses, by their values.
        progress: The newest progress of running jobs, by their ids.
    """
    names = set(kind.model_fields)  # one for all: nobody changes the fields set of a frozen model
    defaults = {name: field.get_default() for name, field in kind.model_fields.items()}
    defaults |= {"labels": NOTHING, "deadlines": NOTHING}

    def make(record: Record) -> Job[Status]:
        execution, given, outcome = record.execution, record.input, record.outcome
        payment_id, labels = record.blockchain_identifier, record.labels
        job = _new(kind)
        fields = defaults.copy()
        fields["job_id"] = job_id = record.job_id
        fields["status"] = member_of[record.status]
        fields["input_hash"] = record.input_hash
        fields["payment_id"] = payment_id
        fields["blockchain_identifier"] = payment_id or default_identifier(job_id)
        fields["kind"] = record.kind
        fields["created_at"] = record.created_at
        fields["updated_at"] = record.updated_at
        fields["started_at"] = record.started_at
        fields["sequence"] = record.sequence
        fields["result"] = record.result
        fields["error"] = record.error
        fields["version"] = record.version
        fields["idempotency_key"] = record.idempotency_key
        if labels is not None:
            fields["labels"] = value_of(labels)
        if outcome is not None:
            fields["outcome"] = _OUTCOMES[outcome]
        if given is not None:
            fields["input"] = value_of(given)
        if execution is not NO_EXECUTION:
            _add_execution(fields, execution)
        if (origin := record.origin) is not None:
            fields["parent_id"] = origin.parent_id
            fields["parent_version"] = origin.parent_version
        if progress and (newest := progress.get(job_id)) is not None:
            is_at_work = execution.token is not None and newest.attempt == execution.attempt
            fields["progress"] = newest if is_at_work else None
        _set_fields(job, fields)
        _set_fields_set(job, names)
        _set_extra(job, None)
        _set_private(job, None)
        return job

    return make


def _add_execution(fields: dict[str, Any], execution: Execution) -> None:
    """Set the fields that only handlers, deadlines and priorities need."""
    fields["priority"] = execution.priority
    fields["attempt"] = execution.attempt
    fields["next_attempt_at"] = execution.retry_at
    fields["not_before"] = execution.not_before
    fields["claimed_at"] = execution.claimed_at
    fields["last_error"] = execution.last_error
    fields["failures"] = execution.failures
    fields["deaths"] = execution.deaths or 0
    fields["deadline_at"] = execution.deadline_at
    fields["cancel_reason"] = execution.cancel_reason
    fields["repeat_of"] = execution.repeat_of
    fields["repeated_by"] = execution.repeated_by
    fields["result_form"] = execution.result_form
    if execution.deadlines is not None:
        fields["deadlines"] = shown_deadlines(execution.deadlines)
    if execution.prompt is not None:
        fields["prompt"] = Prompt.model_validate_json(execution.prompt)
    if execution.trace is not None:
        fields["trace"] = value_of(execution.trace)


def _build(kind: type[Model], fields: dict[str, Any]) -> Model:
    model = _new(kind)
    _set_fields(model, fields)
    _set_fields_set(model, set(fields))
    _set_extra(model, None)
    _set_private(model, None)
    return model
