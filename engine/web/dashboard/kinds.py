"""The kinds: what waits of each, which are paused, the gates, and the engines that run them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from engine.domain.exceptions import (
    EngineError,
    EngineUnavailableError,
    InvalidValueError,
    shown,
)
from engine.web.dashboard.board import Board, board_of, redirect, url
from engine.web.dashboard.bodies import Form, form_of, parts_of
from engine.web.errors import problem_of

_ACTS: Final = ("pause", "resume")
_DONE: Final[Mapping[str, str]] = {
    "pause kind": "Paused: no engine claims a job of it. What runs goes on.",
    "resume kind": "Resumed: its jobs are claimed again.",
    "pause gate": "Paused: no engine calls its check, and it moves no job.",
    "resume gate": "Resumed: its check is called at the next interval.",
}
"""The text that stands on the page after each act."""
_COUNTED_SECONDS: Final = 2.0
"""A count goes through all live jobs, so it is a rare one."""
_LIVE_SECONDS: Final = 5
"""How often the page is read anew: a claim and a pause are no transitions."""
_NO_JOBS: Final = {"ready": 0, "running": 0, "waiting": 0, "oldest_ready": None}


class _Counted(NamedTuple):
    """What is counted."""

    kinds: dict[str, Any]
    engines: list[dict[str, Any]]


async def read_paused(board: Board) -> list[dict[str, Any]]:
    """Read which kinds and gates are paused."""
    paused: list[dict[str, Any]] = await board.desk.do("paused", {})
    return paused


async def _read_counted(board: Board) -> _Counted:
    return _Counted(await board.desk.do("kinds", {}), await board.desk.do("engines", {}))


async def kinds(request: Request) -> Response:
    """Show how many live jobs of each kind there are, the gates, and the engines."""
    return await _page(request, done=_DONE.get(request.query_params.get("done", "")))


async def _page(
    request: Request,
    status: int = HTTPStatus.OK,
    *,
    done: str | None = None,
    problem: str | None = None,
    given: Mapping[str, str] | None = None,
) -> Response:
    board = board_of(request)
    cursor = await board.feed.cursor()
    counted = await board.shared(_read_counted, _COUNTED_SECONDS)
    paused = await board.shared(read_paused)
    return await board.page(
        request,
        "kinds",
        status,
        self_url=url(request, "kinds"),
        cursor=cursor,
        kinds=_rows(counted.kinds["kinds"], paused),
        gates=_gates(counted.engines, paused),
        are_all=counted.kinds["all_kinds_counted"],
        engines=counted.engines,
        every=_LIVE_SECONDS,
        done=done,
        problem=problem,
        given=given or {},
    )


def _rows(counts: list[dict[str, Any]], paused: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the kinds with the pauses as they are now, which may be newer than the counts."""
    by_kind = {each["kind"]: each for each in paused if each["kind"] is not None}
    rows = {each["kind"]: each for each in counts if each["paused"] is None or _has_jobs(each)}
    return [
        {"kind": kind, **rows.get(kind, _NO_JOBS), "paused": by_kind.get(kind)}
        for kind in sorted({*rows, *by_kind})
    ]


def _gates(engines: list[dict[str, Any]], paused: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the gates that run or are paused, in their order, each with its pause."""
    pauses = {each["gate"]: each for each in paused if each["gate"] is not None}
    names = {name for each in engines for name in each["gates"]}
    return {name: pauses.get(name) for name in sorted({*names, *pauses})}


def _has_jobs(counts: dict[str, Any]) -> bool:
    return any(counts[name] for name in ("ready", "running", "waiting"))


async def act(request: Request) -> Response:
    """Pause a kind or a gate, or resume it, and show all; or show them with the reason why not."""
    board, form = board_of(request), await form_of(request)
    name = form.get("act", "")
    try:
        if name not in _ACTS:
            raise InvalidValueError("act", f"{shown(name)} is not one of {', '.join(_ACTS)}")
        named = _named(form)
        await board.act(request, name, {**named, "reason": form.filled("reason")})
    except EngineUnavailableError:
        raise
    except EngineError as error:
        status = problem_of(error).status_code
        return await _page(request, status, problem=str(error), given=form)
    return redirect(request, "kinds", done=" ".join((name, *named)))


def _named(form: Form) -> dict[str, str]:
    """Return the kind or the gate that a form names: that of its row, or what was typed."""
    match parts_of(form["named"]) if "named" in form else []:
        case ["kind" | "gate" as what, str(name)]:
            return {what: name}
        case _:
            return {what: form[what].strip() for what in ("kind", "gate") if what in form}
