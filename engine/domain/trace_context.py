"""Trace contexts: the trace of a job's submitter, in the two headers of the W3C.

https://www.w3.org/TR/trace-context/ says what they hold. The engine keeps them and looks no
further.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.validation import check_text

MAX_TRACE_CHARACTERS: Final = 512
"""Of each of the two headers."""

_HEADERS: Final = ("traceparent", "tracestate")


def trace_text(trace: Mapping[str, str] | None) -> str | None:
    """Return the stored form of a trace context, a JSON object; None without a ``traceparent``.

    Raises:
        InvalidValueError: It is no mapping, or a header is no text of up to 512 characters.
    """
    if trace is None:
        return None
    given: object = trace
    if not isinstance(given, Mapping):
        raise InvalidValueError("trace", f"must map headers to texts, not {shown(trace)}")
    kept = {
        name: check_text(name, trace[name], MAX_TRACE_CHARACTERS)
        for name in _HEADERS
        if trace.get(name)
    }
    return json.dumps(kept, separators=(",", ":")) if "traceparent" in kept else None
