"""Engines on one database follow the same rules, and make each follow-up once between them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from engine import (
    ORDER_LIFECYCLE,
    FollowUp,
    InvalidValueError,
    JobEngine,
    JobNotFoundError,
    Move,
    NewJob,
    Retention,
    StorageDamagedError,
    Worker,
)
from engine import OrderStatus as S
from engine.owner.commands.remove import RemoveEnded
from engine.storage.answers import Committed
from engine.storage.audit import AuditLine
from engine.storage.postgres import PostgresStorage
from engine.storage.record import Change
from engine.testing.facades import FACADES, Engine, opened_engine
from tests.interventions import Intruder
from tests.unit.follow_ups.conftest import RULES
from tests.unit.follow_ups.families import ended, kinds, numbers, only, started
from tests.unit.storage.postgres.callers import calling
from tests.unit.worker.at_work import SECONDS

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]

facades = pytest.mark.parametrize("facade", FACADES)


async def _nothing() -> None:
    """Do nothing."""


class Interrupted(PostgresStorage):
    """Lets a test act right before the next commit."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.before_commit: Callable[[], Awaitable[object]] = _nothing
        self.commits = 0

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> Committed:
        self.commits += 1
        do, self.before_commit = self.before_commit, _nothing
        await do()
        return await super().commit(changes, lines)


@asynccontextmanager
async def _open(
    url: str | PostgresStorage,
    *rules: FollowUp[S],
    facade: Any = JobEngine,  # noqa: ANN401 - either facade
) -> AsyncIterator[Engine]:
    place = PostgresStorage(url) if isinstance(url, str) else url
    with anyio.fail_after(SECONDS):
        async with opened_engine(
            facade, place, lifecycle=ORDER_LIFECYCLE, follow_ups=rules
        ) as engine:
            yield engine


@facades
async def test_an_engine_follows_rules_that_another_has_brought(
    postgres_url: str, facade: type[Any]
) -> None:
    async with _open(postgres_url, facade=facade) as old:
        jobs = [await started(old) for _ in range(3)]
        async with _open(postgres_url, *RULES):
            await old.transition_many([Move(each.job_id, S.COMPLETED) for each in jobs])
        assert [await kinds(old, each) for each in jobs] == [["settle"]] * 3
        assert await numbers(old) == [*range(1, 13)]
        assert len(await old.rules()) == 3


@pytest.mark.parametrize("adds", [True, False])
async def test_a_commit_that_was_decided_by_older_rules_is_decided_again(
    postgres_url: str, *, adds: bool
) -> None:
    storage = Interrupted(postgres_url)
    rules = () if adds else RULES
    async with _open(storage, *rules) as engine, _open(postgres_url) as other:
        job = await started(engine)

        async def add() -> None:
            async with _open(postgres_url, *RULES):
                pass

        async def remove() -> None:
            await other.remove_rule("settle")

        before, storage.before_commit = storage.commits, add if adds else remove
        done = await engine.transition(job.job_id, S.COMPLETED)
        assert storage.commits == before + 2
        assert await kinds(other, done) == (["settle"] if adds else [])
        assert await numbers(other) == [*range(1, 4 + adds)]


async def test_a_circle_of_two_engines_is_refused_to_the_second(postgres_url: str) -> None:
    first = FollowUp("a", of="b", to={S.COMPLETED})
    second = FollowUp("b", of="a", to={S.COMPLETED})
    async with _open(postgres_url, first) as engine:
        with pytest.raises(InvalidValueError, match="circle"):
            async with _open(postgres_url, second):
                pass
        assert [rule.kind for rule in await engine.rules()] == ["a"]


async def test_rules_that_engines_bring_at_once_are_all_kept(postgres_url: str) -> None:
    opened: list[str] = []

    async def open_with(number: int) -> None:
        async with _open(postgres_url, FollowUp(f"k{number}", to={S.COMPLETED})):
            opened.append(f"k{number}")

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(open_with, number)
    async with _open(postgres_url) as engine:
        assert sorted(opened) == [rule.kind for rule in await engine.rules()]


async def test_moves_of_many_engines_have_theirs_without_gaps(postgres_url: str) -> None:
    async with _open(postgres_url, *RULES) as first, _open(postgres_url) as second:
        jobs = await first.create_many([NewJob(start=True) for _ in range(40)])

        async def end(engine: Engine, part: Sequence[Any]) -> None:
            for job in part:
                await engine.transition(job.job_id, S.COMPLETED)

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                engine = (first, second)[number % 2]
                tasks.start_soon(end, engine, jobs[5 * number : 5 * number + 5])
        assert [await kinds(second, each) for each in jobs] == [["settle"]] * 40
        assert await numbers(first) == [*range(1, 121)]


async def test_by_hand_from_all_engines_at_once_it_is_one(postgres_url: str) -> None:
    async with _open(postgres_url) as first, _open(postgres_url) as second:
        jobs = [await ended(first) for _ in range(5)]
        made: list[int] = []
        ids: set[str] = set()
        async with _open(postgres_url, *RULES):
            pass

        async def fill(engine: Engine) -> None:
            made.append(await engine.backfill("settle"))

        async def follow(engine: Engine) -> None:
            ids.add((await engine.follow_up(jobs[0].job_id, "refund")).job_id)

        async with anyio.create_task_group() as tasks:
            for engine in (first, second, first, second):
                tasks.start_soon(fill, engine)
                tasks.start_soon(follow, engine)
        assert sum(made) == 5
        assert len(ids) == 1
        assert await first.count(follow_ups=True) == 11
        assert [await kinds(second, each) for each in jobs[1:]] == [["settle"]] * 4


async def test_no_follow_up_comes_to_a_job_that_others_remove_meanwhile(postgres_url: str) -> None:
    storage = Interrupted(postgres_url)
    async with _open(storage, *RULES) as engine, _open(postgres_url) as other:
        job = await ended(engine, S.CANCELLED)
        refund = await only(engine, job)
        await other.transition(refund.job_id, S.COMPLETED)

        async def remove() -> None:
            assert await other.core.ask(RemoveEnded(Retention(max_jobs=0), 10)) == 2

        storage.before_commit = remove
        with pytest.raises(JobNotFoundError):
            await engine.follow_up(job.job_id, "settle")
        assert await other.count() == 0


async def test_a_worker_elsewhere_does_it_and_a_wait_here_ends(postgres_url: str) -> None:
    async def work() -> str:
        return "done"

    handlers = {"default": work, "settle": work, "notify": work}
    async with _open(postgres_url) as web, _open(postgres_url, *RULES) as other:
        async with Worker(other, handlers):
            job = await web.create(start=True)
            await web.wait(job.job_id, follow_ups=True)
        [settle] = await web.follow_ups(job.job_id)
        assert (settle.result, await kinds(web, settle)) == ("done", ["notify"])


async def test_nothing_is_decided_by_older_rules_while_the_newest_cannot_be_read(
    postgres_url: str, intruder: Intruder
) -> None:
    async with _open(postgres_url, *RULES) as engine:
        job = await started(engine)
        kept = intruder.value("SELECT value FROM notes WHERE name = 'rules'")
        set_rules = "UPDATE notes SET value = %s WHERE name = 'rules'"
        intruder.execute(set_rules, "[")
        intruder.execute("UPDATE notes SET value = '100' WHERE name = 'rules_number'")
        for _ in range(2):
            with pytest.raises(StorageDamagedError, match="rules of follow-ups are damaged"):
                await engine.transition(job.job_id, S.COMPLETED)
            with pytest.raises(StorageDamagedError, match="rules of follow-ups are damaged"):
                await engine.rules()
        intruder.execute(set_rules, kept)
        done = await engine.transition(job.job_id, S.COMPLETED)
        assert await kinds(engine, done) == ["settle"]


@pytest.mark.parametrize("kind", ["Connection", "Session"])
async def test_a_job_of_a_callers_transaction_has_its_follow_ups(
    postgres_url: str, kind: str
) -> None:
    """Its engine has never heard of the rule: the storage has."""
    async with calling(kind, postgres_url, lifecycle=ORDER_LIFECYCLE) as caller:
        engine = caller.engine
        async with _open(postgres_url, FollowUp("thank", to={S.RUNNING})):
            pass
        await caller.create(start=True, labels={"a": "b"})
        await caller.rollback()
        jobs = [await caller.create(start=each) for each in (True, False, True)]
        assert await engine.count() == 0
        await caller.commit()
        assert [await kinds(engine, each) for each in jobs] == [["thank"], [], ["thank"]]
        child = await only(engine, jobs[0])
        assert (child.parent_id, child.parent_version) == (jobs[0].job_id, 1)
        assert [line.by for line in await engine.history(child.job_id)] == ["rule"]
        assert [job.sequence for job in (await engine.list_jobs()).jobs] == [1, 2, 3, 4, 5]
