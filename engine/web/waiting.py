"""Waits that the client asks for: ``Prefer: wait``, as RFC 7240 has it."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from starlette.requests import Request

from engine._job_engine import JobEngine
from engine.domain.exceptions import CallTimeoutError
from engine.domain.models import Job, Status
from engine.portal.server_stops import until_server_stops

_PREFERENCE: Final = re.compile(r'(?:[^,"]|"[^"]*")+')
_WAIT: Final = re.compile(r'\s*wait\s*=\s*("?)(\d{1,9})\1\s*(?:;.*)?', re.IGNORECASE | re.ASCII)


def preferred_wait_seconds(request: Request, at_most: float = 30.0) -> float:
    """Return how long the client would wait for an answer: ``Prefer: wait=10``.

    The first such preference counts, and one that makes no sense counts for nothing, as RFC 7240
    says.

    Args:
        request: The request.
        at_most: The longest wait, in seconds.

    Returns:
        Seconds; 0 if the client has no such preference.
    """
    for header in request.headers.getlist("prefer"):
        for preference in _PREFERENCE.findall(header):
            if found := _WAIT.fullmatch(preference):
                return min(float(found[2]), at_most)
    return 0.0


async def wait_as_preferred(
    engine: JobEngine[Status],
    request: Request,
    job_id: str,
    *,
    until: Collection[Status] | None = None,
    at_most_seconds: float = 30.0,
) -> Job[Status]:
    """Return a job, after the wait that the client prefers.

    The wait ends early when the job has ended or reached one of some statuses, or when the server
    stops.

    Args:
        engine: The engine.
        request: The request, with its ``Prefer: wait``.
        job_id: The job's id.
        until: Statuses that also end the wait.
        at_most_seconds: The longest wait.

    Raises:
        EngineError: As `JobEngine.get` and `JobEngine.wait` raise; but a wait that ends too soon
            is no error.
    """
    if seconds := preferred_wait_seconds(request, at_most_seconds):
        with until_server_stops(), suppress(CallTimeoutError):
            return await engine.wait(job_id, until=until, timeout=seconds)
    return await engine.get(job_id)
