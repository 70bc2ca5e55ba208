"""The app: the routes of the dashboard behind its guard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from engine._job_engine import JobEngine
from engine.domain.exceptions import EngineError, InvalidValueError, shown
from engine.domain.validation import is_async_function
from engine.operations import Desk, EngineDesk
from engine.web.dashboard import bulk, job, jobs, kinds, streams
from engine.web.dashboard.access import Authorize, TokenAccess
from engine.web.dashboard.api import api_routes
from engine.web.dashboard.audit import audit
from engine.web.dashboard.board import PATHS, Board, Hide, board_of
from engine.web.dashboard.guard import Guard
from engine.web.dashboard.inbox import inbox, read_inbox
from engine.web.dashboard.login import Login
from engine.web.dashboard.overview import overview
from engine.web.dashboard.places import path_below_root, placed
from engine.web.errors import log_error, problem_of, problem_response

_STATIC: Final = {
    "style": ("dashboard.css", "text/css"),
    "script": ("dashboard.js", "text/javascript"),
    "icon": ("icon.svg", "image/svg+xml"),
}
_API: Final = "/api/"


class Dashboard:
    """The operator's pages over an engine, as an ASGI app that mounts anywhere.

    ::

        app.mount("/ops", Dashboard(engine, authorize=token_access(TOKEN)))

    Every path is closed to those whom ``authorize`` does not know. The pages work without
    JavaScript, and follow what happens with it. Beside them is a JSON API, which its
    ``api/openapi.json`` describes.

    Args:
        engine: A `JobEngine`, on whose event loop the app is then served; it may be opened later.
            Or a desk, which speaks to an engine elsewhere.
        authorize: Returns the `Access` of a request's caller, or None for none; it may be async.
            `token_access` makes one for services that have no users.
        hide: Returns whether the input of a job, its hash and the result are hidden, given the
            job's fields as JSON; a function that is not async. They are hidden if it raises. Of the
            fields that few jobs have, it gets those that the job has: ``job.get("kind")`` is None
            for a job of the default kind. By default they are shown, folded.

    Raises:
        InvalidValueError: An argument is of the wrong type.
    """

    def __init__(
        self, engine: JobEngine[Any] | Desk, *, authorize: Authorize, hide: Hide | None = None
    ) -> None:
        _check_functions(authorize, hide)
        has_login = isinstance(authorize, TokenAccess)
        self._board = Board(_desk_of(engine), hide, has_login, read_inbox)
        app = Starlette(
            routes=_routes(),
            exception_handlers={EngineError: _tell, HTTPException: _tell_plain},
        )
        if isinstance(authorize, TokenAccess):
            login = Login(authorize, self._board)
            app.router.routes += [
                _route("login", login.log_in, "POST"),
                _route("logout", login.log_out, "POST"),
            ]
            paths = {f"GET {PATHS['style']}", f"GET {PATHS['icon']}", f"POST {PATHS['login']}"}
            self._app = Guard(app, authorize, login.ask, paths)
        else:
            self._app = Guard(app, authorize)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as an ASGI app."""
        await self._app({**placed(scope), "engine.dashboard.board": self._board}, receive, send)


def _check_functions(authorize: Any, hide: Any) -> None:  # noqa: ANN401 - they may be anything
    if not callable(authorize):
        raise InvalidValueError("authorize", f"must be a function, not {shown(authorize)}")
    if hide is not None and (not callable(hide) or is_async_function(hide)):
        raise InvalidValueError("hide", f"must be a function that is not async, not {shown(hide)}")


def _desk_of(engine: JobEngine[Any] | Desk) -> Desk:
    if isinstance(engine, JobEngine):
        return _OwnDesk(engine.core)
    if not all(callable(getattr(engine, name, None)) for name in ("do", "apart")):
        raise InvalidValueError("engine", f"must be a JobEngine or a desk, not {shown(engine)}")
    return engine


class _OwnDesk(EngineDesk):
    """The desk of an engine that is called from its own event loop alone."""

    async def do(
        self, operation: str, arguments: Mapping[str, Any], *, by: str | None = None
    ) -> Any:  # noqa: ANN401 - any JSON value
        """See `Desk.do`.

        Raises:
            WrongLoopError: The app is served on another event loop.
        """
        self._core.check_caller()
        return await super().do(operation, arguments, by=by)


def _routes() -> list[Route]:
    return [
        _page("overview", overview),
        _page("jobs", jobs.jobs),
        _route("bulk", bulk.confirm, "POST"),
        _route("bulk_act", bulk.act, "POST"),
        _page("job", job.job),
        _route("act", job.act, "POST"),
        _page("inbox", inbox),
        _page("kinds", kinds.kinds),
        _route("kinds_act", kinds.act, "POST"),
        _page("audit", audit),
        _route("events", streams.events),
        *api_routes(),
        *(_route(name, partial(_static, name)) for name in _STATIC),
    ]


def _route(name: str, endpoint: Any, method: str = "GET") -> Route:  # noqa: ANN401 - as Starlette
    return Route(PATHS[name], endpoint, methods=[method], name=name)


def _page(name: str, make: Callable[[Request], Awaitable[Response]]) -> Route:
    """Return the route of a page that is made once for all who look at it."""

    async def page(request: Request) -> Response:
        return await board_of(request).same_for_all(request, make)

    return _route(name, page)


async def _static(name: str, _: Request) -> Response:
    file, kind = _STATIC[name]
    text = files("engine.web.dashboard").joinpath("static", file).read_bytes()
    return Response(text, media_type=kind, headers={"Cache-Control": "private, max-age=3600"})


async def _tell(request: Request, error: Exception) -> Response:
    """Tell an error of the engine: a program by a problem, an operator by its whole text."""
    assert isinstance(error, EngineError)  # noqa: S101 - it is registered for these
    problem = problem_of(error)
    log_error(request, error, problem.status_code)
    if path_below_root(request).startswith(_API):
        return problem
    page = board_of(request).plain_page(request, "error", problem.status_code, text=str(error))
    if (seconds := problem.headers.get("Retry-After")) is not None:
        page.headers["Retry-After"] = seconds
    return page


async def _tell_plain(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    text = "There is no such page."
    if error.status_code != HTTPStatus.NOT_FOUND:
        text = error.detail
    if path_below_root(request).startswith(_API):
        return problem_response(error.status_code, text, headers=error.headers)
    page = board_of(request).plain_page(request, "error", error.status_code, text=text)
    page.headers.update(error.headers or {})
    return page
