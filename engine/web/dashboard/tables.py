"""The lifecycle's tables as the dashboard uses them."""

from __future__ import annotations

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
    exhausted_to: str | None = None
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
