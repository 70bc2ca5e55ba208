"""Callers that call an engine until it crashes or closes, and keep account of what they were told.

A caller works for itself: it creates jobs of its own and moves them on, with one call at a time. So
whatever a storage holds in the end can be compared with what its caller was told.
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
    """One call, with the job that it is about, and the version that it would have afterwards."""

    name: str
    arguments: tuple[Any, ...]
    input_hash: str = ""
    version: int = 0


@dataclass
class Caller:
    """One caller.

    Attributes:
        jobs: What it was told of its jobs last, by input hash.
        told: The error that ended it, and the call that got it.
        counts: How many calls of each name were answered.
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
        """Keep what was answered; check that it is what this caller did last."""
        self.counts[call.name] += 1
        if isinstance(answer, Job):
            if call.name == "get":
                assert answer == self.jobs[answer.input_hash]
            self.jobs[answer.input_hash] = answer

    def check(self, stored: dict[str, Job], *, unknown: bool) -> None:
        """Compare what it was told with what a storage holds, by input hash.

        Args:
            stored: Every job of the storage.
            unknown: Whether the call that ended it may have been applied.
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

    It lets others run for a while between its calls, lest all callers fall into step and no
    message ever waits behind the batch that is being answered.
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
    """Return some callers, each with random numbers of its own."""
    return [Caller(str(number), Random(random.random())) for number in range(count)]


def totals(callers: Iterable[Caller]) -> Counter[str]:
    """Return how many calls of each name all of them were answered."""
    counts: Counter[str] = Counter()
    for caller in callers:
        counts += caller.counts
    return counts
