"""The page of one job, and the acts on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from engine.domain.exceptions import (
    EngineError,
    EngineUnavailableError,
    InvalidValueError,
    JobNotFoundError,
    StalePromptError,
    shown,
)
from engine.operations import OPERATIONS
from engine.operations.acts import is_of_attempt
from engine.web.dashboard.board import Board, before_of, board_of, redirect, url
from engine.web.dashboard.bodies import Form, form_of
from engine.web.dashboard.diagram import diagram_of
from engine.web.dashboard.inputs import Input, answer_of, inputs_of
from engine.web.errors import problem_of

ACTS: Final[Mapping[str, str]] = {
    "answer": "Answered.",
    "retry": "It runs again, with fresh attempts.",
    "start": "Started.",
    "cancel": "Cancelled; an attempt at work is asked to stop.",
    "move": "Moved.",
    "extend": "It has another deadline.",
    "repeat": "This is its repeat.",
    "follow-up": "This is its follow-up.",
}
"""The acts of the page, with the text that stands on the page after each."""
_SHOWN_ACTS: Final = 20
_SHOWN_LINES: Final = 100
_LIVE_SECONDS: Final = 2
"""How often the page of a job at work is read anew: progress is no transition."""


async def job(request: Request) -> Response:
    """Show a job."""
    done = ACTS.get(request.query_params.get("done", ""))
    return await _page(request, request.query_params.get("id", ""), done=done)


async def _page(
    request: Request,
    job_id: str,
    status: int = HTTPStatus.OK,
    *,
    done: str | None = None,
    problem: str | None = None,
    given: Mapping[str, str] | None = None,
) -> Response:
    board, before = board_of(request), before_of(request)
    cursor = await board.feed.cursor()
    told = await board.desk.do("job", {"job_id": job_id, **_lines(before)})
    acts = await board.desk.do("audit", {"job_id": job_id, "limit": _SHOWN_ACTS})
    job, lines, tables = told["job"], told["history"], await board.tables()
    history = [line for line in lines if before is None or line["sequence"] < before]
    moves = {(line["from_status"], line["to_status"]) for line in history}
    is_at_work = job["status"] == tables.running
    return await board.page(
        request,
        "job",
        status,
        self_url=url(request, "job", id=job_id, **({} if before is None else {"before": before})),
        cursor=cursor,
        tables=tables,
        job=board.seen(job),
        history=history,
        ends=[*(line["at"] for line in lines[1:]), None],
        before=before,
        older=told["older"],
        audit=acts["lines"],
        more_audit=acts["next"] is not None,
        attempts=told["attempts"],
        follow_ups=told["follow_ups"],
        family=[job["job_id"], *(each["job_id"] for each in told["follow_ups"])],
        diagram=diagram_of(tables, moves, job["status"]),
        acts=told["acts"],
        rules=told["rules"],
        inputs=_inputs(job),
        every=_LIVE_SECONDS if is_at_work else None,
        done=done,
        problem=problem,
        given=_given(job, given or {}),
    )


def _lines(before: int | None) -> dict[str, int]:
    """Return which lines of the history are read: behind an older page also the next one.

    It says how long the job was in the status before.
    """
    if before is None:
        return {"lines": _SHOWN_LINES}
    return {"lines": _SHOWN_LINES + 1, "before": before + 1}


def _inputs(job: Mapping[str, Any]) -> Sequence[Input]:
    prompt = job.get("prompt")
    return () if prompt is None else inputs_of(prompt["json_schema"])


def _given(job: Mapping[str, Any], form: Mapping[str, str]) -> Mapping[str, str]:
    """Return the fields of a refused form; none if they answer another question than the job's."""
    prompt_id = (job.get("prompt") or {}).get("prompt_id")
    return form if form.get("prompt_id") == prompt_id else {}


async def act(request: Request) -> Response:
    """Do something with a job, and show it; or show it with the reason why not."""
    board, form = board_of(request), await form_of(request)
    job_id, name = request.query_params.get("id", ""), form.get("act", "")
    try:
        if name not in ACTS:
            raise InvalidValueError("act", f"{shown(name)} is not one of {', '.join(ACTS)}")
        changed = await board.act(request, name, await _arguments(board, job_id, name, form))
    except (EngineUnavailableError, JobNotFoundError):
        raise
    except EngineError as error:
        status = problem_of(error).status_code
        return await _page(request, job_id, status, problem=str(error), given=form)
    return redirect(request, "job", id=changed["job_id"], done=name)


async def _arguments(board: Board, job_id: str, name: str, form: Form) -> dict[str, Any]:
    """Return the arguments of an act, as its form has them."""
    arguments: dict[str, Any] = {"job_id": job_id, "reason": form.filled("reason")}
    for each in ("version", "attempt") if is_of_attempt(name) else ("version",):
        if seen := form.filled(each):
            arguments[f"expected_{each}"] = _integer(each, seen)
    known = OPERATIONS[name].arguments.__struct_fields__
    for each in ("payment_id", "status", "result", "error", "rule"):
        if each in known and form.filled(each) is not None:
            arguments[each] = form.filled(each)
    if name == "move":  # a move to the running status is only made from a status that was seen
        arguments["expected_status"] = form.filled("seen_status")
    if name == "extend":
        arguments["deadline"] = _deadline(form)
        arguments["expected_deadline"] = form.filled("seen_deadline")
    if name == "answer":
        arguments |= await _answer(board, job_id, form)
    return arguments


def _deadline(form: Form) -> float | None:
    """Return the seconds of a deadline that is given by a number and a unit; None for none."""
    if form.get("unit") == "never":
        return None
    try:
        return float(form.get("deadline", "")) * int(form.get("unit", "60")[:9])
    except ValueError:
        raise InvalidValueError("deadline", "must be a number") from None


def _integer(field: str, text: str) -> int:
    try:
        return int(text[:20])
    except ValueError:
        raise InvalidValueError(field, f"must be a whole number, not {shown(text)}") from None


async def _answer(board: Board, job_id: str, form: Form) -> dict[str, Any]:
    """Return the answer in a form, made of the fields of the prompt that the job has now.

    Raises:
        StalePromptError: The form was for another one.
    """
    told = await board.desk.do("job", {"job_id": job_id})
    prompt, prompt_id = told["job"].get("prompt"), form.get("prompt_id", "")
    if prompt is None or prompt["prompt_id"] != prompt_id:
        raise StalePromptError(job_id, prompt_id, None if prompt is None else prompt["prompt_id"])
    return {"prompt_id": prompt_id, "value": answer_of(prompt["json_schema"], form)}
