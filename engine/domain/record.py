"""The record: how the engine keeps a job, and the one place that knows its layout.

A record is a plain tuple of texts, integers and times, for two measured reasons. A live frozen
pydantic job takes 1,290 bytes where a record and its texts take less than 500; and CPython's
garbage collector stops tracking an exact tuple whose items hold no references (``gcmodule.c``,
``_PyTuple_MaybeUntrack``), so that a million live jobs cost a collection nothing, where a million
objects stop the event loop for a tenth of a second. A subclass, such as a NamedTuple, would be
walked for ever; so would an enum member in it: the status is therefore its plain value.

Records never leave the engine: callers get `engine.domain.models.Job`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias

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


Change: TypeAlias = tuple[
    int,  # its sequence number: 1 for the engine's first change, without gaps
    str | None,  # the status before; None when the job was created
    Record,  # the job after it: its status is the one moved to, its updated_at the time
]
"""One decided transition: what a storage commits."""


class Damaged(NamedTuple):
    """What stands in the place of a record that a storage could not read."""

    job_id: str
    position: int
    problem: str


class Entry(NamedTuple):
    """One line of a job's history, as a storage keeps it."""

    sequence: int
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
    record: Record, status: str, now: datetime, result: str | None, error: str | None
) -> Record:
    """Return the record after a move; its time never goes backwards when the clock does."""
    job_id, _, input_hash, identifier, created_at, updated_at, _, _, version, position, key = record
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
    )
