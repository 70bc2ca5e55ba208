"""Compare follow-ups: rules come and go, and whatever jobs do makes follow-ups by them.

Kinds and gates are paused and resumed in between, and stay so in the next engine.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from engine import FollowUp, Move, Outcome

from .machine import BY, START, Machine
from .model_rules import Fields

FOLLOWING = ["settle", "refund", "notify"]
# The kinds of rules, their statuses by a role, and their other fields.
RULES = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(FOLLOWING),
            "to": st.sampled_from(["ends", "ends", "failures", "successes", "running", "any"]),
            "of": st.sampled_from([None, None, None, "settle", "refund", ["report", "settle"]]),
            "outcomes": st.sampled_from([None, None, {"succeeded"}, {"failed", "cancelled"}]),
            "started": st.sampled_from([None, None, True, False]),
            "labels": st.sampled_from([None, None, None, {"customer": "c17"}]),
            "delay": st.sampled_from([None, None, timedelta(seconds=0.5), timedelta(days=1)]),
        }
    ),
    max_size=3,
    unique_by=lambda drawn: str(drawn["kind"]),
)


class Following(Machine):
    """An engine and the model, which may be opened with other rules."""

    @rule(drawn=RULES)
    def open_with_rules(self, drawn: list[dict[str, Any]]) -> None:
        given = [self._rule(each) for each in drawn]

        def reopen() -> list[Fields]:
            self.open(self.another(), given)
            return []

        self.close()
        answer = self.compare("open", reopen, lambda: self.model.rules.give(given))
        if answer:
            self.open(self.another())
            self.seen["circle"] += 1
        self.kept_rules()

    def _rule(self, drawn: dict[str, Any]) -> FollowUp[Any]:
        lifecycle = self.lifecycle
        to = {
            "ends": lifecycle.success | lifecycle.failure,
            "failures": lifecycle.failure,
            "successes": lifecycle.success,
            "running": {lifecycle.running},
            "any": {*lifecycle.moves},
        }[drawn["to"]]
        outcomes = drawn.get("outcomes")
        fields = {**drawn, "to": to, "outcomes": outcomes and {*map(Outcome, outcomes)}}
        return FollowUp(**fields)

    @rule()
    def kept_rules(self) -> None:
        real, right = (
            [*map(told, which)] for which in (self.call("rules"), self.model.rules.kept())
        )
        assert real == right
        self.compare_paused()

    @rule(kind=st.sampled_from(FOLLOWING))
    def remove_rule(self, kind: str) -> None:
        self.compare(
            "remove_rule",
            lambda: {"was there": self.call("remove_rule", kind)},
            lambda: self.model.rules.remove(kind),
        )
        for what in ("kind", "gate"):
            self.switch_pause(what, kind)

    def switch_pause(self, what: str, name: str) -> None:
        """Pause a kind or a gate, or resume it; no rule, which would make the others rarer."""
        is_paused = (what, name) in self.model.paused
        for is_first in (True, False):  # the second one changes nothing
            if is_paused:
                self.compare(
                    "resume",
                    lambda: {"changed": self.call("resume", **{what: name}, by="Bob")},
                    lambda: self.model.resume(what, name),
                )
            else:
                self.compare(
                    "pause",
                    lambda: {"changed": self.call("pause", **{what: name}, by="Ada")},
                    lambda: self.model.pause(what, name, "Ada", self.now),
                )
            line = ("resume", "Bob", None) if is_paused else ("pause", "Ada", None)
            self.compare_audit([line] * is_first)
        self.compare_paused()

    def compare_paused(self) -> None:
        kept = sorted(self.model.paused.items(), key=lambda item: (item[0][0] == "gate", item[0]))
        self.compare("paused", lambda: self.call("paused"), lambda: [each for _, each in kept])

    @rule(number=st.integers(-1, 9), kind=st.sampled_from(FOLLOWING), by=BY)
    def follow_up(self, number: int, kind: str, by: str | None) -> None:
        job_id, before = self.job_id(number), self.model.state.changes
        answer = self.compare_act(
            "follow_up",
            by,
            lambda: self.call("follow_up", job_id, kind, by=by, reason=by),
            lambda: self.model.follow_up(job_id, kind, by, by, self.now),
        )
        assert isinstance(answer, dict)
        is_new = self.model.state.changes > before
        self.seen["followed by hand"] += is_new
        self.seen["followed before"] += "raised" not in answer and not is_new

    @rule(number=st.integers(0, 3), kind=st.sampled_from(FOLLOWING), well=st.booleans())
    def end_and_be_followed(self, number: int, kind: str, well: bool) -> None:  # noqa: FBT001 - Hypothesis's
        self.open_with_rules([{"kind": kind, "to": "failures" if well else "successes"}])
        self.run_to_its_end(number, well)
        for _ in range(2):
            self.follow_up(number, kind, by=None)
        self.follow_ups(number)

    @rule(number=st.integers(0, 3), kind=st.sampled_from(FOLLOWING))
    def end_when_a_rule_has_gone(self, number: int, kind: str) -> None:
        job_id = self.job_id(number)
        self.open_with_rules([{"kind": kind, "to": "ends"}])
        self.make(Move(job_id, self.lifecycle.running))
        self.remove_rule(kind)
        self.make(Move(job_id, min(self.lifecycle.failure)))

    @rule(number=st.integers(-1, 9))
    def follow_ups(self, number: int) -> None:
        job_id = self.job_id(number)
        self.compare(
            "follow_ups",
            lambda: self.call("follow_ups", job_id),
            lambda: self.model.follow_ups(job_id),
        )

    @rule(kind=st.sampled_from(FOLLOWING), seconds=st.sampled_from([-(10**8), 0, 1]), by=BY)
    def backfill(self, kind: str, seconds: int, by: str | None) -> None:
        since = START + timedelta(seconds=seconds)
        answer = self.compare_act(
            "backfill",
            by,
            lambda: {"made": self.call("backfill", kind, since=since, by=by)},
            lambda: self.model.backfill(kind, since, by, self.now),
        )
        assert isinstance(answer, dict)
        self.seen["backfilled"] += answer.get("made", 0)

    @rule(kind=st.sampled_from(FOLLOWING), number=st.integers(0, 3))
    def add_a_rule_for_what_has_ended(self, kind: str, number: int) -> None:
        self.remove_rule(kind)
        self.run_to_its_end(number, well=True)
        self.open_with_rules([{"kind": kind, "to": "ends"}])
        for _ in range(2):
            self.backfill(kind, seconds=-(10**8), by=None)


def told(rule: FollowUp[Any]) -> Fields:
    """Return the fields of a rule as they can be compared."""
    of = {rule.of} if isinstance(rule.of, str) else rule.of
    sets = {"to": {*rule.to}, "of": of and {*of}, "outcomes": rule.outcomes and {*rule.outcomes}}
    return {**asdict(rule), **sets}
