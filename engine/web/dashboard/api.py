"""The JSON API: every operation, for programs of the operators.

A read is a GET whose query has the arguments; an act is a POST of a JSON object. What goes wrong is
told by a problem, as `engine.web.errors` says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import anyio
from msgspec import to_builtins
from msgspec.json import encode
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.domain.exceptions import EngineError, InvalidValueError
from engine.operations import OPERATIONS, Operation
from engine.portal.server_stops import until_server_stops
from engine.web.dashboard.board import PATHS, Board, board_of, url
from engine.web.dashboard.bodies import object_of
from engine.web.dashboard.guard import access_of, no_access, still_has_access
from engine.web.dashboard.openapi import openapi
from engine.web.dashboard.repeats import Call, Repeats
from engine.web.dashboard.streams import guarded_stream
from engine.web.streaming import HEARTBEAT, Pieces
from engine.web.waiting import preferred_wait_seconds

_PART: Final = re.compile(r"(\w+)\[(.*)\]", re.DOTALL)
_WAIT_SECONDS: Final = 15.0


def api_routes() -> list[Route]:
    """Return the routes of the API, for one dashboard."""
    repeats = Repeats()
    return [
        Route(PATHS["api"], _describe, name="api"),
        Route(f"{_path('events')}", _events),
        *(_route(operation, repeats) for operation in OPERATIONS.values()),
    ]


def _path(name: str) -> str:
    return f"/api/{name}"


def _route(operation: Operation[Any], repeats: Repeats) -> Route:
    if operation.acts:
        return Route(
            _path(operation.name), partial(_act, operation.name, repeats), methods=["POST"]
        )
    endpoint = _job if operation.name == "job" else partial(_read, operation)
    return Route(_path(operation.name), endpoint)


async def _describe(request: Request) -> Response:
    root = url(request, "overview").rstrip("/")
    return JSONResponse(openapi(root or "/", has_token=board_of(request).has_login))


# --- reads --------------------------------------------------------------------------------------


async def _read(operation: Operation[Any], request: Request) -> Response:
    board = board_of(request)
    arguments = _query(board, operation, request)
    told = await board.desk.do(operation.name, arguments)
    if arguments.get("wait") and not await still_has_access(request):
        return no_access()
    return _answer(board, told)


async def _job(request: Request) -> Response:
    """Tell of a job, after the wait for its end that the client prefers."""
    board = board_of(request)
    arguments = _query(board, OPERATIONS["job"], request)
    if seconds := preferred_wait_seconds(request):
        with until_server_stops(), anyio.move_on_after(seconds):
            await _end_of(board, arguments["job_id"])
        if not await still_has_access(request):
            return no_access()
    return _answer(board, await board.desk.do("job", arguments))


async def _end_of(board: Board, job_id: str) -> None:
    """Wait for the end of a job.

    The history that comes with the job is read after it, and may be ahead of it.
    """
    asked = {"job_id": job_id, "lines": 1}
    while "outcome" not in (job := (await board.desk.do("job", asked))["job"]):
        after = {"after": str(job["sequence"]), "wait": _WAIT_SECONDS}
        await board.desk.do("transitions", {"job_id": job_id, **after})


def _query(board: Board, operation: Operation[Any], request: Request) -> Mapping[str, Any]:
    """Return the arguments in a query, where ``labels[name]=value`` is a part of an object.

    Raises:
        InvalidValueError: One is missing, unknown or of the wrong type, or asks for what is hidden:
            a hash that was guessed would be confirmed.
    """
    arguments = dict[str, Any]()
    for name, value in request.query_params.items():
        if (part := _PART.fullmatch(name)) is None:
            arguments[name] = value
        elif isinstance(kept := arguments.setdefault(part[1], {}), dict):
            kept[part[2]] = value
    if "input_hash" in arguments and board.hide is not None:
        raise InvalidValueError("input_hash", "is hidden here, so no job is found by it")
    checked: dict[str, Any] = to_builtins(operation.checked(arguments, are_texts=True))
    return checked


def _cursor(transition: Mapping[str, Any]) -> str:
    epoch = transition["epoch"]
    return f"{epoch}-{transition['sequence']}" if epoch else str(transition["sequence"])


def _answer(board: Board, told: object) -> Response:
    return Response(encode(_seen(board, told)), media_type="application/json")


def _seen(board: Board, told: object) -> object:
    """Return an answer without the inputs and results that are hidden, wherever its jobs stand."""
    if isinstance(told, list):
        return [_seen(board, each) for each in told]
    if not isinstance(told, dict):
        return told
    if "job_id" in told and "sequence" in told:  # what its labels and its prompt say is no job
        return board.seen(told)
    return {name: _seen(board, each) for name, each in told.items()}


# --- acts ---------------------------------------------------------------------------------------


async def _act(operation: str, repeats: Repeats, request: Request) -> Response:
    board, arguments = board_of(request), await object_of(request)

    async def act() -> Response:
        return _answer(board, await board.act(request, operation, arguments))

    key = request.headers.get("idempotency-key")
    if key is None:
        return await act()
    return await repeats.once(access_of(request).who, key, Call.of(operation, arguments), act)


# --- the stream ---------------------------------------------------------------------------------


async def _events(request: Request) -> Response:
    """Stream the transitions of one job from its creation to its end, or of all from now on.

    With ``Last-Event-ID`` both begin behind that event.
    """
    board, job_id = board_of(request), request.query_params.get("job_id")
    tables = await board.tables()
    arguments: dict[str, Any] = {"job_id": job_id}
    after = request.headers.get("last-event-id") or request.query_params.get("after")
    has_ended = False
    if job_id is not None:
        told = await board.desk.do("job", {"job_id": job_id})
        has_ended = told["job"].get("outcome") is not None
    first = await board.desk.do("transitions", {**arguments, "after": after or (job_id and "0")})
    if has_ended and not first["transitions"]:
        return Response(status_code=HTTPStatus.NO_CONTENT)  # the client stays away

    async def pieces() -> Pieces:
        answer = first
        yield HEARTBEAT
        with suppress(EngineError):  # the client comes back, and meets it
            while True:
                for line in answer["transitions"]:
                    yield f"id: {_cursor(line)}\ndata: {encode(line).decode()}\n\n"
                    if job_id is not None and tables.is_end(line["to_status"]):
                        return
                asked = {**arguments, "after": answer["next"], "wait": _WAIT_SECONDS}
                answer = await board.desk.do("transitions", asked)
                if not answer["transitions"]:
                    yield HEARTBEAT

    return guarded_stream(request, pieces)
