"""Arriving: create jobs in transactions of callers, on their connections."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from engine.domain.exceptions import InvalidValueError
from engine.domain.follow_up_rules import StoredRules
from engine.storage.answers import CheckedOut, Names
from engine.storage.postgres.arrivals import ARRIVAL_COLUMNS
from engine.storage.postgres.columns import RECORD_COLUMNS, type_of
from engine.storage.postgres.drivers import Answer, async_driver_of, driver_of
from engine.storage.postgres.rows import Row, job_row, kept_of, record_of
from engine.storage.postgres.statements import FOUND_BY
from engine.storage.record import Change
from engine.storage.shared import Decide

_MISSING: Final = {"3F000", "42883"}  # a schema or a function
_NOBODY: Final = 0  # has the jobs: none has an attempt yet


class Arriving:
    """Puts new jobs into transactions of callers. Any thread may call it.

    Args:
        subject: The database, for errors.
        schema: The schema's name.
        running: The running status.
        place: What `engine.storage.postgres.arrivals` tells of the engine's own connection.
    """

    def __init__(self, subject: str, schema: str, running: str, place: Sequence[object]) -> None:
        self._subject = subject
        self._schema = schema
        self._running = running
        self._place = place

    async def arrive(self, connection: object, names: Names, decide: Decide) -> None:
        """See `engine.storage.Shared.arrive`."""
        with self._in_other_places():
            driver = await async_driver_of(connection)
            answer = await driver.call(self._schema, "find_1", _names_text(names))
            if changes := decide(*self._found(answer, names)):
                await driver.call(self._schema, "arrive_1", self._jobs_text(changes))

    def arrive_blocking(self, connection: object, names: Names, decide: Decide) -> None:
        """See `engine.storage.Shared.arrive_blocking`."""
        with self._in_other_places():
            driver = driver_of(connection)
            answer = driver.call(self._schema, "find_1", _names_text(names))
            if changes := decide(*self._found(answer, names)):
                driver.call(self._schema, "arrive_1", self._jobs_text(changes))

    @contextmanager
    def _in_other_places(self) -> Iterator[None]:
        """Refuse a connection to a database that has no such schema."""
        try:
            yield
        except Exception as error:
            if getattr(error, "sqlstate", None) in _MISSING:
                raise self._elsewhere() from error
            raise

    def _elsewhere(self) -> InvalidValueError:
        return InvalidValueError(
            "connection",
            f"must be to the engine's own database, {self._subject}, which has its jobs in the "
            f"schema {self._schema!r}: this one is to another, or to a copy",
        )

    def _found(self, answer: Answer, names: Names) -> tuple[CheckedOut, StoredRules]:
        """Return the jobs that have the names, and the rules of follow-ups.

        Raises:
            InvalidValueError: The connection is to another place, has no transaction, or one that
                jobs can't be created in.
        """
        told = json.loads(answer.text)
        if told["place"] != self._place:
            raise self._elsewhere()
        if not answer.in_transaction:
            raise InvalidValueError(
                "connection",
                "must be in a transaction, and is in autocommit: begin one, create the job, and "
                "commit",
            )
        if (isolation := told["isolation"]) != "read committed":
            raise InvalidValueError(
                "connection",
                f"must be in a transaction with the isolation read committed, not {isolation}: "
                "jobs get their numbers in the order of commits",
            )
        return _checked_out(told["jobs"], names), StoredRules(*told["rules"])

    def _jobs_text(self, changes: Sequence[Change]) -> str:
        return json.dumps([self._job(change) for change in changes])

    def _job(self, change: Change) -> dict[str, Any]:
        record, act = change.record, change.act
        kept = kept_of(record, self._running, _NOBODY, ())
        values = (*job_row(record, kept, 0)[1:], act.by, act.reason)
        named = zip(ARRIVAL_COLUMNS, values, strict=True)
        return {
            column: value.isoformat() if isinstance(value, datetime) else value
            for column, value in named
            if value is not None
        }


def _names_text(names: Names) -> str:
    return json.dumps(names._asdict())


def _checked_out(jobs: Sequence[dict[str, Any]], names: Names) -> CheckedOut:
    found = CheckedOut()
    records = [record_of(_row(job)) for job in jobs]
    for part, its_names, attribute in zip(found.parts, names, FOUND_BY, strict=True):
        by_name = {getattr(record, attribute): record for record in records}
        part.jobs.update((name, by_name[name]) for name in its_names if name in by_name)
    return found


def _row(job: dict[str, Any]) -> Row:
    return (*(_value(column, job[column]) for column in RECORD_COLUMNS), job["sequence"])


def _value(column: str, value: object) -> object:
    if isinstance(value, str) and type_of(column) == "timestamptz":
        return datetime.fromisoformat(value).astimezone(UTC)
    return value
