"""The ready-made lifecycles: their tables, and the errors that name another one."""

import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    ORDER_LIFECYCLE,
    PAID_JOB_LIFECYCLE,
    AgentJobStatus,
    InvalidStateTransitionError,
    Lifecycle,
    OrderStatus,
    Outcome,
)
from engine.domain.lifecycle import Event

LIFECYCLES = [PAID_JOB_LIFECYCLE, AGENT_JOB_LIFECYCLE, ORDER_LIFECYCLE]

ORDER_MOVES = {
    "awaiting_payment": {"running", "cancelled", "expired"},
    "running": {
        *("awaiting_input", "needs_attention", "completed", "failed", "cancelled", "expired"),
    },
    "awaiting_input": {"running", "cancelled", "expired"},
    "needs_attention": {"running", "completed", "failed", "cancelled", "expired"},
    **{end: set[str]() for end in ("completed", "failed", "cancelled", "expired")},
}
ORDER_ENDS = {
    "completed": Outcome.SUCCEEDED,
    "failed": Outcome.FAILED,
    "cancelled": Outcome.CANCELLED,
    "expired": Outcome.EXPIRED,
}


def _moves(lifecycle: Lifecycle[Any]) -> set[tuple[str, str]]:
    rows: Mapping[Any, Any] = lifecycle.moves
    return {(status.value, target.value) for status, row in rows.items() for target in row}


def test_the_default_lifecycle_is_the_acceptance_table() -> None:
    assert _moves(PAID_JOB_LIFECYCLE) == {
        ("awaiting_payment", "running"),
        ("running", "completed"),
        ("running", "failed"),
    }


def test_the_agent_lifecycle_lets_whatever_has_not_ended_fail() -> None:
    assert len(AgentJobStatus) == 5
    assert _moves(AGENT_JOB_LIFECYCLE) == {
        ("awaiting_payment", "running"),
        ("awaiting_payment", "failed"),
        ("awaiting_input", "running"),
        ("awaiting_input", "failed"),
        ("running", "awaiting_input"),
        ("running", "completed"),
        ("running", "failed"),
    }
    assert AGENT_JOB_LIFECYCLE.initial is AgentJobStatus.AWAITING_PAYMENT
    assert AGENT_JOB_LIFECYCLE.running is AgentJobStatus.RUNNING


def test_the_statuses_of_an_order_and_their_moves() -> None:
    assert [status.value for status in OrderStatus] == list(ORDER_MOVES)
    assert [status.name.lower() for status in OrderStatus] == list(ORDER_MOVES)
    rows: Mapping[Any, Any] = ORDER_LIFECYCLE.moves
    assert {at.value: {to.value for to in row} for at, row in rows.items()} == ORDER_MOVES
    assert ORDER_LIFECYCLE.births == (OrderStatus.AWAITING_PAYMENT, OrderStatus.RUNNING)
    assert ORDER_LIFECYCLE.final_values == ORDER_ENDS.keys()


@pytest.mark.parametrize("status", ORDER_MOVES)
def test_every_event_of_an_order_leads_where_its_table_says(status: str) -> None:
    if status in ORDER_ENDS:
        assert [event for event in Event if ORDER_LIFECYCLE.target(status, event)] == []
        return
    ways = {Event.EXPIRE: "expired", Event.CANCEL: "cancelled"}
    if status == "running":
        ways |= {Event.ASK: "awaiting_input", Event.SUCCEED: "completed", Event.FAIL: "failed"}
        ways |= dict.fromkeys((Event.EXHAUST, Event.DIE), "needs_attention")
    ways |= {Event.START: "running"} if status == "awaiting_payment" else {}
    ways |= {Event.ANSWER: "running"} if status == "awaiting_input" else {}
    ways |= {Event.RETRY: "running"} if status == "needs_attention" else {}
    assert {e: to for e in Event if (to := ORDER_LIFECYCLE.target(status, e))} == ways


@pytest.mark.parametrize("event", [None, *Event])
def test_an_order_has_one_outcome_for_each_end_whatever_led_there(event: Event | None) -> None:
    outcomes = {status: ORDER_LIFECYCLE.outcome(status, event) for status in ORDER_MOVES}
    assert outcomes == dict.fromkeys(ORDER_MOVES) | ORDER_ENDS


@pytest.mark.parametrize("lifecycle", [PAID_JOB_LIFECYCLE, AGENT_JOB_LIFECYCLE], ids=repr)
def test_an_end_of_a_smaller_lifecycle_has_its_cause_as_outcome(lifecycle: Lifecycle[Any]) -> None:
    ends = {lifecycle.after("running", event): event for event in (Event.SUCCEED, Event.FAIL)}
    assert ends == {"completed": Event.SUCCEED, "failed": Event.FAIL}
    causes: dict[Event | None, Outcome] = {
        Event.EXPIRE: Outcome.EXPIRED,
        Event.CANCEL: Outcome.CANCELLED,
        Event.DIE: Outcome.DIED,
        **dict.fromkeys((None, Event.FAIL, Event.EXHAUST), Outcome.FAILED),
    }
    for event, outcome in causes.items():
        assert lifecycle.outcome("failed", event) is outcome
    for cause in (None, Event.SUCCEED):
        assert lifecycle.outcome("completed", cause) is Outcome.SUCCEEDED
    assert lifecycle.outcome("running", Event.SUCCEED) is None


@pytest.mark.parametrize("lifecycle", LIFECYCLES, ids=repr)
def test_an_error_that_comes_from_a_narrow_lifecycle_names_a_wider_one(
    lifecycle: Lifecycle[Any],
) -> None:
    for status in lifecycle.values:
        for event in Event:
            if lifecycle.target(status, event):
                continue
            with pytest.raises(InvalidStateTransitionError) as caught:
                lifecycle.after(status, event)
            hinted = "use ORDER_LIFECYCLE" in str(caught.value)
            # An order may do it in this status; or it does it in another, and these jobs in none.
            wider = ORDER_LIFECYCLE.target(status, event) is not None
            assert hinted == (wider or not lifecycle.able(event)), (status, event)
        for target in lifecycle.values:
            if (status, target) in _moves(lifecycle):
                continue
            with pytest.raises(InvalidStateTransitionError) as caught:
                lifecycle.validate(status, target)
            narrow = (status, target) == ("awaiting_payment", "failed")
            narrow &= lifecycle is PAID_JOB_LIFECYCLE
            assert ("use ORDER_LIFECYCLE" in str(caught.value)) is narrow


@pytest.mark.parametrize("lifecycle", LIFECYCLES, ids=repr)
def test_a_ready_made_lifecycle_survives_pickling(lifecycle: Lifecycle[Any]) -> None:
    twin = pickle.loads(pickle.dumps(lifecycle))  # noqa: S301 - our own
    for name in ("moves", "births", "fails_to", "exhausted_to", "expires_to", "outcomes", "hint"):
        assert getattr(twin, name) == getattr(lifecycle, name), name
    for status in lifecycle.values:
        for event in Event:
            assert twin.target(status, event) == lifecycle.target(status, event)
            assert twin.outcome(status, event) == lifecycle.outcome(status, event)
