"""The model's rules of follow-ups: a dictionary, and what each of them says about a job."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from engine import FollowUp, InvalidValueError
from engine.domain.ids import derived_id

Fields: TypeAlias = dict[str, Any]
Rules: TypeAlias = dict[str, FollowUp[Any]]


class ModelRules:
    """Those that are kept, by their kinds."""

    def __init__(self) -> None:
        self._rules: Rules = {}

    def give(self, rules: Iterable[FollowUp[Any]]) -> list[Fields]:
        """Add rules, as an engine that is opened with them."""
        given = {rule.kind: rule for rule in rules}
        for each in (given, {**self._rules, **given}):
            if _has_circle(each):
                raise InvalidValueError("follow_ups", "")
        self._rules |= given
        return []

    def kept(self) -> list[FollowUp[Any]]:
        return [self._rules[kind] for kind in sorted(self._rules)]

    def remove(self, kind: str) -> Fields:
        return {"was there": self._rules.pop(kind, None) is not None}

    def rule(self, kind: str) -> FollowUp[Any]:
        if kind not in self._rules:
            raise InvalidValueError("rule", "")
        return self._rules[kind]


def follow_up_id(job: Fields, kind: str) -> str:
    return derived_id("follow-up", job["job_id"], str(job["version"]), kind)


def is_of(rule: FollowUp[Any], job: Fields) -> bool:
    if rule.of is None:
        return job["parent_id"] is None
    return job["kind"] in ({rule.of} if isinstance(rule.of, str) else rule.of)


def _is_unpaid_repeat(job: Fields) -> bool:
    """Return whether a job repeats an order, whose payment stays there, and has none itself."""
    is_repeat = job["repeat_of"] is not None and job["parent_id"] is None
    return is_repeat and job["payment_id"] is None


def admits(rule: FollowUp[Any], job: Fields, *, had_started: bool) -> bool:
    return (
        is_of(rule, job)
        and rule.started in {None, had_started and not _is_unpaid_repeat(job)}
        and (rule.outcomes is None or job["outcome"] in rule.outcomes)
        and (rule.labels or {}).items() <= job["labels"].items()
    )


def _has_circle(rules: Rules) -> bool:
    """Return whether kinds follow each other in a circle: none of these can be made first."""
    left = dict(rules)
    while True:
        of = {
            kind: {rule.of} if isinstance(rule.of, str) else set(rule.of or ())
            for kind, rule in left.items()
        }
        first = [kind for kind in left if of[kind].isdisjoint(left)]
        if not first:
            return bool(left)
        for kind in first:
            del left[kind]
