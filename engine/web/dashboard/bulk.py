"""Bulk acts: one act on the selected jobs, or on all that a filter admits.

The choice is frozen when the confirmation is asked for: the selected jobs in the versions that the
page showed; or, of a filter, its newest job and all below that, each in the status that the filter
names. A job that comes later, or has changed since, is passed over. Each request acts on a bounded
number of jobs, and its page goes on from there: to send it twice does nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from engine.domain.exceptions import InvalidValueError, shown
from engine.web.dashboard.board import Board, Job, board_of
from engine.web.dashboard.bodies import Form, form_of, parts_of
from engine.web.dashboard.jobs import Chosen

ACTS: Final = ("retry", "cancel", "start", "repeat")
"""The acts that need nothing but a job."""
_PART_JOBS: Final = 100
_REQUEST_PARTS: Final = 10
_SHOWN_PROBLEMS: Final = 20


class Choice(NamedTuple):
    """What somebody has chosen, frozen."""

    act: str
    seen: Sequence[dict[str, Any]]
    """The selected jobs, or the newest one that the filter admits."""
    chosen: Chosen
    below: str | None
    """The cursor of the other jobs that the filter admits; None for selected jobs."""


async def confirm(request: Request) -> Response:
    """Ask whether to do it, and freeze what."""
    board, form = board_of(request), await form_of(request)
    act = _act_of(form)
    if form.get("all"):
        return await _confirm_all(request, board, act, Chosen.of(form))
    seen = [_seen(each) for each in form.all_of("job")]
    choice = Choice(act, seen, Chosen.of(form), None)
    return await _ask(request, choice, {"jobs": len(seen), "more": False})


async def _confirm_all(request: Request, board: Board, act: str, chosen: Chosen) -> Response:
    asked = chosen.arguments()
    newest = await board.desk.do("jobs", {**asked, "limit": 1})
    count = await board.desk.do("count", asked)
    seen = [_as_chosen(job, chosen) for job in newest["jobs"] if "damaged" not in job]
    return await _ask(request, Choice(act, seen, chosen, newest["next"]), count)


async def _ask(request: Request, choice: Choice, count: dict[str, Any]) -> Response:
    return await board_of(request).page(
        request, "confirm", live=False, choice=choice, count=count, done=0, passed=0
    )


async def act(request: Request) -> Response:
    """Do it with the next jobs of the choice, and show how far that is."""
    board, form = board_of(request), await form_of(request)
    act, chosen, below = _act_of(form), Chosen.of(form), form.filled("below")
    arguments = {"reason": form.filled("reason")}
    seen = [_seen(each) for each in form.all_of("job")]
    done, passed = _number(form, "done"), _number(form, "passed")
    problems = list[dict[str, Any]]()
    for _ in range(_REQUEST_PARTS):
        part, seen = seen[:_PART_JOBS], seen[_PART_JOBS:]
        if not part and below is not None:
            asked = {**chosen.arguments(), "limit": _PART_JOBS, "after": below}
            page = await board.desk.do("jobs", asked)
            below = page["next"]
            part = [_as_chosen(job, chosen) for job in page["jobs"] if "damaged" not in job]
        if not part and below is None:
            break
        given = {"act": act, "jobs": part, "arguments": arguments}
        outcomes = await board.act(request, "each", given)
        done += sum("job" in each for each in outcomes)
        refused = [each for each in outcomes if "error" in each]
        passed += len(refused)
        problems += refused
    return await board.page(
        request,
        "confirm" if seen or below else "done",
        live=False,
        choice=Choice(act, seen, chosen, below),
        count=None,
        reason=arguments["reason"],
        done=done,
        passed=passed,
        problems=problems[:_SHOWN_PROBLEMS],
    )


def _act_of(form: Form) -> str:
    act = form.get("act", "")
    if act not in ACTS:
        raise InvalidValueError("act", f"{shown(act)} is not one of {', '.join(ACTS)}")
    return act


def _seen(token: str) -> dict[str, Any]:
    match parts_of(token):
        case [str(job_id), int(version)]:
            return {"job_id": job_id, "expected_version": version}
        case [str(job_id), str(status)]:
            return {"job_id": job_id, "expected_status": status}
        case [str(job_id)]:
            return {"job_id": job_id}
        case _:
            raise InvalidValueError("job", "is none that the page has shown; open it anew")


def _as_chosen(job: Job, chosen: Chosen) -> dict[str, Any]:
    """Return a job to act on as the filter has named it: by its status, else as it is now."""
    return {"job_id": job["job_id"], "expected_status": chosen.status or job["status"]}


def _number(form: Form, name: str) -> int:
    text = form.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < len(str(10**12)) else 0
