"""Rules of follow-ups as data: what is refused, how they are kept, and how much they can make."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from engine import ORDER_LIFECYCLE, FollowUp, InvalidValueError, JobEngine, Outcome
from engine import OrderStatus as S
from engine.domain.follow_up_rule import Rule, follow_up_id
from engine.domain.follow_up_rules import Rules, StoredRules, checked_rules

FAILED: Any = {S.FAILED}
UNKNOWN: Any = {"faild"}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"to": S.FAILED}, r"^to must be a set of 1 to 64, such as \{…\}, not <OrderStatus.FAILED"),
        ({"to": "failed"}, "^to must be a set of 1 to 64"),
        ({"to": ()}, "^to must be a set of 1 to 64"),
        ({"to": None}, "^to must be a set of 1 to 64.*, not None"),
        ({"to": {S.FAILED: 1}}, "^to must be a set of 1 to 64"),
        ({"to": FAILED, "of": []}, "^of must be a set of 1 to 64"),
        ({"to": FAILED, "of": 7}, "^of must be a set of 1 to 64.*, not 7"),
        ({"to": FAILED, "of": "No Kind"}, "^kind must be 1 to 64 of"),
        ({"to": FAILED, "of": [str(n) for n in range(65)]}, "^of must be a set of 1 to 64"),
        ({"to": FAILED, "outcomes": ["failed"]}, "^outcomes 'failed' is no Outcome"),
        ({"to": FAILED, "outcomes": Outcome.FAILED}, "^outcomes must be a set of 1 to 64"),
        ({"to": FAILED, "started": 1}, "^started must be True or False, not 1"),
        ({"to": FAILED, "labels": {"a": 1}}, r"^labels\['a'\] must be a str"),
        ({"to": FAILED, "delay": 5}, "^delay must be a timedelta, not 5"),
        ({"to": FAILED, "delay": timedelta(0)}, "^delay must be a timedelta above 0"),
        ({"kind": "", "to": FAILED}, "^kind must be 1 to 64 of"),
        ({"kind": 7, "to": FAILED}, "^kind must be"),
    ],
)
def test_a_wrong_value_is_named(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidValueError, match=problem):
        FollowUp(**{"kind": "refund", **given})


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (None, "^follow_ups must be a list of FollowUp, not None"),
        ("refund", "^follow_ups must be a list of FollowUp, not 'refund'"),
        (FollowUp("a", to=FAILED), "^follow_ups must be a list of FollowUp, not FollowUp"),
        (["refund"], "^follow_ups must have only FollowUp, not 'refund'"),
        ([FollowUp("a", to=FAILED)] * 2, "^follow_ups has two rules for the kind 'a'"),
        (
            [FollowUp("a", to=UNKNOWN)],
            r"^follow_ups\['a'\].to 'faild' is not one of awaiting_payment, running, .*, expired$",
        ),
        ([FollowUp("a", to=FAILED, of="a")], "circle: a → a. Take one of these kinds out"),
        (
            [
                FollowUp("a", to=FAILED, of="c"),
                FollowUp("b", to=FAILED, of=["x", "a"]),
                FollowUp("c", to=FAILED, of="b"),
            ],
            "circle: a → b → c → a",
        ),
    ],
)
def test_an_engine_refuses_them_when_it_is_made(given: Any, problem: str) -> None:  # noqa: ANN401 - wrong on purpose
    with pytest.raises(InvalidValueError, match=problem):
        JobEngine(lifecycle=ORDER_LIFECYCLE, follow_ups=given)


def test_kinds_that_fork_and_meet_make_no_circle() -> None:
    rules = checked_rules(
        [
            FollowUp("d", to=FAILED, of=["b", "c"]),
            FollowUp("b", to=FAILED, of="a"),
            FollowUp("c", to=FAILED, of="a"),
            FollowUp("a", to=FAILED),
        ],
        ORDER_LIFECYCLE,
    )
    assert [rule.kind for rule in rules] == ["d", "b", "c", "a"]


def test_their_text_is_the_same_in_any_order_and_comes_back() -> None:
    given = [
        FollowUp("b", to=[S.EXPIRED, S.FAILED], of={"y", "x"}, labels={"k": "v"}),
        FollowUp(
            "a",
            to=FAILED,
            outcomes={Outcome.FAILED, Outcome.CANCELLED},
            started=False,
            delay=timedelta(seconds=1.5),
        ),
    ]
    rules = Rules(checked_rules(given, ORDER_LIFECYCLE))
    assert rules.text == Rules(checked_rules(given[::-1], ORDER_LIFECYCLE)).text
    read = Rules.read(StoredRules(7, rules.text))
    assert (read.number, [*read]) == (7, sorted(rules, key=lambda rule: rule.kind))
    a, b = read
    statuses = {status.value: status for status in S}
    assert b.follow_up(statuses) == FollowUp(
        "b", to=frozenset({S.FAILED, S.EXPIRED}), of=("x", "y"), labels={"k": "v"}
    )
    assert (a.delay, b.delay) == (timedelta(seconds=1.5), None)


def test_ids_differ_by_each_part() -> None:
    ids = [follow_up_id(*each) for each in (("a", 1, "b"), ("a", 2, "b"), ("b", 1, "b"))]
    assert len({*ids, follow_up_id("a", 1, "c")}) == 4
    assert follow_up_id("a", 1, "b") == ids[0]


@pytest.mark.parametrize(
    ("rules", "most"),
    [
        ([], 0),
        ([Rule("a", ("failed",))], 1),
        ([Rule("a", ("failed",)), Rule("b", ("completed",))], 1),
        ([Rule("a", ("failed",)), Rule("b", ("failed",))], 2),
        ([Rule("a", ("failed",)), Rule("b", ("failed",), of=("x",))], 2),
        ([Rule("a", ("failed",), of=("x",)), Rule("b", ("failed",), of=("y",))], 1),
        ([Rule("a", ("failed",)), Rule("b", ("running",), of=("a",))], 2),
        ([Rule("a", ("failed",)), Rule("b", ("running", "failed"), of=("a",))], 3),
    ],
)
def test_a_transition_makes_no_more_than_is_counted(rules: list[Rule], most: int) -> None:
    """A job of a kind that a rule names may be a follow-up or not; the larger number counts."""
    assert Rules(rules).most("running") == most
