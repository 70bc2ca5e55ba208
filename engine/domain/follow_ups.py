"""Follow-ups: the rules by which a job's transition creates another job, as durable as itself.

::

    FollowUp("refund", to={S.FAILED, S.CANCELLED, S.EXPIRED}, started=True)
    FollowUp("settle", to={S.COMPLETED})
    FollowUp("notify", of="settle", to={S.COMPLETED})

The commit that moves a job into one of these statuses also creates its follow-up, so none is lost
and none comes twice. A rule is data: it is kept beside the jobs, and every engine that moves one
decides by it, whatever its own program says (`engine.domain.follow_up_rules`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Any, Final, Generic

from engine.domain.deadlines import check_deadline
from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.interrupts import foreign_attribute
from engine.domain.labels import check_kind, checked_labels
from engine.domain.models import Status
from engine.domain.outcomes import Outcome
from engine.domain.retry import Retry
from engine.domain.validation import check_flag

MAX_KINDS: Final = 64
"""A rule names so many kinds at most."""

FOLLOW_UP_RETRY: Final = Retry(42, first_delay_seconds=5, factor=2, max_delay_seconds=10_800)
"""The rule of retries for follow-ups that are told no other: over three days, at the least jitter,
too. A `Handler` may have another one: ``dataclasses.replace(FOLLOW_UP_RETRY, factor=3)``."""


@dataclass(frozen=True)
class FollowUp(Generic[Status]):
    """Creates a job of a kind whenever another one enters one of some statuses.

    The follow-up is born running, and has everything that jobs have. It has the labels and the
    trace context of its parent, whose id is its ``parent_id``, and no input. Each transition of a
    job makes one follow-up by each rule, whoever makes the transition; 128 at most, with those that
    follow the births of others.

    The engine keeps its rules with its jobs, by their kinds: a rule replaces the one that was kept
    for the same kind, and one that is no longer given stays until `JobEngine.remove_rule`.

    Attributes:
        kind: The kind of the follow-up, and the name of the rule.
        to: The statuses; at least one.
        of: The kind, or up to 64 kinds, of the jobs that it follows. None, the default: any job
            that is no follow-up itself.
        outcomes: The outcomes that the job may have; by default any, or none yet.
        started: True: only jobs that have been running before they entered the status, as paid ones
            have; False: only others. A repeat of an order counts as started once it has a payment
            of its own. None, the default: all.
        labels: Labels that the job has, besides any others. By default any.
        delay: No worker claims the follow-up before so much time has passed: above 0. None: at
            once.
        disabled: True: it creates nothing. False: it creates jobs. None, the default: as the rule
            that was kept for the kind; without one it creates jobs. An error of the follow-up's
            handler disables it, too, if its attribute ``disables_rule`` is True;
            `JobEngine.enable_rule` enables it again.

    Raises:
        InvalidValueError: A value has the wrong type, size or form. The engine checks the statuses.
    """

    kind: str
    _: KW_ONLY
    to: Collection[Status]
    of: str | Collection[str] | None = None
    outcomes: Collection[Outcome] | None = None
    started: bool | None = None
    labels: Mapping[str, str] | None = None
    delay: timedelta | None = None
    disabled: bool | None = None

    def __post_init__(self) -> None:
        """Check the values that need no lifecycle."""
        check_kind(self.kind)
        _check_several("to", self.to)
        of: Any = self.of
        for kind in (
            () if of is None else (of,) if isinstance(of, str) else _check_several("of", of)
        ):
            check_kind(kind)
        if self.outcomes is not None:
            for outcome in _check_several("outcomes", self.outcomes):
                if not isinstance(outcome, Outcome):
                    raise InvalidValueError("outcomes", f"{shown(outcome)} is no Outcome")
        if self.started is not None:
            check_flag("started", self.started)
        if self.disabled is not None:
            check_flag("disabled", self.disabled)
        checked_labels(self.labels)
        if self.delay is not None and not isinstance(self.delay, timedelta):
            raise InvalidValueError("delay", f"must be a timedelta, not {shown(self.delay)}")
        if self.delay is not None:
            check_deadline("delay", self.delay)


def disables_rule(error: BaseException) -> bool:
    """Return whether an error of a follow-up's handler disables the rule that made it."""
    return foreign_attribute(error, "disables_rule", default=False, broken=False) is True


def _check_several(field: str, values: object) -> Collection[Any]:
    """Return values if they are 1 to 64 in a collection.

    Raises:
        InvalidValueError: They are not.
    """
    is_one = isinstance(values, str | Mapping)
    if is_one or not isinstance(values, Collection) or not 1 <= len(values) <= MAX_KINDS:
        raise InvalidValueError(
            field, f"must be a set of 1 to {MAX_KINDS}, such as {{…}}, not {shown(values)}"
        )
    return values
