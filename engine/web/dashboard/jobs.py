"""The page of jobs: those that a filter admits, the newest first; and the search for one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from engine.domain.exceptions import InvalidValueError, JobNotFoundError
from engine.web.dashboard.board import Board, board_of, redirect

_PAGE_JOBS: Final = 50
_AGES: Final[Mapping[str, str]] = {
    "600": "for 10 minutes",
    "3600": "for an hour",
    "86400": "for a day",
}
"""The choices of ``stuck``, in seconds."""


class Chosen(NamedTuple):
    """A filter, as the query of a page has it."""

    status: str = ""
    kind: str = ""
    label: str = ""
    """``name=value``."""
    stuck: str = ""
    """Seconds."""
    due: str = ""
    parents: str = ""
    """Anything: no follow-ups."""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Chosen:
        """Return the filter in a query or a form."""
        return cls(*(given.get(name, "").strip() for name in cls._fields))

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the operations ``jobs`` and ``count``.

        Raises:
            InvalidValueError: The label or the age is none.
        """
        chosen: dict[str, Any] = {
            name: value for name, value in (("status", self.status), ("kind", self.kind)) if value
        }
        if self.label:
            name, is_label, value = self.label.partition("=")
            if not is_label:
                raise InvalidValueError("label", "must be of the form name=value")
            chosen["labels"] = {name.strip(): value.strip()}
        if self.stuck:
            try:
                chosen["stuck"] = float(self.stuck)
            except ValueError:
                raise InvalidValueError("stuck", "must be a number of seconds") from None
        if self.due:
            chosen["due"] = True
        if self.parents:
            chosen["follow_ups"] = False
        return chosen

    def query(self) -> dict[str, str]:
        """Return the query of the page that shows these jobs."""
        return {name: value for name, value in self._asdict().items() if value}


async def jobs(request: Request) -> Response:
    """Show a page of jobs, or lead to the one that was searched for."""
    board, query = board_of(request), request.query_params
    searched = query.get("q", "").strip()
    is_name = bool(searched) and "=" not in searched
    if is_name and (job_id := await _found(board, searched)) is not None:
        return redirect(request, "job", id=job_id)
    cursor = await board.feed.cursor()
    chosen, problem = Chosen.of(query), None
    if "=" in searched:
        chosen = chosen._replace(label=searched)
    after = query.get("after") or None
    page: dict[str, Any] = {"jobs": [], "next": None}
    try:
        asked = {**chosen.arguments(), "limit": _PAGE_JOBS, "after": after}
        if not is_name:
            page = await board.desk.do("jobs", asked)
    except InvalidValueError as error:
        problem = str(error)
    return await board.page(
        request,
        "jobs",
        422 if problem else 200,
        live=after is None,
        cursor=cursor,
        page=page,
        chosen=chosen,
        searched=searched,
        problem=problem,
        ages=_AGES,
        after=after,
        tables=await board.tables(),
    )


async def _found(board: Board, name: str) -> str | None:
    """Return the id of the job with an id, a payment or a key; None if there is none."""
    for operation, asked in (
        ("transitions", {"job_id": name, "after": "0", "limit": 1}),
        ("find", {"payment": name}),
        ("find", {"key": name}),
    ):
        with suppress(JobNotFoundError, InvalidValueError):
            answer = await board.desk.do(operation, asked)
            if operation == "find":
                return str(answer["job_id"])
            if answer["transitions"]:
                return name
    return None
