"""The guard: lets nobody in whom the service does not know, and nothing through that a page forged.

It stands before every path, static files too. A caller without access gets a 401 or 403 and learns
nothing, not even which paths there are. A request that changes anything has to come from a page of
the dashboard itself, as the browser says, or from a program: a cookie alone never suffices.

An answer that takes long outlives the access that it began with, so `still_has_access` asks again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from http import HTTPStatus
from inspect import isawaitable
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.web.dashboard.access import Access, Authorize
from engine.web.dashboard.places import path_below_root
from engine.web.errors import problem_response

Refuse: TypeAlias = Callable[[Request], Awaitable[Response]]
"""Answers a request whose caller has no access."""

_ACCESS: Final = "engine.dashboard.access"
_AUTHORIZE: Final = "engine.dashboard.authorize"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
    "Cache-Control": "no-store",
}


class Guard:
    """Stands before an app; see this module.

    Args:
        app: The app.
        authorize: Says who is calling.
        refuse: Answers those who have no access.
        open_to_all: The requests that anybody may make: ``GET /path``, below the root.
    """

    def __init__(
        self,
        app: ASGIApp,
        authorize: Authorize,
        refuse: Refuse | None = None,
        open_to_all: Collection[str] = (),
    ) -> None:
        self._app = app
        self._authorize = authorize
        self._refuse = refuse
        self._open_to_all = frozenset(open_to_all)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(Request(scope, receive), receive, _with_headers(send))
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, request: Request, receive: Receive, send: Send) -> None:
        is_act = request.method not in _SAFE_METHODS
        if is_act and not is_from_here(request):
            await _forged()(request.scope, receive, send)
        elif f"{request.method} {path_below_root(request)}" in self._open_to_all:
            await self._app(request.scope, receive, send)
        elif (access := await _access_by(self._authorize, request)) is None:
            refuse = _refuse if self._refuse is None else self._refuse
            await (await refuse(request))(request.scope, receive, send)
        elif is_act and not access.may_act:
            await _may_not_act()(request.scope, receive, send)
        else:
            known = {_ACCESS: access, _AUTHORIZE: self._authorize}
            await self._app({**request.scope, **known}, receive, send)


async def _access_by(authorize: Authorize, request: Request) -> Access | None:
    found = authorize(request)
    access = await found if isawaitable(found) else found
    if access is not None and not isinstance(access, Access):
        raise TypeError(f"authorize must return an Access or None, not {access!r}")
    return access


def access_of(request: Request) -> Access:
    """Return the access of a request's caller, as it was when the request came."""
    access: Access = request.scope[_ACCESS]
    return access


async def still_has_access(request: Request) -> bool:
    """Return whether the caller of a request that is being answered has access now."""
    return await _access_by(request.scope[_AUTHORIZE], request) is not None


def is_from_here(request: Request) -> bool:
    """Return whether a request comes from a page of this origin, or from no page.

    Browsers say so by ``Sec-Fetch-Site``; those that don't, and all that are not at a secure
    origin, by ``Origin`` with each form. A program says neither. No page of another origin can send
    the JSON that the API takes, unless this server allows that, which it does not; and a form that
    says neither is refused.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return site == "same-origin"
    if origin is not None:
        scheme = origin.partition(":")[0]
        here = _address(f"{scheme}://{request.headers.get('host', '')}")
        return here is not None and here == _address(origin)
    return request.headers.get("content-type", "").split(";")[0].strip() == "application/json"


def _address(url: str) -> tuple[str, int | None] | None:
    """Return the host and the port that a URL names; None if it names none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname else None


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers


async def _refuse(_: Request) -> Response:
    return no_access()


def no_access() -> Response:
    """Return the answer to a caller who has none."""
    return problem_response(HTTPStatus.FORBIDDEN, "you have no access to this")


def _forged() -> Response:
    return problem_response(
        HTTPStatus.FORBIDDEN,
        "this request does not come from a page of the dashboard; open the page anew, and let your "
        "proxy pass on the headers Host, Origin and Sec-Fetch-Site",
        code="forged",
    )


def _may_not_act() -> Response:
    return problem_response(HTTPStatus.FORBIDDEN, "you may look, but not act", code="may-not-act")
