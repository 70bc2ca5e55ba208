from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    ORDER_LIFECYCLE,
    PAID_JOB_LIFECYCLE,
    AgentJobStatus,
    JobEngine,
    Lifecycle,
    MemoryStorage,
    OrderStatus,
)
from engine.domain.lifecycle import description, differences


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
