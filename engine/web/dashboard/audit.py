"""The audit: who has acted, and why."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from engine.domain.exceptions import InvalidValueError, shown
from engine.web.dashboard.board import board_of

_PAGE_LINES: Final = 100


async def audit(request: Request) -> Response:
    """Show a page of the audit, of one job or of all, the newest line first."""
    board, query = board_of(request), request.query_params
    cursor, job_id, before = (
        await board.feed.cursor(),
        query.get("job") or None,
        query.get("before"),
    )
    asked: dict[str, Any] = {"job_id": job_id, "limit": _PAGE_LINES}
    if before:
        if not (before.isascii() and before.isdecimal() and len(before) < len(str(2**63))):
            raise InvalidValueError("before", f"must be a number, not {shown(before)}")
        asked["before"] = int(before)
    page = await board.desk.do("audit", asked)
    return await board.page(
        request,
        "audit",
        live=not before,
        cursor=cursor,
        lines=page["lines"],
        job_id=job_id,
        older=page["next"],
    )
