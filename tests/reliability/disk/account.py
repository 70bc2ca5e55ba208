"""The answers that callers got, with their moments, and the contradictions of a file to them.

Moments are those of the recording. A caller's answer is recorded as soon as the caller has it; the
storage's answer to the owner comes a little earlier, and is recorded at that very moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from engine import EngineError, Job, JobStatus, OutcomeUnknownError, StorageError
from engine.storage import Change
from tests.reliability.disk.stored import StoredJob


class Told(Enum):
    """The answer to a write."""

    NOTHING = auto()
    APPLIED = auto()
    REFUSED = auto()
    UNKNOWN = auto()


@dataclass
class Attempt:
    """A call that should bring all its jobs to a version, or none."""

    input_hashes: tuple[str, ...]
    version: int
    status: JobStatus
    begun: int
    told: Told = Told.NOTHING
    told_at: int = 0
    jobs: Sequence[Job] = ()
    """The answer."""
    is_again: bool = False
    """Whether an earlier call wanted the same: the contents may come from that."""
    tried_again: int | None = None
    """When a later call wanted the same: from then on a refused change may be there."""

    def __str__(self) -> str:
        who = f"{self.input_hashes[0]!r} and {len(self.input_hashes) - 1} more"
        what = f"version {self.version} ({self.status.value})"
        return f"{who}, {what}, begun at {self.begun}, {self.told.name} at {self.told_at}"


@dataclass
class Account:
    """Records the answers of an engine.

    Args:
        moment: Returns the number of the disk's operations.
    """

    moment: Callable[[], int]
    attempts: list[Attempt] = field(default_factory=list)
    """The calls of callers."""
    commits: list[Attempt] = field(default_factory=list)
    """The owner's calls to its storage: one for each change."""
    failures: list[int] = field(default_factory=list)
    """The moments at which the owner learned that a commit had failed."""
    shown: list[tuple[int, Job]] = field(default_factory=list)
    """Every snapshot that a caller got, with its moment."""
    refusals: list[StorageError] = field(default_factory=list)
    unknown: list[OutcomeUnknownError] = field(default_factory=list)
    reads: int = 0
    refused_reads: list[StorageError] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)
    """Contradictions between the answers of different moments."""

    async def write(
        self,
        call: Awaitable[Sequence[Job]],
        input_hashes: Sequence[str],
        version: int,
        status: JobStatus,
    ) -> Attempt:
        """Await a call that writes, and record its answer."""
        attempt = Attempt(tuple(input_hashes), version, status, self.moment())
        _begin(attempt, self.attempts)
        try:
            attempt.jobs = await call
        except OutcomeUnknownError as error:
            self.unknown.append(error)
            attempt.told = Told.UNKNOWN
        except StorageError as error:
            self.refusals.append(error)
            attempt.told = Told.REFUSED
        except EngineError as error:
            self.disagree(f"{attempt}: {error!r}")
        else:
            self.show(attempt.jobs)
            attempt.told = Told.APPLIED
        attempt.told_at = self.moment()
        return attempt

    def begin_commit(self, changes: Sequence[Change]) -> None:
        """Record the changes that the owner commits."""
        now = self.moment()
        for record in (change.record for change in changes):
            name, version, status = record.input_hash, record.version, record.status
            _begin(Attempt((name,), version, JobStatus(status), now), self.commits)

    def end_commit(self, told: Told, *, had_failed: bool) -> None:
        """Record the outcome of the changes whose outcome was open."""
        if had_failed:
            self.failures.append(self.moment())
        for attempt in reversed(self.commits):
            if attempt.told is not Told.NOTHING:
                break
            attempt.told, attempt.told_at = told, self.moment()

    def show(self, jobs: Sequence[Job]) -> None:
        """Record the snapshots of a caller: they are durable from now on."""
        now = self.moment()
        self.shown.extend((now, job) for job in jobs)

    def disagree(self, text: str) -> None:
        self.disagreements.append(f"{text} (moment {self.moment()})")

    def answers(self) -> list[int]:
        """Return the moments at which the owner learned the outcome of a commit."""
        told = {attempt.told_at for attempt in self.commits if attempt.told is not Told.NOTHING}
        return sorted(told)

    def counts(self) -> Counter[str]:
        return Counter(attempt.told.name.lower() for attempt in self.attempts)

    def newest(self, moment: int) -> dict[str, Job]:
        """Return each job's newest snapshot that callers had at a moment, by input hash."""
        newest: dict[str, Job] = {}
        for at, job in self.shown:
            known = newest.get(job.input_hash)
            if at <= moment and (known is None or known.version < job.version):
                newest[job.input_hash] = job
        return newest

    def problems(self, stored: Mapping[str, StoredJob], moment: int) -> Iterator[str]:
        """Return the contradictions of a file that was found after a failure at this moment."""
        asked_for = {name for attempt in self.attempts for name in attempt.input_hashes}
        yield from (f"invented: {name}" for name in stored.keys() - asked_for)
        for attempt in [*self.attempts, *self.commits]:
            problem = _problem(attempt, stored, moment)
            if problem is not None:
                yield f"{problem}: {attempt}"
        for input_hash, job in self.newest(moment).items():
            if input_hash not in stored or not stored[input_hash].agrees_with(job):
                yield f"lost or changed: {brief(job)} is {stored.get(input_hash)}"


def _begin(attempt: Attempt, attempts: list[Attempt]) -> None:
    """Add an attempt, and mark it as a repetition if an earlier one wanted the same."""
    for before in attempts:
        if before.input_hashes == attempt.input_hashes and before.version == attempt.version:
            before.tried_again = before.tried_again or attempt.begun
            attempt.is_again = True
    attempts.append(attempt)


def brief(job: Job) -> str:
    return f"{job.input_hash!r}, version {job.version} ({job.status.value})"


def _problem(attempt: Attempt, stored: Mapping[str, StoredJob], moment: int) -> str | None:
    """Return the faults of the jobs of an attempt, if any."""
    applied = {
        name in stored and stored[name].has_been(attempt.status, attempt.version)
        for name in attempt.input_hashes
    }
    if len(applied) > 1:
        return "half applied"
    if applied == {True}:
        if moment <= attempt.begun and not attempt.is_again:
            return "applied before it was asked for"
        still_refused = attempt.tried_again is None or moment <= attempt.tried_again
        if attempt.told is Told.REFUSED and attempt.told_at <= moment and still_refused:
            return "applied although it was refused"
    elif attempt.told is Told.APPLIED and attempt.told_at <= moment:
        return "lost although it was acknowledged"
    return None
