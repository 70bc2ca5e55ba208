"""Lifecycles: a table that can't work is refused when it is built, and the message says why."""

import ast
import pickle
from enum import Enum, IntEnum, StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, TypeAlias

import pytest

import engine
from engine.domain.exceptions import (
    InvalidStateTransitionError,
    InvalidValueError,
    LifecycleError,
)
from engine.domain.lifecycle import MAX_STATUSES, Event, Lifecycle

Statuses: TypeAlias = Any
"""An enum that a call makes, or a parameter of a test."""


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


class Printing(StrEnum):
    NEW = "new"
    PROOF = "proof"
    FIXING = "fixing"
    BUSY = "busy"
    DONE = "done"
    LOST = "lost"
    BURNT = "burnt"


class Talk(StrEnum):
    NEW = "new"
    BUSY = "busy"
    ASKING = "asking"
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


ASKS: dict[str, Any] = {
    "statuses": Talk,
    "moves": {
        Talk.NEW: {Talk.BUSY, Talk.ASKING},
        Talk.BUSY: {Talk.NEW, Talk.ASKING, Talk.DONE, Talk.LOST},
        Talk.ASKING: {Talk.BUSY},
        Talk.DONE: set(),
        Talk.LOST: set(),
    },
    "initial": Talk.NEW,
    "running": Talk.BUSY,
    "success": {Talk.DONE},
    "failure": {Talk.LOST},
    "awaiting_input": Talk.ASKING,
}
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
        r"DONE is a success or failure, and so may have no moves",
    ),
    "a failure with moves": (
        {"moves": _row(LOST={Step.NEW})},
        r"LOST is a success or failure, and so may have no moves",
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
    "a foreign status of asking": (
        {"awaiting_input": Foreign.STRANGE},
        r"STRANGE.* not a member of Step",
    ),
    "asking that can't be begun": (
        ASKS | {"moves": ASKS["moves"] | {Talk.BUSY: {Talk.DONE, Talk.LOST}}},
        r"ASKING is `awaiting_input`, so BUSY needs a move to ASKING",
    ),
    "asking that never ends": (
        {"awaiting_input": Step.LOST},
        r"LOST is `awaiting_input`, so LOST needs a move to BUSY",
    ),
    "asking while running": (
        {"moves": _row(BUSY={Step.BUSY, Step.DONE, Step.LOST}), "awaiting_input": Step.BUSY},
        r"BUSY is `running`, and so can't be `awaiting_input` too",
    ),
    "asking before the start": (
        ASKS | {"awaiting_input": Talk.NEW},
        r"NEW is `initial`, and so can't be `awaiting_input` too",
    ),
    "expiry by no legal move": (
        {"expires_to": {Step.NEW: Step.LOST}},
        r"expires_to leads from .*NEW.* to .*LOST.*, which `moves` does not allow",
    ),
    "cancelling by no legal move": (
        {"cancels_to": {Step.NEW: Step.LOST}},
        r"cancels_to leads from .*NEW.* to .*LOST.*, which `moves` does not allow",
    ),
    "expiry of what has ended": (
        {"expires_to": {Step.DONE: Step.LOST}},
        r"which `moves` does not allow",
    ),
    "expiry in plain strings": (
        {"expires_to": {"busy": "lost"}},
        r"'busy' is not a member of Step",
    ),
    "cancelling to a plain string": (
        {"cancels_to": {Step.BUSY: "lost"}},
        r"'lost' is not a member of Step",
    ),
    "expiry that is no table": ({"expires_to": Step.LOST}, r"expires_to must map statuses"),
    "a new name of what is no text": ({"renamed": {1: Step.BUSY}}, r"plain texts, not 1"),
    "a new name of nothing": ({"renamed": {"": Step.BUSY}}, r"plain texts, not ''"),
    "a new name of a member": ({"renamed": {Step.NEW: Step.BUSY}}, r"plain texts, not <Step.NEW"),
    "a new name of a present status": (
        {"renamed": {"new": Step.BUSY}},
        r"renamed has 'new', which is a status of Step now",
    ),
    "a new name that is a plain string": ({"renamed": {"old": "busy"}}, r"'busy' is not a member"),
    "new names that are no table": ({"renamed": ["old"]}, r"renamed must map old values"),
    "a retired status that is none": ({"retired": {Foreign.STRANGE}}, r"STRANGE.* not a member"),
    "a retired initial status": (
        {"retired": {Step.NEW}},
        r"NEW is the initial status, and so can't be retired",
    ),
    "a retired running status": (
        {"retired": {Step.BUSY}},
        r"BUSY is the running status, and so can't be retired",
    ),
    "a retired status that jobs may enter": (
        {"retired": {Step.LOST}},
        r"LOST is retired, and BUSY has a move to it: take it out",
    ),
    "cancelling that is no table": ({"cancels_to": [Step.LOST]}, r"cancels_to must map statuses"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_table_that_cannot_work_is_refused_by_name(case: str) -> None:
    change, message = BAD[case]
    with pytest.raises(LifecycleError, match=message):
        Lifecycle(**(GOOD | change))


def test_a_job_is_born_in_the_initial_or_in_the_running_status() -> None:
    lifecycle = Lifecycle(**GOOD)
    assert lifecycle.births == (Step.NEW, Step.BUSY)
    assert len(_chain(_of_size(3)).births) == 1  # its initial status is the running one


def test_what_follows_either_birth_can_be_reached() -> None:
    moves = _row(NEW={Step.LOST}, BUSY={Step.DONE})
    lifecycle = Lifecycle(**(GOOD | {"moves": moves}))
    assert lifecycle.mermaid().count("[*] --> ") == 2
    for lost in (Step.NEW, Step.BUSY):
        row = _row(**{each.name: {Step.DONE} for each in (Step.NEW, Step.BUSY)})
        Lifecycle(**(GOOD | {"moves": row | {lost: {Step.DONE, Step.LOST}}}))
        with pytest.raises(LifecycleError, match="LOST can't be reached from NEW or BUSY: give"):
            Lifecycle(**(GOOD | {"moves": row}))


def test_a_status_that_can_never_end_is_refused() -> None:
    loop = StrEnum("loop", ["NEW", "BUSY", "LEFT", "RIGHT", "DONE"])
    new, busy, left, right, done = loop
    moves = {new: {busy, left}, busy: {done}, left: {right}, right: {left}, done: set[Any]()}
    with pytest.raises(LifecycleError, match="a job in LEFT could never end: its moves"):
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

    # The engine stores values: it could not find a member that does not equal its value.
    with pytest.raises(LifecycleError, match="NEW"):
        _chain(Labelled)


def _chain(statuses: Statuses) -> Lifecycle[Any]:
    """Return a lifecycle that leads from each status to the next, and ends in a success."""
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
    for forced in (lifecycle.expires_to, lifecycle.cancels_to):
        assert dict(forced) == {Step.BUSY: Step.LOST}
    assert lifecycle.awaiting_input is None


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
        "fails_to": lost,
    }
    lifecycle: Lifecycle[Any] = Lifecycle(**table)
    assert (dict(lifecycle.expires_to), dict(lifecycle.cancels_to)) == ({}, {})
    chosen: Lifecycle[Any] = Lifecycle(**table, expires_to={new: stolen}, cancels_to={new: lost})
    assert chosen.after("new", Event.EXPIRE) == "stolen"
    assert chosen.after("new", Event.CANCEL) == "lost"


def test_jobs_may_be_forced_to_what_is_no_end() -> None:
    lifecycle = Lifecycle(**(GOOD | {"expires_to": {Step.NEW: Step.BUSY}, "cancels_to": {}}))
    assert lifecycle.after("new", Event.EXPIRE) == "busy"
    assert lifecycle.able(Event.CANCEL) == ()


def test_asking_leads_there_and_back() -> None:
    lifecycle = Lifecycle(**ASKS)
    assert lifecycle.awaiting_input is Talk.ASKING
    assert lifecycle.after("busy", Event.ASK) == "asking"
    assert lifecycle.after("asking", Event.ANSWER) == "busy"


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
        "    [*] --> busy\n"
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


FORCED = {"expires_to": {Talk.NEW: Talk.BUSY}, "cancels_to": {Talk.BUSY: Talk.LOST}}


@pytest.mark.parametrize("event", Event)
def test_every_event_leads_somewhere_or_is_refused_with_the_rule_that_is_missing(
    event: Event,
) -> None:
    lifecycle = Lifecycle(**(ASKS | FORCED), hint="see the other")
    able = {
        Event.START: {"new": "busy"},
        Event.EXPIRE: {"new": "busy"},
        Event.CANCEL: {"busy": "lost"},
        Event.ASK: {"busy": "asking"},
        Event.ANSWER: {"asking": "busy"},
        Event.SUCCEED: {"busy": "done"},
        Event.FAIL: {"busy": "lost"},
        Event.EXHAUST: {"busy": "lost"},
        Event.DIE: {"busy": "lost"},
        Event.RETRY: {},
    }[event]
    forced = event in {Event.EXPIRE, Event.CANCEL}
    assert lifecycle.able(event) == tuple(able)
    for status in lifecycle.values:
        assert lifecycle.target(status, event) == able.get(status)
        assert lifecycle.leads_to(event, status) is (status in able.values())
        if status in able:
            assert lifecycle.after(status, event) == able[status]
            continue
        with pytest.raises(InvalidStateTransitionError) as caught:
            lifecycle.after(status, event, "job-1")
        assert f"job 'job-1' in {status} can't" in str(caught.value)
        lacking = not able or (forced and status not in lifecycle.final_values)
        assert ("; see the other" in str(caught.value)) is lacking
        assert lifecycle.advice(status, event) == "see the other" * lacking
        assert (caught.value.from_state, caught.value.to_state) == (status, event.value)
    assert Lifecycle(**GOOD).able(Event.ASK) == Lifecycle(**GOOD).able(Event.ANSWER) == ()


RULES: set[str] = {
    *("_event_targets", "_targets_of", "_success_values", "_failure_values", "_value_of"),
    *("moves", "expires_to", "cancels_to", "awaiting_input", "success", "failure"),
    *("fails_to", "exhausted_to", "outcomes", "_outcome_of"),
}
SHOWN = {  # tables that callers see, and arguments of theirs
    "engine/_job_engine.py": set[str](),
    "engine/cli/commands/rules.py": {"outcomes"},  # of a rule: the jobs' outcomes
    "engine/domain/follow_up_rule.py": {"outcomes"},
    "engine/domain/follow_ups.py": {"outcomes"},
    "engine/webhooks/endpoint.py": {"outcomes"},
    "engine/owner/commands/move.py": {"moves"},  # its own argument: the caller's moves
    "engine/owner/views.py": {"success"},  # the jobs with a result
    # Of a description that is kept.
    "engine/storage/overview.py": {"success", "failure", "outcomes"},
    "engine/testing/lab.py": {"awaiting_input", "exhausted_to"},  # the ends of a wait
    # The dashboard shows the tables that the operation `lifecycle` tells, of an engine elsewhere.
    "engine/web/dashboard/diagram.py": {"moves"},
    "engine/web/dashboard/inbox.py": {"awaiting_input", "exhausted_to"},
    "engine/web/dashboard/tables.py": RULES - {"moves", "expires_to", "cancels_to", "fails_to"},
}


def test_no_other_module_reads_the_tables_of_a_lifecycle() -> None:
    package = Path(engine.__file__).parent
    for path in package.rglob("*.py"):
        if path.parent.name == "lifecycle":
            continue
        place = str(path.relative_to(package.parent))
        read = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute) and node.attr in RULES
        }
        assert read <= SHOWN.get(place, set()), place


def test_a_retired_status_is_left_and_never_entered() -> None:
    kind = Printing
    moves = {
        kind.NEW: {kind.BUSY},
        kind.PROOF: {kind.FIXING, kind.LOST},
        kind.FIXING: {kind.BUSY},
        kind.BUSY: {kind.DONE, kind.LOST},
        **{status: set() for status in (kind.DONE, kind.LOST, kind.BURNT)},
    }
    lifecycle = Lifecycle(
        kind,
        moves,
        initial=kind.NEW,
        running=kind.BUSY,
        success={kind.DONE},
        failure={kind.LOST, kind.BURNT},
        retired={kind.PROOF, kind.BURNT},
        renamed={"checking": kind.PROOF},
    )
    lifecycle.validate("proof", "fixing")
    assert lifecycle.after("proof", Event.CANCEL) == "lost"
    for start in kind:
        with pytest.raises(InvalidStateTransitionError):
            lifecycle.validate(start, "proof")
    twin = pickle.loads(pickle.dumps(lifecycle))  # noqa: S301 - our own
    assert (twin.retired, twin.renamed) == (lifecycle.retired, lifecycle.renamed)
    assert (twin.retired, twin.renamed_values) == ({"proof", "burnt"}, {"checking": "proof"})
