"""The sequential specification of histories: the engine's promises, one request at a time.

A request is data. `send` makes its call on either facade, and `step` returns the promised outcome.
The state of a job is its path of statuses and its result; the legal paths are written out here
again, independent of the engine's tables. The content of a job is its input hash.

A test names its jobs: every request holds their ids, and `new_id` hands these out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias

from engine import AGENT_JOB_LIFECYCLE, AgentJobStatus, Job, Move, NewJob, Transition

LIFECYCLE = AGENT_JOB_LIFECYCLE
INITIAL = "awaiting_payment"
MOVES = {
    INITIAL: {"running", "failed"},
    "awaiting_input": {"running", "failed"},
    "running": {"awaiting_input", "completed", "failed"},
    "completed": set(),
    "failed": set(),
}


@dataclass(frozen=True)
class Create:
    """Create these jobs, all or none. With keys, return existing jobs of the same content."""

    jobs: tuple[str, ...]
    keyed: bool = True
    content: str = "usual"


@dataclass(frozen=True)
class Get:
    jobs: tuple[str, ...]


@dataclass(frozen=True)
class Go:
    """Move one job once for each target, all or none, if it has the version."""

    jobs: tuple[str, ...]
    target: str
    result: str | None = None
    expected_version: int | None = None


@dataclass(frozen=True)
class History:
    jobs: tuple[str, ...]


Request: TypeAlias = Create | Get | Go | History

Path: TypeAlias = tuple[str, ...]  # the statuses that a job has had
Life: TypeAlias = tuple[str, Path, str | None]  # content, path, result
State: TypeAlias = frozenset[tuple[str, Life]]  # each job and its life
Answer: TypeAlias = tuple[Any, ...]

NOTHING: State = frozenset()

_names: ContextVar[Iterator[str]] = ContextVar("names")


def new_id() -> str:
    """Return the next id of the current request. The engine calls this in the caller's task."""
    return next(_names.get())


def step(state: State, request: Request) -> tuple[State, Answer]:
    """Return the promised outcome of a request: the state after it, and its answer."""
    jobs = dict(state)
    seen: list[object] = []
    for item, job in enumerate(request.jobs):
        if refusal := _refusal(jobs, job, request):
            return state, (*refusal, item)
        if isinstance(request, Create):
            jobs.setdefault(job, (request.content, (INITIAL,), None))
        elif isinstance(request, Go):
            content, path, _ = jobs[job]
            jobs[job] = (content, (*path, request.target), request.result)
        content, path, result = jobs[job]
        snapshot = (job, content, path[-1], len(path), result)
        seen.append(path if isinstance(request, History) else snapshot)
    return frozenset(jobs.items()), tuple(seen)


def _refusal(jobs: dict[str, Life], job: str, request: Request) -> tuple[str, ...] | None:
    if isinstance(request, Create):
        if job in jobs and not request.keyed:
            return ("DuplicateJobIdError",)
        other = job in jobs and jobs[job][0] != request.content
        return ("IdempotencyConflictError",) if other else None
    if job not in jobs:
        return ("JobNotFoundError",)
    if isinstance(request, Go):
        _, path, _ = jobs[job]
        if request.expected_version not in {None, len(path)}:
            return ("VersionConflictError",)
        goes_back = request.target == "running" and path[-1] != INITIAL
        is_silent = goes_back and request.expected_version is None
        if is_silent or request.target not in MOVES[path[-1]]:
            return ("InvalidStateTransitionError",)
    return None


def send(engine: Any, request: Request, **limits: float | None) -> Any:  # noqa: ANN401 - either facade
    """Make the call of a request; on the awaited facade, return the awaitable."""
    one = request.jobs[0] if len(request.jobs) == 1 else None
    match request:
        case Create(jobs, keyed, content):
            _names.set(iter(jobs))
            if one:
                return engine.create(content, idempotency_key=one if keyed else None, **limits)
            new = [NewJob(content, idempotency_key=job if keyed else None) for job in jobs]
            return engine.create_many(new, **limits)
        case Get(jobs):
            return engine.get(one, **limits) if one else engine.get_many(jobs, **limits)
        case Go(jobs, target, result, version):
            status = AgentJobStatus(target)
            if one:
                how = {"result": result, "expected_version": version, **limits}
                return engine.transition(one, status, **how)
            moves = [Move(job, status, result=result, expected_version=version) for job in jobs]
            return engine.transition_many(moves, **limits)
        case History():
            return engine.history(one, **limits)


def shown(answer: Job[Any] | Sequence[Job[Any]] | Sequence[Transition[Any]]) -> Answer:
    """Return the engine's answer in the form of `step`."""
    if isinstance(answer, Job):
        answer = [answer]
    if answer and isinstance(answer[0], Transition):
        return (tuple(line.to_status.value for line in answer if isinstance(line, Transition)),)
    return tuple(
        (job.job_id, job.input_hash, job.status.value, job.version, job.result)
        for job in answer
        if isinstance(job, Job)
    )
