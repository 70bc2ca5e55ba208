"""The audit of two engines on one place: a batch that is decided again leaves its lines once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from engine import AgentJobStatus, JobEngine
from engine.storage.answers import Committed
from engine.storage.audit import AuditLine
from engine.storage.postgres import PostgresStorage
from engine.storage.record import Change
from tests.proof.shared_storage import Place, PlainShared
from tests.unit.claiming import agents

pytestmark = pytest.mark.anyio

AWAITING_PAYMENT = AgentJobStatus.AWAITING_PAYMENT
Engine = JobEngine[AgentJobStatus]


async def nothing() -> None:
    pass


class Interrupted:
    """Lets others write before its next commit. Inherit it before a storage.

    Attributes:
        before_commit: What others do then, once.
        decided: How many lines of the audit came with each commit since.
    """

    before_commit: Callable[[], Awaitable[object]] = staticmethod(nothing)
    decided: list[int]

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> Committed:
        do, self.before_commit = self.before_commit, nothing
        if do is not nothing:
            self.decided = []
            await do()
        self.decided.append(len(lines))
        committed: Committed = await super().commit(changes, lines)  # type: ignore[misc]
        return committed


class InterruptedPlain(Interrupted, PlainShared):
    pass


class InterruptedPostgres(Interrupted, PostgresStorage):
    pass


@pytest.fixture(params=["plain", "postgres"])
def storages(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Return two storages on one place: one that is interrupted, and another one."""
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        first: Any = InterruptedPostgres(url)
        first.decided = []
        return first, PostgresStorage(url)
    place = Place()
    first = InterruptedPlain(place, 1)
    first.decided = []
    return first, PlainShared(place, 2)


async def test_a_batch_that_is_decided_again_leaves_its_line_once(
    storages: tuple[Any, Any],
) -> None:
    interrupted, other = storages
    async with agents(interrupted) as one, agents(other) as two:
        job_id = (await one.create("hash")).job_id
        interrupted.before_commit = lambda: two.extend(job_id, AWAITING_PAYMENT, None, by="them")
        await one.extend(job_id, AWAITING_PAYMENT, None, by="us")
        assert interrupted.decided == [1, 1]
        for engine in (one, two):
            assert [(each.number, each.by) for each in await engine.audit()] == [
                (2, "us"),
                (1, "them"),
            ]


async def test_a_call_that_came_too_late_leaves_no_line(storages: tuple[Any, Any]) -> None:
    interrupted, other = storages
    async with agents(interrupted) as one, agents(other) as two:
        job_id = (await one.create("hash")).job_id
        interrupted.before_commit = lambda: two.start(job_id, by="them")
        assert not (await one.start(job_id, by="us")).first
        assert interrupted.decided == [1]  # and nothing to commit when it was decided again
        [entry] = await one.audit()
        assert (entry.by, entry.job_id) == ("them", job_id)


async def test_the_lines_of_both_have_numbers_without_gaps(storages: tuple[Any, Any]) -> None:
    first, second = storages
    async with agents(first) as one, agents(second) as two:
        job_id = (await one.create("hash")).job_id
        for engine, by in ((one, "us"), (two, "them")) * 3:
            await engine.extend(job_id, AWAITING_PAYMENT, None, by=by)
            assert not await engine.disable_rule("unheard-of", by=by)
        entries = await two.audit()
        assert [each.number for each in entries] == [6, 5, 4, 3, 2, 1]
        assert [each.by for each in entries] == ["them", "us"] * 3
