"""The record: how the engine keeps a job, and the one place that knows its layout.

A record is a plain tuple of texts, integers and times, for two measured reasons. A live frozen
pydantic job takes 1,290 bytes where a record and its texts take less than 500; and CPython's
garbage collector stops tracking an exact tuple whose items hold no references (``gcmodule.c``,
``_PyTuple_MaybeUntrack``), so that a million live jobs cost a collection nothing, where a million
objects stop the event loop for a tenth of a second. A subclass, such as a NamedTuple, would be
walked for ever; so would an enum member in it: the status is therefore its plain value.

Records never leave the engine: callers get `engine.domain.models.Job`.

What only jobs with handlers, deadlines or a priority have stands in a tuple of its own, the work;
most jobs of an engine that is used as a mere state machine have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias, cast

Work: TypeAlias = tuple[
    int,  # priority: higher ones are claimed first
    str | None,  # deadlines: by status, a JSON object of seconds or times; see `deadlines`
    datetime | None,  # deadline_at: when the present status is left by force
    int,  # attempt: the number of the newest attempt; 0 before the first
    int,  # failures: how many attempts count against the retries
    str | None,  # token: of the attempt that has the job; None when none has
    datetime | None,  # retry_at: not claimed before
    str | None,  # prompt: what is being asked, a JSON object; see `prompts`
    str | None,  # answers: what was answered so far, a JSON object by the names of the prompts
    str | None,  # cancel_reason: why somebody wants it to end; None when nobody does
]

Record: TypeAlias = tuple[
    str,  # the job's id
    str,  # its status, the enum member's value
    str,  # input_hash
    str | None,  # blockchain_identifier; None for the default, which is made of the id
    datetime,  # created_at, aware, UTC
    datetime,  # updated_at, aware, UTC, never before created_at
    str | None,  # result
    str | None,  # error
    int,  # version: 1 when created, one more with each change
    int,  # position: 1 for the first job of the engine; the order of a listing
    str | None,  # idempotency_key
    str | None,  # input: what the handler is given, as JSON
    Work | None,
]

JOB_ID: Final = 0
STATUS: Final = 1
INPUT_HASH: Final = 2
BLOCKCHAIN_IDENTIFIER: Final = 3
CREATED_AT: Final = 4
UPDATED_AT: Final = 5
VERSION: Final = 8
POSITION: Final = 9
IDEMPOTENCY_KEY: Final = 10
INPUT: Final = 11
WORK: Final = 12

# Of a work:
DEADLINE_AT: Final = 2
TOKEN: Final = 5
RETRY_AT: Final = 6


class WorkState(NamedTuple):
    """A work with names, to be read or changed; it is kept as a plain tuple, `kept`."""

    priority: int = 0
    deadlines: str | None = None
    deadline_at: datetime | None = None
    attempt: int = 0
    failures: int = 0
    token: str | None = None
    retry_at: datetime | None = None
    prompt: str | None = None
    answers: str | None = None
    cancel_reason: str | None = None

    @classmethod
    def of(cls, record: Record) -> WorkState:
        """Return the work of a job."""
        work = record[WORK]
        return NO_WORK if work is None else cls(*work)

    def kept(self) -> Work:
        """Return it as it is kept in a record."""
        return cast("Work", tuple(self))


NO_WORK: Final = WorkState()


Change: TypeAlias = tuple[
    int | None,  # the transition's sequence number: 1 for the engine's first one, without gaps
    str | None,  # the status before; None when the job was created
    Record,  # the job after it: its status is the one moved to, its updated_at the time
]
"""One decided change: what a storage commits.

Most are transitions. One without a sequence number is none: only the job's work is another. It
leaves status, version and updated_at as they are, and no line in the history.
"""


class Damaged(NamedTuple):
    """What stands in the place of a record that a storage could not read."""

    job_id: str
    position: int
    problem: str


class Entry(NamedTuple):
    """One line of history, as a storage keeps it."""

    sequence: int
    job_id: str
    from_status: str | None
    to_status: str
    at: datetime


def blockchain_identifier(job_id: str, given: str | None) -> str:
    """Return a job's identifier: the one it was given, or the default."""
    return given or f"mock_bc_{job_id}"


def newest_records(changes: Sequence[Change]) -> dict[str, Record]:
    """Return the newest record of each job that changes, by id."""
    return {record[JOB_ID]: record for _, _, record in changes}


def moved(
    record: Record,
    status: str,
    now: datetime,
    result: str | None,
    error: str | None,
    work: Work | None = None,
) -> Record:
    """Return the record after a move; its time never goes backwards when the clock does."""
    job_id, _, input_hash, identifier, created_at, updated_at, _, _, version, position, key, *_ = (
        record
    )
    return (
        job_id,
        status,
        input_hash,
        identifier,
        created_at,
        max(updated_at, now),
        result,
        error,
        version + 1,
        position,
        key,
        record[INPUT],
        work,
    )


def reworked(record: Record, **changes: Any) -> Record:  # noqa: ANN401 - fields of `WorkState`
    """Return the record with another work, and nothing else changed."""
    work = WorkState.of(record)._replace(**changes).kept()
    return (*record[:WORK], work)
