"""The board: what all pages of a dashboard share, and how each is rendered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from http import HTTPStatus
from typing import Any, Final, Protocol, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from engine.domain.exceptions import InvalidValueError, shown
from engine.operations import Desk
from engine.operations.fields import DATA
from engine.portal.logs import TaskLogger
from engine.web.dashboard import texts
from engine.web.dashboard.feed import Feed
from engine.web.dashboard.guard import access_of
from engine.web.dashboard.sharing import Shared
from engine.web.dashboard.tables import Tables

logger = TaskLogger("engine.web")

Job: TypeAlias = dict[str, Any]
"""A job's fields as JSON, as the operations tell them."""
Hide: TypeAlias = Callable[[Job], bool]
"""Returns whether a job's input, its hash and the result are hidden; they are if it raises."""

Value = TypeVar("Value")

_FRESH_SECONDS: Final = 1.0
_TABLES_SECONDS: Final = 5.0
_KEPT_PAGES: Final = 64
_BOARD: Final = "engine.dashboard.board"


class Waiting(Protocol):
    """The jobs that wait for a person."""

    @property
    def total(self) -> int:
        """How many are known."""
        ...

    @property
    def has_more(self) -> bool:
        """Whether there are more."""
        ...


@cache
def _environment() -> jinja2.Environment:
    """Return the templates; each is compiled once."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("engine.web.dashboard"),
        autoescape=True,
        finalize=texts.visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = ("ago", "between", "clock", "cut", "exact", "json_shown", "moment", "shown")
    environment.filters |= {name: getattr(texts, name) for name in names}
    environment.globals["token"] = texts.token
    return environment


@dataclass
class Board:
    """What the pages share.

    Attributes:
        desk: Carries out the operations.
        hide: Says whose inputs, their hashes, and results are hidden; None hides none.
        has_login: Whether callers log in by a form of the dashboard.
        read_waiting: Reads which jobs wait for a person; every page says how many.
    """

    desk: Desk
    hide: Hide | None
    has_login: bool
    read_waiting: Callable[[Board], Awaitable[Waiting]]
    feed: Feed = field(init=False)
    rules: Shared[list[dict[str, Any]]] = field(init=False)
    _tables: Shared[Tables] = field(init=False)
    _pages: dict[object, Shared[Response]] = field(init=False, default_factory=dict)
    _reads: dict[object, Shared[Any]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Share the reads that every page makes."""
        self.feed = Feed(self.desk.apart())
        self.rules = Shared(partial(self.desk.do, "rules", {}), lambda: _TABLES_SECONDS)
        self._tables = Shared(self._read_tables, lambda: _TABLES_SECONDS)

    async def shared(
        self, read: Callable[[Board], Awaitable[Value]], seconds: float | None = None
    ) -> Value:
        """Return what a function reads: for all pages that ask, until something happens.

        Args:
            read: Reads it.
            seconds: How old it may get, whatever happens; None: it may not.

        Raises:
            EngineError: The function's.
        """
        if read not in self._reads:
            ask = partial(read, self)
            fresh = Shared(ask, self._fresh_seconds, self._news)
            self._reads[read] = fresh if seconds is None else Shared(ask, lambda: seconds)
        value: Value = await self._reads[read].get()
        return value

    async def tables(self) -> Tables:
        """Return the tables of the lifecycle."""
        return await self._tables.get()

    async def _read_tables(self) -> Tables:
        return Tables.of(await self.desk.do("lifecycle", {}))

    def _fresh_seconds(self) -> float:
        """Return how old a page may get without news: many open ones read it at all times."""
        return max(_FRESH_SECONDS, self.feed.gather_seconds)

    def _news(self) -> int | None:
        return self.feed.number

    async def same_for_all(
        self, request: Request, make: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        """Return a page, made once for all who ask with the same access, until something happens.

        Raises:
            EngineError: As the page is made.
        """
        access, scope = access_of(request), request.scope
        asked = (scope["root_path"], scope["path"], scope["query_string"])
        key = (make, access, asked)
        if (page := self._pages.pop(key, None)) is None:
            page = Shared(partial(make, request), self._fresh_seconds, self._news)
        self._pages[key] = page  # as the newest
        while len(self._pages) > _KEPT_PAGES:
            del self._pages[next(iter(self._pages))]
        return await page.get()

    def seen(self, job: Job) -> Job:
        """Return a job as the dashboard may show it: a hidden one without its data.

        The hash of an input is data: of an input with few values it tells which. A job that was
        told without its data has none to hide.
        """
        has_data = any(name in job for name in DATA)
        if self.hide is None or not has_data or not _is_hidden(self.hide, job):
            return job
        return {**job, **dict.fromkeys(DATA), "hidden": True}

    async def act(self, request: Request, operation: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
        """Carry out an act for the request's caller.

        Raises:
            EngineError: The desk's.
        """
        try:
            return await self.desk.do(operation, arguments, by=access_of(request).who)
        finally:
            self.feed.note_act()

    async def page(
        self,
        request: Request,
        template: str,
        status: int = HTTPStatus.OK,
        *,
        live: bool = True,
        waiting: Waiting | None = None,
        **values: object,
    ) -> Response:
        """Return a page.

        Args:
            request: The request.
            template: The name of its template, without the ending.
            status: The HTTP status.
            live: Whether the page follows what happens.
            waiting: The jobs that wait for a person, if the page has read them.
            values: What the template shows. A page that follows has got its ``cursor`` before it
                read anything.

        Raises:
            EngineError: The desk's.
        """
        if waiting is None:
            waiting = await self.shared(self.read_waiting)
        values = {"self_url": url(request, template, **request.query_params), **values}
        return self.plain_page(request, template, status, live=live, waiting=waiting, **values)

    def plain_page(
        self, request: Request, template: str, status: int = HTTPStatus.OK, **values: object
    ) -> Response:
        """Return a page that asks the engine nothing: it may be out of reach."""
        values = {"access": access_of(request), "has_login": self.has_login, **values}
        return self.bare_page(request, template, status, here=template, **values)

    def bare_page(
        self, request: Request, template: str, status: int = HTTPStatus.OK, **values: object
    ) -> Response:
        """Return a page for a caller without access."""
        text = (
            _environment()
            .get_template(f"{template}.html")
            .render(url=partial(url, request), **values)
        )
        return HTMLResponse(text, status)


def _is_hidden(hide: Hide, job: Job) -> bool:
    """Return whether the data of a job is hidden; if the application can't say, it is."""
    try:
        return hide(job)
    except Exception:  # the answer tells of an act that was made: an error would say that it failed
        logger.exception("hide failed on job %r, whose data is not shown", job["job_id"])
        return True


def board_of(request: Request) -> Board:
    """Return the board of the dashboard that a request is for."""
    board: Board = request.scope[_BOARD]
    return board


def before_of(request: Request) -> int | None:
    """Return the number before which a page of lines begins; None for the newest page.

    Raises:
        InvalidValueError: The query has none.
    """
    before = request.query_params.get("before")
    if not before:
        return None
    if not (before.isascii() and before.isdecimal() and len(before) < len(str(2**63))):
        raise InvalidValueError("before", f"must be a number, not {shown(before)}")
    return int(before)


def url(request: Request, name: str, /, **query: object) -> str:
    """Return the link to a page of the dashboard: a path, so that no proxy has to know the host."""
    root = quote(str(request.scope.get("root_path", "")).rstrip("/"))
    return f"{root}{PATHS[name]}" + (f"?{urlencode(query)}" if query else "")


def redirect(request: Request, name: str, /, **query: object) -> Response:
    """Return the answer that leads to a page."""
    return RedirectResponse(url(request, name, **query), HTTPStatus.SEE_OTHER)


PATHS: Final[Mapping[str, str]] = {
    "overview": "/",
    "jobs": "/jobs",
    "bulk": "/jobs/bulk",
    "bulk_act": "/jobs/act",
    "job": "/job",
    "act": "/job/act",
    "inbox": "/inbox",
    "kinds": "/kinds",
    "kinds_act": "/kinds/act",
    "audit": "/audit",
    "confirm": "/jobs",
    "done": "/jobs",
    "events": "/events",
    "login": "/login",
    "logout": "/logout",
    "style": "/static/dashboard.css",
    "script": "/static/dashboard.js",
    "icon": "/static/icon.svg",
    "api": "/api/openapi.json",
}
"""The paths of all pages, below the root."""
