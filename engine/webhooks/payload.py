"""The payload of a delivery: what has happened, or the job."""

from __future__ import annotations

import json
from typing import Any

from engine.worker.context import Context


def payload_text(context: Context[Any], *, with_job: bool) -> str:
    """Return the body of a delivery, as JSON.

    Its type and time are those of the transition that the delivery follows.

    Args:
        context: Of the delivery.
        with_job: Whether the data are the job as it is now; otherwise they are the same in every
            attempt.
    """
    entered_at = context.parent_entered_at.isoformat().replace("+00:00", "Z")
    data = context.parent.model_dump(mode="json") if with_job else _event(context)
    payload = {"type": f"job.{_status(context)}", "timestamp": entered_at, "data": data}
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


def _status(context: Context[Any]) -> str:
    return str(context.parent_status.value)


def _event(context: Context[Any]) -> dict[str, Any]:
    parent, version = context.parent, context.job.parent_version
    return {
        "job_id": parent.job_id,
        "kind": parent.kind,
        "status": _status(context),
        # A job that has moved on since had not ended.
        "outcome": parent.outcome if parent.version == version else None,
        "version": version,
        "labels": parent.labels,
    }
