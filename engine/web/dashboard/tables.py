"""The lifecycle's tables as the dashboard uses them, and what they say may be done with a job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct, convert


class Tables(Struct, frozen=True):
    """The tables, as the operation ``lifecycle`` tells them."""

    statuses: list[str]
    moves: dict[str, list[str]]
    initial: str
    running: str
    success: list[str]
    failure: list[str]
    awaiting_input: str | None = None
    fails_to: str | None = None
    exhausted_to: str | None = None
    expires_to: dict[str, str] = {}
    cancels_to: dict[str, str] = {}
    outcomes: dict[str, str] = {}

    @classmethod
    def of(cls, told: object) -> Tables:
        """Return the tables that an engine has told."""
        return convert(told, cls)

    def is_end(self, status: str) -> bool:
        """Return whether a job has ended there."""
        return status in self.success or status in self.failure

    def role(self, status: str) -> str:
        """Return what a status is for, as a class of the style sheet."""
        if status == self.running:
            return "running"
        if status == self.awaiting_input:
            return "asks"
        if status == self.exhausted_to:
            return "attention"
        if status in self.success:
            return "success"
        if status in self.failure:
            is_given_up = self.outcomes.get(status) in {"cancelled", "expired"}
            return "given-up" if is_given_up else "failure"
        return "waits"

    def failures(self) -> list[str]:
        """Return the ends of jobs that have failed: neither cancelled nor expired."""
        return [status for status in self.failure if self.role(status) == "failure"]

    def acts(self, job: dict[str, Any]) -> Iterator[str]:
        """Yield the acts that make sense for a job; the engine decides about each."""
        status = job["status"]
        has_ended = bool(job.get("outcome")) or self.is_end(status)
        if job.get("prompt"):
            yield "answer"
        if status == self.exhausted_to or (status == self.running and _has_failed(job)):
            yield "retry"
        if status == self.initial and not has_ended:
            yield "start"
        if status in self.cancels_to and job.get("cancel_reason") is None:
            yield "cancel"
        if self.moves.get(status):
            yield "move"
        if has_ended and not job.get("repeated_by"):
            yield "repeat"
        if has_ended:
            yield "follow-up"
        elif status in self.expires_to:
            yield "extend"


def _has_failed(job: dict[str, Any]) -> bool:
    return bool(job.get("failures") or job.get("deaths") or job.get("next_attempt_at"))
