"""The model: the engine's promises, as a plain dictionary of plain dictionaries.

It is written for reading, not for speed, and shares only the tables of the lifecycles and the
errors with the engine. A call changes a copy, which becomes the state when the whole call has
succeeded: all or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, TypeVar

from engine import (
    DuplicateJobIdError,
    EngineError,
    FollowUp,
    IdempotencyConflictError,
    InvalidStateTransitionError,
    InvalidValueError,
    JobEndedError,
    JobNotFoundError,
    Lifecycle,
    Move,
    NewJob,
    NotRetryableError,
    Outcome,
    PaymentConflictError,
    PaymentInUseError,
    StatusConflictError,
    VersionConflictError,
)
from engine.domain.ids import derived_id

from .model_rules import Fields, ModelRules, admits, follow_up_id, is_of

Item = TypeVar("Item")
Result = TypeVar("Result")

_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_HASH = sha256(b"null").hexdigest()  # of no input


# The fields of handlers, which the model doesn't have.
_NO_WORK: Fields = {
    "input": None,
    "priority": 0,
    "attempt": 0,
    "next_attempt_at": None,
    "not_before": None,
    "claimed_at": None,
    "last_error": None,
    "failures": 0,
    "deaths": 0,
    "deadline_at": None,
    "deadlines": {},
    "prompt": None,
    "cancel_reason": None,
    "repeat_of": None,
    "repeated_by": None,
    "parent_id": None,
    "parent_version": None,
    "result_form": None,
    "trace": None,
    "progress": None,
}


@dataclass
class State:
    """The state of an engine: jobs in the order of their creation, keys, and histories."""

    jobs: dict[str, Fields] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    payments: dict[str, str] = field(default_factory=dict)
    lines: dict[str, list[Fields]] = field(default_factory=dict)
    changes: int = 0
    followed: int = 0
    """How many jobs transitions have created."""

    def acted_on(self, before: State) -> list[str]:
        """Return the jobs that differ from those before, but for the follow-ups of rules."""
        return [
            job_id
            for job_id, job in self.jobs.items()
            if job != before.jobs.get(job_id)
            and (job_id in before.jobs or self.lines[job_id][0]["by"] != "rule")
        ]


class Model:
    """Answers as an engine with this lifecycle does, and raises the same errors."""

    def __init__(self, lifecycle: Lifecycle[Any]) -> None:
        self.lifecycle = lifecycle
        self.state = State()
        self.rules = ModelRules()
        self.paused: dict[tuple[str, str], Fields] = {}

    def create_many(
        self, jobs: Sequence[NewJob], ids: Sequence[str], now: datetime
    ) -> list[Fields]:
        each(jobs, _check_new)
        state = deepcopy(self.state)
        new_ids = iter(ids)
        created = each(jobs, lambda new: self._create(state, new, next(new_ids), now))
        self.state = state
        return created

    def transition_many(self, moves: Sequence[Move[Any]], now: datetime) -> list[Fields]:
        each(moves, self._check_outcome)
        state = deepcopy(self.state)
        moved = each(moves, lambda move: self._move(state, move, now))
        self.state = state
        return moved

    def retry(self, job_id: str, by: str | None, now: datetime) -> Fields:
        """Retry a job: of those that no handler has, only one that needs attention can be."""
        job = _find(self.state, job_id)
        if job["status"] is not self.lifecycle.exhausted_to:
            raise NotRetryableError(job_id, job["status"].value, "")
        state, before = deepcopy(self.state), job["status"]
        move = Move(job_id, self.lifecycle.running, expected_status=before, by=by)
        moved = self._move(state, move, now)
        self.state = state
        return moved

    def repeat(self, job_id: str, by: str | None, now: datetime) -> Fields:
        """Repeat an ended job, once. The repeat of a follow-up has the same parent."""
        state = deepcopy(self.state)
        job = _find(state, job_id)
        if self.lifecycle.moves[job["status"]]:
            raise InvalidStateTransitionError(job["status"].value, "repeat", (), job_id)
        if job["repeated_by"] is None:
            alike = {name: job[name] for name in ("input_hash", "kind", "labels")}
            repeat_id = job["repeated_by"] = derived_id("repeat", job_id)
            parent = {name: job[name] for name in ("parent_id", "parent_version")}
            new = NewJob(**alike, start=True, by=by)
            self._create(state, new, repeat_id, now, repeat_of=job_id, **parent)
        self.state = state
        return dict(state.jobs[job["repeated_by"]])

    def cancel(self, job_id: str, reason: str | None, by: str | None, now: datetime) -> Fields:
        """Cancel a job that no handler has, in a status with a ``cancels_to``."""
        state = deepcopy(self.state)
        job = _find(state, job_id)
        if not self.lifecycle.moves[job["status"]]:
            if job["outcome"] == Outcome.CANCELLED:
                return dict(job)
            raise JobEndedError(job_id, job["status"].value, Outcome(job["outcome"]))
        target = self.lifecycle.cancels_to[job["status"]]
        job["cancel_reason"] = reason or ""
        told = f"cancelled: {reason}" if reason else "cancelled"
        error = told if target in self.lifecycle.failure else None
        move = Move(job_id, target, error=error, by=by, reason=reason)
        cancelled = self._moved(state, job, move, now, self._cancelled_in(target))
        self.state = state
        return cancelled

    def _cancelled_in(self, status: Any) -> str:  # noqa: ANN401 - a status
        return self.lifecycle.outcomes.get(status, Outcome.CANCELLED)

    # Follow-ups.

    def pause(self, what: str, name: str, by: str | None, now: datetime) -> Fields:
        fields = {"kind": None, "gate": None, what: name, "at": now, "by": by, "reason": None}
        return {"changed": self.paused.setdefault((what, name), fields) is fields}

    def resume(self, what: str, name: str) -> Fields:
        return {"changed": self.paused.pop((what, name), None) is not None}

    def follow_ups(self, job_id: str) -> list[Fields]:
        _find(self.state, job_id)
        return [job for job in self.state.jobs.values() if job["parent_id"] == job_id]

    def follow_up(
        self, job_id: str, kind: str, by: str | None, reason: str | None, now: datetime
    ) -> Fields:
        """Create the follow-up of an ended job by a rule, whatever that says but its ``of``."""
        state = deepcopy(self.state)
        job = _find(state, job_id)
        rule = self.rules.rule(kind)
        if not is_of(rule, job):
            raise InvalidValueError("rule", "")
        if self.lifecycle.moves[job["status"]]:
            status = job["status"].value
            raise InvalidStateTransitionError(status, f"follow up by {kind}", (), job_id)
        followed = self._follow(state, job, rule, by, reason, now)
        self.state = state
        return followed

    def backfill(self, kind: str, since: datetime, by: str | None, now: datetime) -> Fields:
        """Create the follow-ups of all ended jobs by a rule; count those that are new."""
        state, rule, made = deepcopy(self.state), self.rules.rule(kind), 0
        statuses = [each for each in self.lifecycle.statuses if each in rule.to]
        for status in statuses:
            ended = [] if self.lifecycle.moves[status] else [*state.jobs.values()]
            for job in ended:
                is_meant = job["status"] is status and job["updated_at"] >= since
                had_started = job["started_at"] is not None
                if is_meant and admits(rule, job, had_started=had_started):
                    made += follow_up_id(job, kind) not in state.jobs
                    self._follow(state, job, rule, by, None, now)
        self.state = state
        return {"made": made}

    def _follow_all(self, state: State, job: Fields, now: datetime, *, had_started: bool) -> None:
        """Create the follow-ups of a transition."""
        for rule in self.rules.kept():
            if job["status"] in rule.to and admits(rule, job, had_started=had_started):
                state.followed += 1
                self._follow(state, job, rule, "rule", None, now)

    def _follow(
        self,
        state: State,
        job: Fields,
        rule: FollowUp[Any],
        by: str | None,
        reason: str | None,
        now: datetime,
    ) -> Fields:
        job_id = follow_up_id(job, rule.kind)
        if job_id in state.jobs:
            return dict(state.jobs[job_id])
        more: Fields = {"parent_id": job["job_id"], "parent_version": job["version"]}
        if rule.delay is not None:
            more["not_before"] = more["next_attempt_at"] = now + rule.delay
        new = NewJob(_HASH, kind=rule.kind, labels=job["labels"], start=True, by=by, reason=reason)
        return self._create(state, new, job_id, now, **more)

    def get_many(self, job_ids: Sequence[str]) -> list[Fields]:
        return each(job_ids, lambda job_id: dict(_find(self.state, job_id)))

    def jobs(
        self,
        status: object = None,
        *,
        kind: str | None = None,
        labels: Mapping[str, str] | None = None,
        created_after: datetime = _FIRST,
        created_before: datetime = _LAST,
        input_hash: str | None = None,
        follow_ups: bool = True,
    ) -> list[Fields]:
        return [
            job
            for job in self.state.jobs.values()
            if status in {None, job["status"]}
            and kind in {None, job["kind"]}
            and (labels or {}).items() <= job["labels"].items()
            and input_hash in {None, job["input_hash"]}
            and created_after <= job["created_at"] < created_before
            and (follow_ups or job["parent_id"] is None)
        ]

    def find(self, *, idempotency_key: str | None = None, payment_id: str | None = None) -> Fields:
        for job in self.state.jobs.values():
            if idempotency_key is not None and job["idempotency_key"] == idempotency_key:
                return dict(job)
            names = {job["blockchain_identifier"], f"mock_bc_{job['job_id']}"}
            if payment_id is not None and payment_id in names:
                return dict(job)
        raise JobNotFoundError(None, idempotency_key=idempotency_key, payment_id=payment_id)

    def history(self, job_id: str) -> list[Fields]:
        _find(self.state, job_id)
        return self.state.lines[job_id]

    def _check_outcome(self, move: Move[Any]) -> None:
        if move.result is not None and move.target not in self.lifecycle.success:
            raise InvalidValueError("result", "")
        if move.error is not None and move.target not in self.lifecycle.failure:
            raise InvalidValueError("error", "")

    def _create(
        self,
        state: State,
        new: NewJob,
        job_id: str,
        now: datetime,
        **more: Any,  # noqa: ANN401 - the fields of a repeat or a follow-up
    ) -> Fields:
        key = new.idempotency_key
        if key in state.keys:
            return _replayed(state.jobs[state.keys[key]], new)
        if new.payment_id in state.payments:
            raise PaymentInUseError(new.payment_id or "")
        if job_id in state.jobs:
            raise DuplicateJobIdError(job_id)
        if key is not None:
            state.keys[key] = job_id
        if new.payment_id is not None:
            state.payments[new.payment_id] = job_id
        state.jobs[job_id] = {
            "job_id": job_id,
            "status": self.lifecycle.births[-1 if new.start else 0],
            "input_hash": new.input_hash,
            "blockchain_identifier": new.payment_id or f"mock_bc_{job_id}",
            "payment_id": new.payment_id,
            "kind": new.kind,
            "labels": new.labels or {},
            "created_at": now,
            "updated_at": now,
            "started_at": now if new.start else None,
            "outcome": None,
            "result": None,
            "error": None,
            "version": 1,
            "idempotency_key": key,
            **_NO_WORK,
            **more,
        }
        written = _written(state, None, state.jobs[job_id], new.by, new.reason)
        self._follow_all(state, written, now, had_started=False)
        return written

    def _move(self, state: State, move: Move[Any], now: datetime) -> Fields:
        job = _find(state, move.job_id)
        before, version = job["status"], job["version"]
        if move.expected_version not in {None, version}:
            raise VersionConflictError(move.job_id, move.expected_version or 0, version)
        expected = move.expected_status
        if expected is not None and expected is not before:
            raise StatusConflictError(move.job_id, expected.value, before.value)
        silent = move.expected_version is None and move.expected_status is None
        self._check_way(job, move.target, silent=silent)
        by_name = "succeeded" if move.target in self.lifecycle.success else "failed"
        outcome = self.lifecycle.outcomes.get(move.target, by_name)
        return self._moved(state, job, move, now, outcome)

    def _moved(
        self, state: State, job: Fields, move: Move[Any], now: datetime, outcome: str
    ) -> Fields:
        """Move a job, with an outcome if it ends."""
        before, runs = job["status"], move.target is self.lifecycle.running
        had_started = job["started_at"] is not None
        job["status"], job["version"] = move.target, job["version"] + 1
        job["result"], job["error"] = move.result, move.error
        job["updated_at"] = max(now, job["updated_at"])
        if runs and not had_started:
            job["started_at"] = job["updated_at"]
        may_run_at = job["not_before"]
        is_early = runs and may_run_at is not None and may_run_at > now
        job["next_attempt_at"] = may_run_at if is_early else None
        if move.target in self.lifecycle.success | self.lifecycle.failure:
            job["outcome"] = outcome
        written = _written(state, before, job, move.by, move.reason)
        self._follow_all(state, written, now, had_started=had_started)
        return written

    def _check_way(self, job: Fields, target: Any, *, silent: bool) -> None:  # noqa: ANN401 - a status
        before, running = job["status"], self.lifecycle.running
        allowed = [each for each in self.lifecycle.statuses if each in self.lifecycle.moves[before]]
        goes_back = target is running and before is not self.lifecycle.initial
        if target in allowed and not (silent and goes_back):
            return
        others = [each for each in allowed if each is not running or target not in allowed]
        names = tuple(str(each.value) for each in others)
        raise InvalidStateTransitionError(before.value, target.value, names, job["job_id"])

    def start(
        self,
        job_id: str | None,
        payment_id: str | None,
        by: str | None,
        reason: str | None,
        now: datetime,
    ) -> Fields:
        state = deepcopy(self.state)
        job = _named(state, job_id, payment_id)
        has_started, is_over = (
            job["started_at"] is not None,
            not self.lifecycle.moves[job["status"]],
        )
        if is_over and not has_started:
            raise JobEndedError(job["job_id"], job["status"].value, Outcome(job["outcome"]))
        its_own = {None, job["payment_id"], f"mock_bc_{job['job_id']}"}
        if job["payment_id"] is not None and payment_id not in its_own:
            raise PaymentConflictError(job["job_id"], payment_id or "")
        if not has_started and job["status"] is not self.lifecycle.initial:
            raise InvalidStateTransitionError(job["status"].value, "start", (), job["job_id"])
        if payment_id is not None and not payment_id.startswith("mock_bc_"):
            state.payments[payment_id] = job["job_id"]
            job["payment_id"] = job["blockchain_identifier"] = payment_id
        if not has_started:
            move = Move(job["job_id"], self.lifecycle.running, by=by, reason=reason)
            job = self._move(state, move, now)
        self.state = state
        return {"job": dict(job), "first": not has_started}


def each(items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result]:
    """Do the work for each item; an error has the number of the wrong one."""
    results: list[Result] = []
    try:
        for item in items:
            results.append(work(item))
    except EngineError as error:
        error.item = len(results)
        raise
    return results


def _check_new(new: NewJob) -> None:
    if not new.input_hash:
        raise InvalidValueError("input_hash", "")


def _find(state: State, job_id: str) -> Fields:
    if job_id not in state.jobs:
        raise JobNotFoundError(job_id)
    return state.jobs[job_id]


def _named(state: State, job_id: str | None, payment_id: str | None) -> Fields:
    """Return the job that a start means."""
    named = state.payments.get(payment_id or "")
    if payment_id is not None and payment_id.startswith("mock_bc_"):
        named = payment_id.removeprefix("mock_bc_")
    meant = named if job_id is None else job_id
    if meant not in state.jobs:
        raise JobNotFoundError(job_id, payment_id=payment_id if job_id is None else None)
    if named not in {None, meant}:
        raise PaymentInUseError(payment_id or "")
    return state.jobs[meant or ""]


def _replayed(job: Fields, new: NewJob) -> Fields:
    asked = {"kind": new.kind, "input_hash": new.input_hash}
    if new.payment_id is not None:
        asked["payment_id"] = new.payment_id
    for name, value in asked.items():
        if job[name] != value:
            raise IdempotencyConflictError(job["idempotency_key"], job["job_id"], name)
    return dict(job)


def _written(
    state: State, before: object, job: Fields, by: str | None, reason: str | None
) -> Fields:
    """Add the change to the history, and return the job after it."""
    state.changes += 1
    job["sequence"] = state.changes
    line = {
        "sequence": state.changes,
        "job_id": job["job_id"],
        "from_status": before,
        "to_status": job["status"],
        "at": job["updated_at"],
        "by": by,
        "reason": reason,
    }
    state.lines.setdefault(job["job_id"], []).append(line)
    return dict(job)
