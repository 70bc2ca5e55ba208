"""Logging in and out, for dashboards that a token opens."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from engine.domain.exceptions import InvalidValueError
from engine.web.dashboard.access import SESSION_SECONDS, TokenAccess
from engine.web.dashboard.board import Board, redirect, url
from engine.web.dashboard.bodies import form_of
from engine.web.errors import problem_response

_MAX_BYTES: Final = 16_384  # the longest token, escaped: a stranger's form is parsed on the loop


class Login:
    """The form for the token.

    Args:
        access: Knows the token.
        board: Renders the form.
    """

    def __init__(self, access: TokenAccess, board: Board) -> None:
        self._access = access
        self._board = board

    async def ask(self, request: Request) -> Response:
        """Answer a request that has no access: a browser gets the form, a program a problem."""
        if request.method in {"GET", "HEAD"} and "text/html" in request.headers.get("accept", ""):
            page = self._board.bare_page(request, "login", HTTPStatus.UNAUTHORIZED)
        else:
            detail = "send the token, as Authorization: Bearer TOKEN"
            page = problem_response(HTTPStatus.UNAUTHORIZED, detail, code="unauthorized")
        page.headers["WWW-Authenticate"] = "Bearer"
        return page

    async def log_in(self, request: Request) -> Response:
        """Begin a session if the form has the token."""
        given = ""
        with suppress(InvalidValueError):
            given = (await form_of(request, _MAX_BYTES)).get("token", "").strip()
        if not self._access.knows(given):
            status = HTTPStatus.UNAUTHORIZED
            return self._board.bare_page(request, "login", status, is_wrong=True)
        answer = redirect(request, "overview")
        answer.set_cookie(
            self._access.cookie,
            self._access.new_session(),
            max_age=SESSION_SECONDS,
            path=url(request, "overview"),
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    async def log_out(self, request: Request) -> Response:
        """Forget the session in this browser."""
        answer = redirect(request, "overview")
        answer.delete_cookie(
            self._access.cookie,
            path=url(request, "overview"),
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer
