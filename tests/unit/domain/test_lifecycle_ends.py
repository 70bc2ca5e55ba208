"""Where a failed attempt leads, and the outcome of an end: every table is judged by its rule."""

import pickle
from enum import StrEnum
from itertools import combinations
from typing import Any

import pytest

from engine import Lifecycle, LifecycleError, Outcome
from engine.domain.lifecycle import Event

LAST = (Event.FAIL, Event.EXHAUST, Event.DIE)


class Work(StrEnum):
    NEW = "new"
    BUSY = "busy"
    ASKING = "asking"
    STUCK = "stuck"
    DONE = "done"
    LOST = "lost"
    STOLEN = "stolen"
    BURNT = "burnt"


FAILURES = (Work.LOST, Work.STOLEN, Work.BURNT)
SOME_FAILURES = [some for count in range(4) for some in combinations(FAILURES, count)]
MOVES: dict[Work, set[Work]] = {
    Work.NEW: {Work.BUSY, Work.ASKING, Work.STUCK, *FAILURES},
    Work.BUSY: {Work.DONE, Work.ASKING},
    Work.ASKING: {Work.BUSY, Work.LOST},
    Work.STUCK: {Work.BUSY, Work.LOST},
    **{end: set() for end in (Work.DONE, *FAILURES)},
}
STRANGERS: list[Any] = ["lost", 5, [Work.LOST], {Work.BUSY: Work.LOST}, Outcome.FAILED]


def work(after_busy: set[Work], **how: Any) -> Lifecycle[Work]:  # noqa: ANN401
    """Return a lifecycle in which these statuses, and no other failure, follow BUSY."""
    moves = MOVES | how.pop("moves", {})
    return Lifecycle(
        Work,
        moves | {Work.BUSY: moves[Work.BUSY] | after_busy},
        initial=Work.NEW,
        running=Work.BUSY,
        success={Work.DONE},
        failure=set(FAILURES),
        awaiting_input=Work.ASKING,
        **how,
    )


@pytest.mark.parametrize("ways", SOME_FAILURES, ids=str)
@pytest.mark.parametrize("given", [None, *Work])
def test_the_failure_that_is_meant_is_the_only_one_or_the_one_that_is_said(
    given: Work | None, ways: tuple[Work, ...]
) -> None:
    if given not in ways and (given or len(ways) > 1):
        with pytest.raises(LifecycleError, match="fails_to") as caught:
            work(set(ways), fails_to=given)
        named = {each for each in Work if each.name in str(caught.value)}
        assert named == {Work.BUSY, *ways} | ({given} if given else set())
        return
    meant = given or (ways[0] if ways else None)
    lifecycle = work(set(ways), fails_to=given)
    assert lifecycle.fails_to is meant
    for event in LAST:
        assert lifecycle.target("busy", event) == meant
        assert lifecycle.able(event) == (("busy",) if meant else ())
    twin = pickle.loads(pickle.dumps(lifecycle))  # noqa: S301 - our own
    assert twin.fails_to is meant


@pytest.mark.parametrize("back", [True, False], ids=["back", "no way back"])
@pytest.mark.parametrize("there", [True, False], ids=["there", "no way there"])
@pytest.mark.parametrize("given", Work)
def test_used_up_attempts_lead_to_a_status_without_another_role_and_back(
    given: Work, *, there: bool, back: bool
) -> None:
    after_busy = {Work.LOST, given} if there else {Work.LOST}
    row = MOVES[given]  # what is final stays so
    moves = {given: row and (row | {Work.BUSY} if back else row - {Work.BUSY})}
    if given is Work.STUCK and there and back:
        lifecycle = work(after_busy, moves=moves, exhausted_to=given)
        assert lifecycle.exhausted_to is given
        for event, target in zip(LAST, ("lost", "stuck", "stuck"), strict=True):
            assert lifecycle.able(event) == ("busy",)
            assert lifecycle.after("busy", event) == target
            assert lifecycle.leads_to(event, target)
        assert lifecycle.able(Event.RETRY) == ("stuck",)
        assert lifecycle.after("stuck", Event.RETRY) == "busy"
        twin = pickle.loads(pickle.dumps(lifecycle))  # noqa: S301 - our own
        assert twin.exhausted_to is given
        return
    rule = "awaiting_input" if given is Work.ASKING else "exhausted_to"
    with pytest.raises(LifecycleError, match=rf"{given.name} is `.*{rule}|{given.name} is `{rule}"):
        work(after_busy, moves=moves, exhausted_to=given)


def test_without_a_status_for_it_used_up_attempts_are_a_failure_and_not_retried() -> None:
    lifecycle = work({Work.LOST, Work.BURNT}, fails_to=Work.BURNT)
    assert lifecycle.exhausted_to is None
    assert [lifecycle.after("busy", event) for event in LAST] == ["burnt"] * 3
    assert lifecycle.able(Event.RETRY) == ()


@pytest.mark.parametrize("name", ["fails_to", "exhausted_to"])
@pytest.mark.parametrize("given", STRANGERS, ids=repr)
def test_what_is_no_status_is_refused(name: str, given: Any) -> None:  # noqa: ANN401
    with pytest.raises(LifecycleError, match="is not a member of Work"):
        work({Work.LOST}, **{name: given})


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("status", Work)
def test_a_final_status_may_have_one_outcome_and_a_success_only_success(
    status: Work, outcome: Outcome
) -> None:
    ends = {Work.DONE, *FAILURES}
    if status not in ends or (status is Work.DONE) != (outcome is Outcome.SUCCEEDED):
        with pytest.raises(LifecycleError, match=rf"outcomes .*{status.name}"):
            work({Work.LOST}, outcomes={status: outcome})
        return
    lifecycle = work({Work.LOST}, outcomes={status: outcome})
    twin = pickle.loads(pickle.dumps(lifecycle))  # noqa: S301 - our own
    for each in (lifecycle, twin):
        assert {each.outcome(status.value, event) for event in (None, *Event)} == {outcome}
        assert {each.outcome("stuck", event) for event in (None, *Event)} == {None}
    other = (Work.STOLEN if status is Work.LOST else Work.LOST).value
    assert lifecycle.outcome(other, Event.EXPIRE) is Outcome.EXPIRED


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([Work.LOST], "outcomes must map final statuses to outcomes, not <list of 1 items>"),
        ({"lost": Outcome.FAILED}, "'lost' is not a member of Work"),
        ({Work.LOST: "failed"}, "outcomes has 'failed': it must be a member of Outcome"),
        ({Work.LOST: Work.LOST}, "it must be a member of Outcome"),
        ({Work.LOST: None}, "outcomes has None"),
        ({Work.LOST: [Outcome.FAILED]}, "it must be a member of Outcome"),
    ],
    ids=str,
)
def test_outcomes_that_are_none_are_refused(given: Any, problem: str) -> None:  # noqa: ANN401
    with pytest.raises(LifecycleError, match=problem):
        work({Work.LOST}, outcomes=given)


def test_the_outcomes_can_not_be_changed_afterwards() -> None:
    outcomes = {Work.LOST: Outcome.EXPIRED}
    lifecycle = work({Work.LOST}, outcomes=outcomes)
    outcomes[Work.LOST] = Outcome.FAILED
    assert lifecycle.outcome("lost", Event.FAIL) is Outcome.EXPIRED
    with pytest.raises(TypeError):
        lifecycle.outcomes[Work.LOST] = Outcome.FAILED  # type: ignore[index]
