"""Callers that call an engine until it crashes or closes, and record their answers.

A caller creates jobs of its own and moves them on, one call at a time. So the final contents of a
storage can be compared with the answers of each caller.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from anyio.lowlevel import checkpoint

from engine import (
    EngineUnavailableError,
    Job,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    SyncJobEngine,
)

NEXT = {
    JobStatus.AWAITING_PAYMENT: [JobStatus.RUNNING],
    JobStatus.RUNNING: [JobStatus.COMPLETED, JobStatus.FAILED],
    JobStatus.COMPLETED: [],
    JobStatus.FAILED: [],
}
WRITES = {"create", "transition"}


@dataclass
class Call:
    """A call, with its job and the version that the job would have after it."""

    name: str
    arguments: tuple[Any, ...]
    input_hash: str = ""
    version: int = 0


@dataclass
class Caller:
    """A caller.

    Attributes:
        jobs: The newest snapshot that it got of each of its jobs, by input hash.
        told: The error that ended it, and the call that got it.
        counts: The number of answered calls, by name.
    """

    name: str
    random: Random
    jobs: dict[str, Job] = field(default_factory=dict)
    told: tuple[Call, EngineUnavailableError] | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def choose(self) -> Call:
        """Return the next call."""
        name = self.random.choice(["create", "create", "transition", "transition", "get", "gone"])
        if self.random.random() < 0.3:
            name = self.random.choice(["count", "list_jobs", "history"])
        if name == "gone":
            return Call("get", ("unheard of",))
        if name in {"count", "list_jobs"}:
            return Call(name, ())
        movable = [job for job in self.jobs.values() if name != "transition" or NEXT[job.status]]
        if name == "create" or not movable:
            input_hash = f"{self.name} {len(self.jobs)}"
            return Call("create", (input_hash,), input_hash, 1)
        job = self.random.choice(movable)
        if name == "transition":
            target = self.random.choice(NEXT[job.status])
            return Call(name, (job.job_id, target), job.input_hash, job.version + 1)
        return Call(name, (job.job_id,))

    def answered(self, call: Call, answer: object) -> None:
        """Record an answer, and check that it shows this caller's last change."""
        self.counts[call.name] += 1
        if isinstance(answer, Job):
            if call.name == "get":
                assert answer == self.jobs[answer.input_hash]
            self.jobs[answer.input_hash] = answer

    def check(self, stored: dict[str, Job], *, unknown: bool) -> None:
        """Compare its answers with the jobs of a storage, by input hash.

        Args:
            stored: Every job of the storage.
            unknown: Whether its last call may have been applied.
        """
        assert self.told is not None
        call, _ = self.told
        for input_hash, job in self.jobs.items():
            if not (unknown and input_hash == call.input_hash):
                assert stored[input_hash] == job
        if call.name in WRITES and not unknown:
            before = self.jobs.get(call.input_hash)
            assert stored.get(call.input_hash) == before


async def call_until_told(engine: JobEngine, caller: Caller) -> None:
    """Await one call after another until the engine is unavailable.

    It lets others run for a while between its calls: callers in lockstep would never send a message
    while a batch is being answered.
    """
    while caller.told is None:
        for _ in range(caller.random.randrange(5)):
            await checkpoint()
        call = caller.choose()
        try:
            caller.answered(call, await getattr(engine, call.name)(*call.arguments))
        except JobNotFoundError:
            caller.counts["not found"] += 1
        except EngineUnavailableError as error:
            caller.told = (call, error)


def block_until_told(engine: SyncJobEngine, caller: Caller) -> None:
    """Make one blocking call after another until the engine is unavailable."""
    while caller.told is None:
        call = caller.choose()
        try:
            caller.answered(call, getattr(engine, call.name)(*call.arguments))
        except JobNotFoundError:
            caller.counts["not found"] += 1
        except EngineUnavailableError as error:
            caller.told = (call, error)


def made(count: int, random: Random) -> list[Caller]:
    """Return some callers, each with its own random numbers."""
    return [Caller(str(number), Random(random.random())) for number in range(count)]


def totals(callers: Iterable[Caller]) -> Counter[str]:
    """Return the number of answered calls of all callers, by name."""
    counts: Counter[str] = Counter()
    for caller in callers:
        counts += caller.counts
    return counts
