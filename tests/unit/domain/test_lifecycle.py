"""Lifecycles: a table that can't work is refused when it is built, and the message names why."""

from enum import Enum, IntEnum, StrEnum
from itertools import pairwise
from typing import Any, Self, TypeAlias

import pytest

from engine.domain.exceptions import (
    InvalidStateTransitionError,
    InvalidValueError,
    LifecycleError,
)
from engine.domain.lifecycle import MAX_STATUSES, Lifecycle

Statuses: TypeAlias = Any
"""An enum that is made by a call, or by a test's parameter."""


class Step(StrEnum):
    NEW = "new"
    BUSY = "busy"
    DONE = "done"
    LOST = "lost"


class OldStep(str, Enum):  # noqa: UP042 - the form that users of older Pythons have
    NEW = "new"
    BUSY = "busy"
    DONE = "done"
    LOST = "lost"


class Foreign(StrEnum):
    STRANGE = "strange"


GOOD: dict[str, Any] = {
    "statuses": Step,
    "moves": {
        Step.NEW: {Step.BUSY},
        Step.BUSY: {Step.DONE, Step.LOST},
        Step.DONE: set(),
        Step.LOST: set(),
    },
    "initial": Step.NEW,
    "running": Step.BUSY,
    "success": {Step.DONE},
    "failure": {Step.LOST},
}


def _row(**rows: set[Any]) -> dict[Any, set[Any]]:
    """Return the good table with other rows."""
    moves: dict[Any, set[Any]] = GOOD["moves"]
    return moves | {Step[name]: row for name, row in rows.items()}


WITHOUT_LOST = {status: row - {Step.LOST} for status, row in GOOD["moves"].items()}

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a status without a row": (
        {"moves": {key: row for key, row in GOOD["moves"].items() if key != Step.LOST}},
        r"LOST has no row",
    ),
    "a status that can't be reached": ({"moves": WITHOUT_LOST}, r"LOST can't be reached from NEW"),
    "a final status that means nothing": (
        {"failure": set()},
        r"LOST is final and means neither success nor failure",
    ),
    "a final status that means both": (
        {"failure": {Step.LOST, Step.DONE}},
        r"DONE can't mean both success and failure",
    ),
    "a success with moves": (
        {"moves": _row(DONE={Step.LOST})},
        r"DONE means an end, and so may have no moves",
    ),
    "a failure with moves": (
        {"moves": _row(LOST={Step.NEW})},
        r"LOST means an end, and so may have no moves",
    ),
    "no success": ({"success": set(), "failure": {Step.LOST, Step.DONE}}, r"no status means succ"),
    "an initial status that is final": (
        {"initial": Step.DONE},
        r"DONE is the initial status, and so may not be final",
    ),
    "a running status that is final": (
        {"running": Step.LOST},
        r"LOST is the running status, and so may not be final",
    ),
    "a foreign initial status": ({"initial": Foreign.STRANGE}, r"STRANGE.* not a member of Step"),
    "a foreign running status": ({"running": Foreign.STRANGE}, r"STRANGE.* not a member of Step"),
    "a foreign success": ({"success": {Foreign.STRANGE}}, r"STRANGE.* not a member of Step"),
    "a foreign failure": ({"failure": {Foreign.STRANGE}}, r"STRANGE.* not a member of Step"),
    "a foreign target": ({"moves": _row(NEW={Foreign.STRANGE})}, r"STRANGE.* not a member of Step"),
    "a foreign row": (
        {"moves": GOOD["moves"] | {Foreign.STRANGE: set()}},
        r"STRANGE.* not a member of Step",
    ),
    "a plain string for a member": ({"initial": "new"}, r"'new' is not a member of Step"),
    "a foreign status of asking": ({"asking": Foreign.STRANGE}, r"STRANGE.* not a member of Step"),
    "asking that can't be begun": (
        {"asking": Step.NEW},
        r"NEW is the status of asking, so BUSY must lead to NEW",
    ),
    "asking that never ends": (
        {"asking": Step.LOST},
        r"LOST is the status of asking, so LOST must lead to BUSY",
    ),
    "expiry by no legal move": (
        {"on_expiry": {Step.NEW: Step.LOST}},
        r"on_expiry leads from .*NEW.* to .*LOST.*, which is no legal move",
    ),
    "cancelling by no legal move": (
        {"on_cancel": {Step.NEW: Step.LOST}},
        r"on_cancel leads from .*NEW.* to .*LOST.*, which is no legal move",
    ),
    "expiry of what has ended": ({"on_expiry": {Step.DONE: Step.LOST}}, r"which is no legal move"),
    "expiry in plain strings": ({"on_expiry": {"busy": "lost"}}, r"'busy' is not a member of Step"),
    "cancelling to a plain string": (
        {"on_cancel": {Step.BUSY: "lost"}},
        r"'lost' is not a member of Step",
    ),
    "expiry that is no table": ({"on_expiry": Step.LOST}, r"on_expiry must map statuses"),
    "cancelling that is no table": ({"on_cancel": [Step.LOST]}, r"on_cancel must map statuses"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_table_that_cannot_work_is_refused_by_name(case: str) -> None:
    change, message = BAD[case]
    with pytest.raises(LifecycleError, match=message):
        Lifecycle(**(GOOD | change))


def test_a_status_that_can_never_end_is_refused() -> None:
    loop = StrEnum("loop", ["NEW", "BUSY", "LEFT", "RIGHT", "DONE"])
    new, busy, left, right, done = loop
    moves = {new: {busy, left}, busy: {done}, left: {right}, right: {left}, done: set[Any]()}
    with pytest.raises(LifecycleError, match="a job in LEFT could never end"):
        Lifecycle(loop, moves, initial=new, running=busy, success={done}, failure=set())


@pytest.mark.parametrize("kind", [Enum, IntEnum])
def test_an_enum_that_is_no_text_is_refused(kind: Statuses) -> None:
    numbers: Any = kind("numbers", {"NEW": 1, "DONE": 2})
    moves = {numbers.NEW: {numbers.DONE}, numbers.DONE: set[Any]()}
    roles = {"initial": numbers.NEW, "running": numbers.NEW}
    with pytest.raises(LifecycleError, match=r"numbers\.NEW must be a non-empty string"):
        Lifecycle(numbers, moves, success={numbers.DONE}, failure=set(), **roles)


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(LifecycleError, match=r"empty\.NEW must be a non-empty string"):
        _chain(StrEnum("empty", {"NEW": "", "DONE": "done"}))


def test_a_text_that_is_not_the_members_value_is_refused() -> None:
    class Labelled(str, Enum):  # noqa: UP042 - StrEnum does not allow it
        NEW = "new", "a new job"
        DONE = "done", "a job that is done"

        def __new__(cls, value: str, label: str) -> Self:
            member = str.__new__(cls, label)
            member._value_ = value
            return member

    # The engine keeps values; a member that does not equal its value would be found by neither.
    with pytest.raises(LifecycleError, match="NEW"):
        _chain(Labelled)


def _chain(statuses: Statuses) -> Lifecycle[Any]:
    """Return the lifecycle in which each status is followed by the next, to a success."""
    members = list(statuses)
    moves: dict[Any, set[Any]] = {one: {other} for one, other in pairwise(members)}
    return Lifecycle(
        statuses,
        moves | {members[-1]: set()},
        initial=members[0],
        running=members[0],
        success={members[-1]},
        failure=set(),
    )


def _of_size(members: int) -> Statuses:
    return StrEnum("sized", [f"S{number}" for number in range(members)])


def test_the_limit_of_statuses_is_reached_and_not_passed() -> None:
    assert len(_chain(_of_size(MAX_STATUSES)).moves) == MAX_STATUSES
    with pytest.raises(LifecycleError, match=f"{MAX_STATUSES + 1} members"):
        _chain(_of_size(MAX_STATUSES + 1))


def test_an_enum_without_members_is_refused() -> None:
    with pytest.raises(LifecycleError, match="0 members"):
        Lifecycle(**(GOOD | {"statuses": StrEnum("nothing", [])}))


@pytest.mark.parametrize("statuses", [Step, OldStep])
def test_both_kinds_of_string_enum_work(statuses: Statuses) -> None:
    new, busy, done, lost = statuses
    moves = {new: {busy}, busy: {done, lost}, done: set[Any](), lost: set[Any]()}
    lifecycle = Lifecycle(
        statuses, moves, initial=new, running=busy, success={done}, failure={lost}
    )
    assert [lifecycle.value(status) for status in statuses] == ["new", "busy", "done", "lost"]
    assert all(type(lifecycle.value(status)) is str for status in statuses)
    assert lifecycle.mermaid() == Lifecycle(**GOOD).mermaid()
    assert [lifecycle.is_final(status) for status in statuses] == [False, False, True, True]
    lifecycle.validate(new, busy)


def test_one_status_may_be_initial_and_running() -> None:
    lifecycle = _chain(_of_size(2))
    assert lifecycle.initial is lifecycle.running


def test_by_default_jobs_are_forced_to_the_one_failure_that_they_may_move_to() -> None:
    lifecycle = Lifecycle(**GOOD)
    for forced in (lifecycle.on_expiry, lifecycle.on_cancel):
        assert dict(forced) == {Step.BUSY: Step.LOST}
    assert lifecycle.asking is None


def test_where_there_are_two_failures_nothing_is_forced_by_default() -> None:
    two = StrEnum("two", ["NEW", "DONE", "LOST", "STOLEN"])
    new, done, lost, stolen = two
    ends: dict[Any, set[Any]] = {done: set(), lost: set(), stolen: set()}
    table: dict[str, Any] = {
        "statuses": two,
        "moves": {new: {done, lost, stolen}, **ends},
        "initial": new,
        "running": new,
        "success": {done},
        "failure": {lost, stolen},
    }
    lifecycle: Lifecycle[Any] = Lifecycle(**table)
    assert (dict(lifecycle.on_expiry), dict(lifecycle.on_cancel)) == ({}, {})
    chosen: Lifecycle[Any] = Lifecycle(**table, on_expiry={new: stolen}, on_cancel={new: lost})
    assert chosen.expiry_of == {"new": "stolen"}
    assert chosen.cancel_of == {"new": "lost"}


def test_jobs_may_be_forced_to_what_is_no_end() -> None:
    lifecycle = Lifecycle(**(GOOD | {"on_expiry": {Step.NEW: Step.BUSY}, "on_cancel": {}}))
    assert lifecycle.expiry_of == {"new": "busy"}
    assert lifecycle.cancel_of == {}


def test_asking_leads_there_and_back() -> None:
    moves = _row(NEW={Step.BUSY}, BUSY={Step.NEW, Step.DONE, Step.LOST})
    lifecycle = Lifecycle(**(GOOD | {"moves": moves, "asking": Step.NEW}))
    assert (lifecycle.asking, lifecycle.asking_value) == (Step.NEW, "new")


def test_every_move_is_legal_or_refused_with_the_ways_that_are_open() -> None:
    lifecycle = Lifecycle(**GOOD)
    for current in Step:
        for target in Step:
            if target in GOOD["moves"][current]:
                lifecycle.validate(current, target)
                continue
            with pytest.raises(InvalidStateTransitionError) as caught:
                lifecycle.validate(current, target, "job-1")
            error = caught.value
            assert (error.from_state, error.to_state) == (current.value, target.value)
            assert {type(error.from_state), type(error.to_state)} == {str}
            assert set(error.allowed) == GOOD["moves"][current]
            assert error.job_id == "job-1"


@pytest.mark.parametrize("status", ["nothing", 5, None, ["new"], Foreign.STRANGE, "NEW", b"new"])
def test_a_status_of_another_lifecycle_is_refused(status: object) -> None:
    with pytest.raises(InvalidValueError, match="is not one of new, busy, done, lost"):
        Lifecycle(**GOOD).value(status)


def test_an_outcome_goes_with_the_end_that_can_hold_it() -> None:
    lifecycle = Lifecycle(**GOOD)
    lifecycle.validate_outcome("done", "a result", None)
    lifecycle.validate_outcome("lost", None, "an error")
    for status in Step:
        lifecycle.validate_outcome(status, None, None)


@pytest.mark.parametrize("status", ["new", "busy", "lost"])
def test_a_result_without_success_is_refused(status: str) -> None:
    with pytest.raises(InvalidValueError, match=f"result belongs to done, not to {status}"):
        Lifecycle(**GOOD).validate_outcome(status, "", None)


@pytest.mark.parametrize("status", ["new", "busy", "done"])
def test_an_error_without_failure_is_refused(status: str) -> None:
    with pytest.raises(InvalidValueError, match=f"error belongs to lost, not to {status}"):
        Lifecycle(**GOOD).validate_outcome(status, None, "")


def test_an_error_where_no_status_can_hold_one_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="no status of this lifecycle"):
        _chain(_of_size(2)).validate_outcome("s1", None, "an error")


def test_the_table_can_not_be_changed_afterwards() -> None:
    moves = {status: set(row) for status, row in GOOD["moves"].items()}
    lifecycle = Lifecycle(**(GOOD | {"moves": moves}))
    moves[Step.NEW].add(Step.DONE)
    with pytest.raises(InvalidStateTransitionError):
        lifecycle.validate(Step.NEW, Step.DONE)
    with pytest.raises(TypeError):
        lifecycle.moves[Step.NEW] = frozenset()  # type: ignore[index]


def test_the_diagram_draws_every_status_and_every_move() -> None:
    assert Lifecycle(**GOOD).mermaid() == (
        "stateDiagram-v2\n"
        "    [*] --> new\n"
        "    new --> busy\n"
        "    busy --> done\n"
        "    busy --> lost\n"
        "    done --> [*]\n"
        "    lost --> [*]\n"
    )


def test_the_diagram_gives_odd_values_a_plain_name() -> None:
    odd = StrEnum("odd", {"SPACED": "in work", "WORD": "end", "QUOTED": 'a "b"\nc', "FINE": "fine"})
    assert _chain(odd).mermaid() == (
        "stateDiagram-v2\n"
        '    state "in work" as status_SPACED\n'
        '    state "end" as status_WORD\n'
        '    state "a #quot;b#quot; c" as status_QUOTED\n'
        "    [*] --> status_SPACED\n"
        "    status_SPACED --> status_WORD\n"
        "    status_WORD --> status_QUOTED\n"
        "    status_QUOTED --> fine\n"
        "    fine --> [*]\n"
    )


def test_two_statuses_are_never_drawn_as_one() -> None:
    odd = StrEnum("odd", {"A": "status_B", "B": "b c", "C": "done"})
    assert _chain(odd).mermaid() == (
        "stateDiagram-v2\n"
        '    state "status_B" as status_A\n'
        '    state "b c" as status_B\n'
        "    [*] --> status_A\n"
        "    status_A --> status_B\n"
        "    status_B --> done\n"
        "    done --> [*]\n"
    )


def test_it_says_what_it_is() -> None:
    assert repr(Lifecycle(**GOOD)) == "<Lifecycle of Step from new>"
