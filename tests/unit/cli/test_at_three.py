"""At three in the morning: what an operator wants then, each by one command.

The same list in a browser is in `tests.unit.web.dashboard.test_browser`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from engine import ORDER_LIFECYCLE, Context, FollowUp, Retry, SyncJobEngine, Worker
from engine import OrderStatus as S
from engine.operating import this_operator
from tests.tries import thorough
from tests.unit.cli.programs import Run

REFUND: FollowUp[Any] = FollowUp("refund", to={S.FAILED}, started=True)


class Paper(BaseModel):
    size: str
    copies: int


def report(_: None) -> None:
    raise ValueError("there is no model")


def ask(_: None, context: Context[S]) -> str:
    return context.request_input(Paper, question="Which paper?").size


@pytest.fixture(params=["engine", *thorough("file", "database")])
def night(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give a place with zoe's failed job, a question and a job of bob; an engine may have it."""
    where = "postgres_url" if request.param == "database" else "path"
    place, ids = str(request.getfixturevalue(where)), iter(["zoe-report", "zoe-ask", "bob-report"])

    def new_id() -> str:
        return next(ids)

    engine = SyncJobEngine(place, lifecycle=ORDER_LIFECYCLE, follow_ups=[REFUND], new_id=new_id)
    with engine:
        handlers: dict[str, Any] = {"report": report, "ask": ask}
        with Worker(engine, handlers, retry=Retry(1)):
            for kind in handlers:
                job = engine.create(kind=kind, labels={"customer": "zoe"})
                engine.start(job.job_id, payment_id=f"paid {kind}")
                until = [S.NEEDS_ATTENTION, S.AWAITING_INPUT]
                engine.wait(job.job_id, until=until)
        engine.create(kind="report", labels={"customer": "bob"})
        if request.param == "engine":
            yield place
    if request.param != "engine":
        yield place


@pytest.fixture
def told(night: str, here: Run) -> Any:  # noqa: ANN401 - a function
    """Return a function that runs a command, which must do what it is told, and what it writes."""

    def told(command: str, *words: str) -> list[str]:
        code, lines, notes = here(command, night, *words)
        assert (code, notes) == (0, [])
        return lines

    return told


def test_find_the_paid_job_of_this_customer_and_why_it_does_not_go_on(told: Any) -> None:  # noqa: ANN401
    _, line, other = told("list", "--label", "customer=zoe")
    assert "zoe-report" in line
    assert "needs_attention" in line
    assert "there is no model" in line
    assert "awaiting_input" in other
    assert "zoe-report" in told("list", "--payment", "paid report")[1]
    assert any("ValueError: there is no model" in line for line in told("show", "zoe-report"))
    assert any("Which paper?" in line for line in told("show", "zoe-ask"))


def test_run_it_again_now(told: Any) -> None:  # noqa: ANN401
    [line] = told("retry", "zoe-report", "--reason", "the model is back")
    assert line == "retried: zoe-report running"


def test_answer_for_the_customer(told: Any) -> None:  # noqa: ANN401
    [line] = told("answer", "zoe-ask", "size=A4", "copies=2", "--reason", "she called")
    assert line == "answered: zoe-ask running"


def test_give_back_the_money_and_say_why(told: Any) -> None:  # noqa: ANN401
    [line] = told("move", "zoe-report", "failed", "--reason", "the customer is right")
    assert line.startswith("moved: zoe-report failed")
    shown = json.loads(told("show", "zoe-report", "--json")[0])
    assert [each["kind"] for each in shown["follow_ups"]] == ["refund"]
    assert shown["history"][-1]["reason"] == "the customer is right"


def test_stop_all_of_this_kind(told: Any) -> None:  # noqa: ANN401
    told("pause", "report", "--reason", "the model lies")
    assert told("cancel", "--kind", "report", "--reason", "the model lies", "--yes") == [
        "cancelled: 2 jobs"
    ]


def test_who_did_this_yesterday(told: Any) -> None:  # noqa: ANN401
    told("retry", "zoe-report", "--reason", "the model is back")
    [line] = map(json.loads, told("audit", "--since", "24h", "--json"))
    assert (line["by"], line["action"], line["job_id"], line["reason"]) == (
        this_operator(),
        "retry",
        "zoe-report",
        "the model is back",
    )
