"""The audit: who has acted, and why."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from engine.web.dashboard.board import before_of, board_of

_PAGE_LINES: Final = 100


async def audit(request: Request) -> Response:
    """Show a page of the audit, of one job or of all, the newest line first."""
    board, query = board_of(request), request.query_params
    cursor, job_id, before = await board.feed.cursor(), query.get("job") or None, before_of(request)
    asked = {"job_id": job_id, "limit": _PAGE_LINES, "before": before}
    page = await board.desk.do("audit", asked)
    return await board.page(
        request,
        "audit",
        live=before is None,
        cursor=cursor,
        lines=page["lines"],
        job_id=job_id,
        older=page["next"],
    )
