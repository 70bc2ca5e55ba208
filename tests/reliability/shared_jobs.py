"""The jobs of a database that engines shared, read by SQL alone, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any, Final, TypeAlias

import psycopg

Faults: TypeAlias = Callable[[], Awaitable[object]]
"""Does harm, and returns when it was enough."""
Line: TypeAlias = tuple[int, str, str]
"""A transition: its number, its job, and the status that the job entered."""

# A status of no job follows another one's: each line begins where the job's line before it ended.
_BROKEN_CHAINS: Final = """
SELECT job_id FROM (
    SELECT job_id, from_status,
        lag(to_status) OVER (PARTITION BY position ORDER BY sequence) AS before
    FROM engine.transitions
) AS line WHERE from_status IS DISTINCT FROM before
"""
_WRONG_ROWS: Final = """
SELECT job.job_id FROM engine.jobs AS job LEFT JOIN LATERAL (
    SELECT count(*) AS lines, (array_agg(to_status ORDER BY sequence DESC))[1] AS newest
    FROM engine.transitions WHERE position = job.position
) AS its ON true WHERE its.lines <> job.version OR its.newest IS DISTINCT FROM job.status
"""
_GAPS: Final = """
SELECT sequence FROM engine.transitions AS line WHERE sequence > 1 AND NOT EXISTS (
    SELECT FROM engine.transitions WHERE sequence = line.sequence - 1
)
"""
_ENDED_TWICE: Final = """
SELECT job_id FROM engine.transitions WHERE to_status = 'completed'
GROUP BY job_id HAVING count(*) > 1
"""
_RULES: Final = {
    "has a gap before": _GAPS,
    "has a history that breaks off": _BROKEN_CHAINS,
    "differs from its history": _WRONG_ROWS,
    "ended twice": _ENDED_TWICE,
}


class SharedJobs:
    """The jobs of a database, for somebody who is no engine.

    Args:
        url: The database.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection = psycopg.connect(url, autocommit=True)

    def reconnect(self) -> None:
        """Connect again, because the server was away."""
        self._connection.close()
        self._connection = psycopg.connect(self._url, autocommit=True)

    def close(self) -> None:
        self._connection.close()

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement.encode(), values).fetchall()

    def execute(self, statement: str) -> None:
        self._connection.execute(statement.encode())

    def engines(self) -> dict[str, bool]:
        """Return whether each engine that has a row is dead, by its name."""
        return dict(self.rows("SELECT name, dead FROM engine.engines"))

    def newest_sequence(self) -> int:
        [(sequence,)] = self.rows("SELECT coalesce(max(sequence), 0) FROM engine.transitions")
        return int(sequence)

    def lines(self) -> list[Line]:
        """Return the whole history, in its order."""
        return self.rows(
            "SELECT sequence, job_id, to_status FROM engine.transitions ORDER BY sequence"
        )

    def waiting(self) -> list[str]:
        """Return the ids of the jobs that nobody has started."""
        found = self.rows("SELECT job_id FROM engine.jobs WHERE status = 'awaiting_payment'")
        return [job_id for (job_id,) in found]

    def unfinished(self) -> list[str]:
        """Return the rows of the jobs that have yet to be completed, as far as it matters."""
        found = self.rows(
            "SELECT row_to_json(its) FROM (SELECT job_id, revision, status, attempt, token, "
            "holder, ready, retry_at, due_at, died_attempt FROM engine.jobs "
            "WHERE status <> 'completed' LIMIT 1000) AS its"
        )
        return [str(row) for (row,) in found]

    def count_unended(self) -> int:
        """Return the number of jobs that have yet to end, in whatever way."""
        [(count,)] = self.rows("SELECT count(*) FROM engine.jobs WHERE ended_at IS NULL")
        return int(count)

    def inputs(self) -> dict[str, str]:
        """Return the id of the job of each input."""
        return dict(self.rows("SELECT input::jsonb #>> '{}', job_id FROM engine.jobs"))

    def completed(self) -> list[tuple[str, str, int, int]]:
        """Return id, result, number of the newest attempt and number of the end of each job."""
        return self.rows(
            "SELECT job.job_id, result, attempt, sequence FROM engine.jobs AS job "
            "JOIN engine.transitions AS line ON line.position = job.position "
            "WHERE status = 'completed' AND to_status = 'completed'"
        )

    def problems(
        self,
        told: Mapping[str, str],
        refused: Collection[str] = (),
        deaths: Mapping[str, int] | None = None,
    ) -> Iterator[str]:
        """Compare the jobs with what the engines said of them, and with themselves.

        Args:
            told: The ids of the jobs whose creation was acknowledged, by their inputs.
            refused: The inputs of those that were refused, and not applied.
            deaths: The newest transition at the death of each dead engine, by the engine's name.
        """
        inputs = self.inputs()
        for text, job_id in told.items():
            if inputs.get(text) != job_id:
                yield f"lost: {text}, {job_id}"
        for text in inputs.keys() & set(refused):
            yield f"refused, yet there: {text}"
        for what, statement in _RULES.items():
            for (found,) in self.rows(statement):
                yield f"{found} {what}"
        yield from self._wrong_ends(deaths or {})

    def _wrong_ends(self, deaths: Mapping[str, int]) -> Iterator[str]:
        for job_id, result, attempt, sequence in self.completed():
            name, _, number = result.partition(" by attempt ")
            if number != f"{attempt}":
                yield f"{job_id} ended with {result!r}, and its newest attempt was {attempt}"
            if sequence > deaths.get(name, sequence):
                yield f"{job_id} was ended by {name} after its death"
