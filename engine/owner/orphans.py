"""Orphans: the jobs whose newest attempts died with their engine, by kind."""

from __future__ import annotations

from collections.abc import Iterable

from engine.storage.record import Record, died_with


class Orphans:
    """Holds the tokens of dead attempts, as far as their jobs have not changed since.

    `engine.owner.commands.orphans` judges them, when a worker claims that has their kind. Of a
    shared storage it holds only those that were reserved for this engine; their tokens say that
    they are dead.
    """

    def __init__(self) -> None:
        self._at_first = 0  # how many they were when a private storage was opened
        self._tokens: dict[str, dict[str, str]] = {}  # by job id, by kind

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def add(self, record: Record) -> None:
        """Note the attempt of a job from a newly opened storage: it died with its engine."""
        if record.execution.token is not None:
            self._tokens.setdefault(record.kind, {})[record.job_id] = record.execution.token
            self._at_first += 1

    def has(self, record: Record) -> bool:
        """Return whether a job's newest attempt died with its engine."""
        token = record.execution.token
        if token is None:
            return False
        if self._tokens.get(record.kind, {}).get(record.job_id) == token:
            return True
        return died_with(token) is not None

    def died_alone(self, record: Record) -> bool:
        """Return whether no other attempt died with that of an orphan."""
        count = died_with(record.execution.token or "")
        return (self._at_first if count is None else count) == 1

    def keep(self, record: Record) -> bool:
        """Return whether a job, as it was committed, is still an orphan; if not, forget it."""
        if not self._tokens:
            return False
        if self.has(record):
            return True
        self.forget(record)
        return False

    def forget(self, record: Record) -> None:
        """Forget a job, if it was noted."""
        tokens = self._tokens.get(record.kind)
        if tokens is not None and tokens.pop(record.job_id, None) is not None and not tokens:
            del self._tokens[record.kind]

    def of(self, kinds: Iterable[str]) -> list[str]:
        """Return the ids of the jobs that have one of these kinds."""
        return [job_id for kind in kinds for job_id in self._tokens.get(kind, ())]
