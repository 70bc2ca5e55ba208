"""Bulk acts: one act on the selected jobs, or on all that a filter admits.

The choice is frozen when the confirmation is asked for: the selected jobs in the versions and at
the attempts that the page showed; or, of a filter, its newest job and all below that which have
made no transition since. A job that comes later, or has changed since, is passed over. An attempt
that follows a failed one is no transition: so all acts but a cancellation, which is meant to stop
the job, also pass over those of which one has begun since. Each request acts on a bounded number of
jobs, and its page goes on from there. To send it twice moves nothing twice.

A job that refuses is passed over, too. Any other error is of the engine or its storage: the act
stops there, and the jobs that it failed on stay in the form, as they were seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from engine.domain.exceptions import InvalidValueError, shown
from engine.operations.acts import is_of_attempt
from engine.operations.refusals import REFUSALS
from engine.web.dashboard.board import Board, Job, board_of
from engine.web.dashboard.bodies import Form, form_of, parts_of
from engine.web.dashboard.jobs import Chosen

ACTS: Final = ("retry", "cancel", "start", "repeat")
"""The acts that need nothing but a job."""
_PART_JOBS: Final = 100
_REQUEST_PARTS: Final = 10
_SHOWN_PROBLEMS: Final = 20
_OF_ONE: Final = "JobDamagedError"
"""Damage of one job, which keeps no other from being acted on."""


class Choice(NamedTuple):
    """What somebody has chosen, frozen."""

    act: str
    seen: Sequence[dict[str, Any]]
    """The selected jobs, or the newest one that the filter admits."""
    chosen: Chosen
    below: str | None
    """The cursor of the other jobs that the filter admits; None for selected jobs."""
    newest: int = 0
    """The newest transition as it was chosen: the other jobs have made none since."""
    at: str = ""
    """When it was chosen."""

    def means(self, job: Job) -> bool:
        """Return whether one of the other jobs is still as it was when it was chosen."""
        has_moved = job["sequence"] > self.newest
        has_begun = (job.get("claimed_at") or "") > self.at
        return not has_moved and not (has_begun and is_of_attempt(self.act))

    def as_told(self, job: Job) -> dict[str, Any]:
        """Return a job to act on as an operation has told of it."""
        return _expected(self.act, job["job_id"], job["version"], job.get("attempt", 0))


@dataclass
class _Tally:
    """What has become of the jobs."""

    done: int = 0
    passed: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)
    """Of the jobs that are passed over."""
    failures: list[dict[str, Any]] = field(default_factory=list)

    def pass_over(self, problem: dict[str, Any]) -> None:
        self.passed += 1
        self.problems.append(problem)


async def confirm(request: Request) -> Response:
    """Ask whether to do it, and freeze what."""
    board, form = board_of(request), await form_of(request)
    act = _act_of(form)
    if form.get("all"):
        return await _confirm_all(request, board, act, Chosen.of(form))
    seen = [_seen(act, each) for each in form.all_of("job")]
    choice = Choice(act, seen, Chosen.of(form), None)
    return await _ask(request, choice, {"jobs": len(seen), "more": False})


async def _confirm_all(request: Request, board: Board, act: str, chosen: Chosen) -> Response:
    asked = chosen.arguments()
    last = (await board.desk.do("statistics", {}))["last_sequence"]  # before the jobs are read
    newest = await board.desk.do("jobs", {**asked, "limit": 1})
    count = await board.desk.do("count", asked)
    choice = Choice(act, (), chosen, newest["next"], last, count["at"])
    seen = [choice.as_told(job) for job in newest["jobs"] if "damaged" not in job]
    return await _ask(request, choice._replace(seen=seen), count)


async def _ask(request: Request, choice: Choice, count: dict[str, Any]) -> Response:
    return await board_of(request).page(
        request, "confirm", live=False, choice=choice, count=count, tally=_Tally()
    )


async def act(request: Request) -> Response:
    """Do it with the next jobs of the choice, and show how far that is."""
    board, form = board_of(request), await form_of(request)
    name, below = _act_of(form), form.filled("below")
    seen = [_seen(name, each) for each in form.all_of("job")]
    frozen = _number(form, "newest"), form.get("at", "")
    choice = Choice(name, seen, Chosen.of(form), below, *frozen)
    tally = _Tally(_number(form, "done"), _number(form, "passed"))
    reason = form.filled("reason")
    for _ in range(_REQUEST_PARTS):
        part, choice = await _next_part(board, choice, tally)
        given = {"act": choice.act, "jobs": part, "arguments": {"reason": reason}}
        failed = _count(part, await board.act(request, "each", given), tally) if part else []
        choice = choice._replace(seen=[*failed, *choice.seen])
        if failed or (not choice.seen and choice.below is None):
            break
    return await board.page(
        request,
        "confirm" if choice.seen or choice.below else "done",
        live=False,
        choice=choice,
        count=None,
        reason=reason,
        tally=tally,
        most=_SHOWN_PROBLEMS,
    )


async def _next_part(
    board: Board, choice: Choice, tally: _Tally
) -> tuple[Sequence[dict[str, Any]], Choice]:
    """Return the next jobs to act on, and the choice without them."""
    if choice.seen:
        part, rest = choice.seen[:_PART_JOBS], choice.seen[_PART_JOBS:]
        return part, choice._replace(seen=rest)
    if choice.below is None:
        return [], choice
    asked = {**choice.chosen.arguments(), "limit": _PART_JOBS, "after": choice.below}
    page = await board.desk.do("jobs", asked)
    part = []
    for job in page["jobs"]:
        if "damaged" in job:
            continue
        if choice.means(job):
            part.append(choice.as_told(job))
        else:
            error = {"text": "it has changed since you were asked"}
            tally.pass_over({"job_id": job["job_id"], "error": error})
    return part, choice._replace(below=page["next"])


def _count(
    part: Sequence[dict[str, Any]], outcomes: Sequence[dict[str, Any]], tally: _Tally
) -> list[dict[str, Any]]:
    """Count what has become of some jobs; return those on which the act failed."""
    failed = []
    for seen, outcome in zip(part, outcomes, strict=True):
        error = outcome.get("error")
        if error is None:
            tally.done += 1
        elif error["name"] in REFUSALS or error["name"] == _OF_ONE:
            tally.pass_over(outcome)
        else:
            tally.failures.append(outcome)
            failed.append(seen)
    return failed


def _act_of(form: Form) -> str:
    act = form.get("act", "")
    if act not in ACTS:
        raise InvalidValueError("act", f"{shown(act)} is not one of {', '.join(ACTS)}")
    return act


def _seen(act: str, token: str) -> dict[str, Any]:
    """Return a job to act on as the page has shown it."""
    match parts_of(token):
        case [str(job_id), int(version)]:
            return {"job_id": job_id, "expected_version": version}
        case [str(job_id), int(version), int(attempt)]:
            return _expected(act, job_id, version, attempt)
        case [str(job_id)]:
            return {"job_id": job_id}
        case _:
            raise InvalidValueError("job", "is none that the page has shown; open it anew")


def _expected(act: str, job_id: str, version: int, attempt: int) -> dict[str, Any]:
    seen = {"job_id": job_id, "expected_version": version}
    return {**seen, "expected_attempt": attempt} if is_of_attempt(act) else seen


def _number(form: Form, name: str) -> int:
    text = form.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < len(str(10**12)) else 0
