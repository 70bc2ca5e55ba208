from __future__ import annotations

import json
import logging
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    ORDER_LIFECYCLE,
    PAID_JOB_LIFECYCLE,
    AgentJobStatus,
    JobEngine,
    Lifecycle,
    LifecycleError,
    MemoryStorage,
    OrderStatus,
    Outcome,
)
from engine.domain.lifecycle import MAX_STATUSES, Event, description, differences, lifecycle_of
from engine.testing.values import ODD_LIFECYCLE, TEXTS
from tests.unit.domain.test_lifecycle import ASKS, GOOD, Printing
from tests.unit.domain.test_lifecycle_ends import FAILURES, Work, work


def test_a_description_has_every_table_in_the_order_of_the_enum() -> None:
    tables = json.loads(description(ORDER_LIFECYCLE))
    assert tables["statuses"] == [status.value for status in OrderStatus]
    assert tables["moves"]["needs_attention"] == [
        status.value
        for status in OrderStatus
        if status in ORDER_LIFECYCLE.moves[OrderStatus.NEEDS_ATTENTION]
    ]
    assert (tables["initial"], tables["running"]) == ("awaiting_payment", "running")
    assert (tables["fails_to"], tables["exhausted_to"]) == ("failed", "needs_attention")
    assert (tables["awaiting_input"], tables["retired"]) == ("awaiting_input", [])
    assert tables["cancels_to"]["running"] == "cancelled"
    assert tables["expires_to"]["awaiting_payment"] == "expired"
    assert tables["outcomes"]["expired"] == "expired"
    assert json.loads(description(AGENT_JOB_LIFECYCLE))["outcomes"] == {}  # as given
    assert (tables["success"], tables["failure"][0]) == (["completed"], "failed")


def test_the_description_is_the_same_in_every_process() -> None:
    again = Lifecycle(
        AgentJobStatus,
        {status: set(AGENT_JOB_LIFECYCLE.moves[status]) for status in reversed(AgentJobStatus)},
        initial=AgentJobStatus.AWAITING_PAYMENT,
        running=AgentJobStatus.RUNNING,
        success=[AgentJobStatus.COMPLETED],
        failure=[AgentJobStatus.FAILED],
        awaiting_input=AgentJobStatus.AWAITING_INPUT,
        cancels_to=AGENT_JOB_LIFECYCLE.cancels_to,
        expires_to=AGENT_JOB_LIFECYCLE.expires_to,
    )
    assert description(again) == description(AGENT_JOB_LIFECYCLE)


def _of_any_texts() -> Lifecycle[Any]:
    """Return a lifecycle whose statuses are texts that a Python name can't be."""
    texts = ["mro", "_missing_", "None", "__class__", *filter(None, TEXTS)]
    make: Any = StrEnum
    statuses = make("Texts", [(f"T{n}", text) for n, text in enumerate(dict.fromkeys(texts))])
    first, *others, last = statuses
    moves = {status: {last} for status in others} | {first: {*others, last}, last: set()}
    return Lifecycle(
        *(statuses, moves), initial=first, running=others[0], success={last}, failure=()
    )


_PRINTING: Lifecycle[Any] = Lifecycle(
    Printing,
    {
        Printing.NEW: {Printing.BUSY},
        Printing.PROOF: {Printing.FIXING, Printing.LOST},
        Printing.FIXING: {Printing.BUSY},
        Printing.BUSY: {Printing.DONE, Printing.LOST},
        **{status: set() for status in (Printing.DONE, Printing.LOST, Printing.BURNT)},
    },
    initial=Printing.NEW,
    running=Printing.BUSY,
    success={Printing.DONE},
    failure={Printing.LOST, Printing.BURNT},
    retired={Printing.PROOF, Printing.BURNT},
    renamed={"checking": Printing.PROOF},
    hint="use another one",
)

LIFECYCLES: dict[str, Lifecycle[Any]] = {
    "paid": PAID_JOB_LIFECYCLE,
    "order": ORDER_LIFECYCLE,
    "agent": AGENT_JOB_LIFECYCLE,
    "odd": ODD_LIFECYCLE,
    "good": Lifecycle(**GOOD),
    "asking": Lifecycle(**ASKS),
    "retired": _PRINTING,
    "many failures": work({*FAILURES}, fails_to=Work.STOLEN),
    "no failure": work(set()),
    "no forced move": work({Work.LOST}, expires_to={}, cancels_to={}),
    "an attention": work({Work.STUCK, Work.LOST}, exhausted_to=Work.STUCK),
    "an outcome of ends": work({Work.LOST}, outcomes={Work.LOST: Outcome.EXPIRED}),
    "any texts": _of_any_texts(),
}


@pytest.mark.parametrize("name", LIFECYCLES)
def test_a_lifecycle_comes_back_from_its_description(name: str) -> None:
    given = LIFECYCLES[name]
    again = lifecycle_of(description(given))
    assert description(again) == description(given)
    assert again.values == given.values
    assert (again.initial_value, again.running_value) == (given.initial_value, given.running_value)
    for value, event in product(given.values, Event):
        assert again.target(value, event) == given.target(value, event)
        assert again.outcome(value, event) == given.outcome(value, event)
    for value in given.values:
        assert again.targets(value) == given.targets(value)
        assert again.outcome(value, None) == given.outcome(value, None)
        assert again.is_failure(value) == given.is_failure(value)
        assert again.status_outcomes == given.status_outcomes


def test_a_cancelled_job_has_that_outcome_in_the_lifecycle_that_came_back() -> None:
    again = lifecycle_of(description(PAID_JOB_LIFECYCLE))
    assert again.outcome("failed", Event.CANCEL) is Outcome.CANCELLED
    assert again.outcome("failed", Event.FAIL) is Outcome.FAILED


def _with(**tables: object) -> str:
    return json.dumps({**json.loads(description(ORDER_LIFECYCLE)), **tables})


@pytest.mark.parametrize(
    "damaged",
    [
        *("", "{", "null", "[]", "{}", '"x"', "[" * 100_000, "\ud800"),
        *(_with(statuses=[]), _with(statuses=["a", "a"]), _with(statuses="running")),
        _with(statuses=[str(n) for n in range(MAX_STATUSES + 1)]),
        *(_with(initial="nowhere"), _with(initial=None), _with(running=7), _with(success=["x"])),
        *(_with(moves={}), _with(moves={"running": ["nowhere"]}), _with(moves=[[1]])),
        *(_with(expires_to={"running": "nowhere"}), _with(cancels_to={"completed": "running"})),
        *(_with(outcomes={"completed": "odd"}), _with(outcomes={"completed": "failed"})),
        *(_with(retired=["running"]), _with(awaiting_input="running"), _with(fails_to="running")),
        _with(another_table={}),
    ],
    ids=lambda text: text[:30],
)
def test_a_description_that_is_none_is_refused(damaged: str) -> None:
    with pytest.raises(LifecycleError) as caught:
        lifecycle_of(damaged)
    assert len(str(caught.value)) < 1_000


def test_differences_name_the_tables() -> None:
    paid, agent = description(PAID_JOB_LIFECYCLE), description(AGENT_JOB_LIFECYCLE)
    assert differences(paid, paid) == []
    assert "awaiting_input" in differences(paid, agent)
    assert "initial" not in differences(paid, agent)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_an_engine_with_another_lifecycle_logs_how_they_differ(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = MemoryStorage()
    place = memory if kind == "memory" else tmp_path / "jobs.db"
    for lifecycle in (PAID_JOB_LIFECYCLE, PAID_JOB_LIFECYCLE):
        async with JobEngine(place, lifecycle=lifecycle):
            pass
    assert not caplog.records
    async with JobEngine(place, lifecycle=AGENT_JOB_LIFECYCLE):
        pass
    [record] = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "had another lifecycle: they differ in awaiting_input, " in record.getMessage()
