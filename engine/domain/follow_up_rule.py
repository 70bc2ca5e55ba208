"""A rule of follow-ups as it is kept: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from engine.domain.follow_ups import FollowUp
from engine.domain.ids import derived_id
from engine.domain.labels import checked_labels, read_labels
from engine.domain.lifecycle import Lifecycle
from engine.domain.outcomes import Outcome
from engine.domain.past_status import PastStatus
from engine.domain.validation import plain_duration


class Rule(Struct, frozen=True, omit_defaults=True):
    """A rule in its stored form; `FollowUp` documents the fields."""

    kind: str
    to: tuple[str, ...]
    """The values of the statuses, in the order of the lifecycle that gave them."""
    of: tuple[str, ...] | None = None
    outcomes: tuple[str, ...] | None = None
    started: bool | None = None
    labels: dict[str, str] | None = None
    delay_seconds: float | None = None
    disabled: bool | None = None
    """True or None; a rule that is only given may also have False."""

    @classmethod
    def of_follow_up(cls, given: FollowUp[Any], lifecycle: Lifecycle[Any]) -> Rule:
        """Return the stored form of a rule.

        Raises:
            InvalidValueError: The lifecycle doesn't have one of the statuses.
        """
        to = {lifecycle.value(status, f"follow_ups[{given.kind!r}].to") for status in given.to}
        of = given.of
        return cls(
            given.kind,
            tuple(value for value in lifecycle.values if value in to),
            None if of is None else (of,) if isinstance(of, str) else tuple(sorted(set(of))),
            None
            if given.outcomes is None
            else tuple(sorted(each.value for each in given.outcomes)),
            given.started,
            checked_labels(given.labels) or None,
            None if given.delay is None else plain_duration(given.delay).total_seconds(),
            given.disabled,
        )

    def follow_up(self, member_of: Mapping[str, Any]) -> FollowUp[Any]:
        """Return it as callers give it.

        Args:
            member_of: The statuses by their values; one of another lifecycle is its text.
        """
        return FollowUp(
            self.kind,
            to=frozenset(member_of.get(value) or PastStatus(value) for value in self.to),
            of=self.of,
            outcomes=None if self.outcomes is None else frozenset(map(Outcome, self.outcomes)),
            started=self.started,
            labels=self.labels,
            delay=None if self.delay_seconds is None else timedelta(seconds=self.delay_seconds),
            disabled=self.disabled,
        )

    @property
    def delay(self) -> timedelta | None:
        """How long no worker claims the follow-up; None for no delay."""
        return None if self.delay_seconds is None else timedelta(seconds=self.delay_seconds)

    def is_of(self, kind: str, *, is_follow_up: bool) -> bool:
        """Return whether it is about jobs of a kind."""
        return not is_follow_up if self.of is None else kind in self.of

    def admits(self, started_at: object, outcome: str | None, labels: str | None) -> bool:
        """Return whether a job that it is about, and that has entered a status of it, is followed.

        Args:
            started_at: When the job was first running, before it entered the status; None: never.
            outcome: The job's; None until it has ended.
            labels: The job's, in their stored form.
        """
        return (
            not self.disabled
            and (self.started is None or self.started is (started_at is not None))
            and (self.outcomes is None or outcome in self.outcomes)
            and (self.labels is None or _has_all(labels, self.labels))
        )

    def renamed(self, names: Mapping[str, str]) -> Rule:
        """Return it with new names of statuses."""
        return replace(self, to=tuple(dict.fromkeys(names.get(each, each) for each in self.to)))


def _has_all(labels: str | None, wanted: Mapping[str, str]) -> bool:
    return labels is not None and wanted.items() <= read_labels(labels).items()


def follow_up_id(parent_id: str, parent_version: int, rule: str) -> str:
    """Return the id of the follow-up that a rule makes when a job gets to a version.

    It is the same whoever decides, and however often: so no transition has two.
    """
    return derived_id("follow-up", parent_id, str(parent_version), rule)
