"""Health: an answer for those who restart a service, or send its customers elsewhere."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from engine._job_engine import JobEngine
from engine._sync_job_engine import SyncJobEngine


def health_response(engine: JobEngine[Any] | SyncJobEngine[Any]) -> Response:
    """Answer whether an engine can be called: 200 if it is `healthy`, else 503.

    Reads no storage and waits for nothing, so any number of probes may ask.
    """
    healthy = engine.healthy
    return JSONResponse(
        {"healthy": healthy}, 200 if healthy else 503, {"Cache-Control": "no-store"}
    )
