"""Rules are kept with the jobs: whoever opens them decides by the same ones."""

from __future__ import annotations

import sqlite3
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from engine import (
    ORDER_LIFECYCLE,
    FollowUp,
    InvalidValueError,
    JobEngine,
    Lifecycle,
    StorageDamagedError,
)
from engine import OrderStatus as S
from engine.domain.follow_up_rules import StoredRules
from engine.testing.facades import FACADES, opened_engine
from tests.proof.storages import PlainStorage
from tests.unit.follow_ups.conftest import RULES, Open
from tests.unit.follow_ups.families import ended, kinds, only

pytestmark = pytest.mark.anyio

SETTLE = FollowUp("settle", to={S.COMPLETED})


async def test_an_engine_without_rules_follows_those_that_are_kept(reopen_engine: Open) -> None:
    async with reopen_engine(*RULES) as engine:
        job = await ended(engine)
    async with reopen_engine() as engine:
        assert sorted(rule.kind for rule in await engine.rules()) == ["notify", "refund", "settle"]
        settle = await only(engine, job)
        await engine.transition(settle.job_id, S.COMPLETED)
        assert await kinds(engine, settle) == ["notify"]
        assert await kinds(engine, await ended(engine, S.FAILED)) == ["refund"]


async def test_a_rule_of_the_same_kind_replaces_the_one_before(reopen_engine: Open) -> None:
    async with reopen_engine(*RULES) as engine:
        assert await kinds(engine, await ended(engine)) == ["settle"]
    async with reopen_engine(FollowUp("settle", to={S.FAILED}, labels={"a": "b"})) as engine:
        assert await kinds(engine, await ended(engine)) == []
        assert await kinds(engine, await ended(engine, S.FAILED, labels={"a": "b"})) == [
            *("refund", "settle"),
        ]
        assert len(await engine.rules()) == 3


async def test_a_removed_rule_stays_away(reopen_engine: Open) -> None:
    async with reopen_engine(*RULES) as engine:
        assert await engine.remove_rule("settle")
        assert not await engine.remove_rule("settle")
        assert await kinds(engine, await ended(engine)) == []
    async with reopen_engine() as engine:
        assert await kinds(engine, await ended(engine)) == []
        assert [rule.kind for rule in await engine.rules()] == ["notify", "refund"]
        with pytest.raises(InvalidValueError, match="kind"):
            await engine.remove_rule("no kind")


async def test_rules_come_back_as_they_were_given(reopen_engine: Open) -> None:
    async with reopen_engine(*RULES) as engine:
        by_kind = {rule.kind: rule for rule in await engine.rules()}
    assert by_kind["refund"] == RULES[0]
    assert by_kind["notify"] == FollowUp("notify", of=("settle",), to=frozenset({S.COMPLETED}))


async def test_kept_rules_count_for_a_circle(reopen_engine: Open) -> None:
    async with reopen_engine(*RULES) as engine:
        before = await engine.rules()
    with pytest.raises(InvalidValueError, match="circle: notify → settle → notify"):
        async with reopen_engine(FollowUp("settle", of="notify", to={S.COMPLETED})):
            pass
    async with reopen_engine() as engine:
        assert await engine.rules() == before


async def test_kept_rules_count_for_the_limits(reopen_engine: Open) -> None:
    some = [FollowUp(f"a{n}", to={S.FAILED}) for n in range(128)]
    async with reopen_engine(*some):
        pass
    others = [FollowUp(f"b{n}", to={S.CANCELLED}) for n in range(129)]
    with pytest.raises(InvalidValueError, match="would be 257 with those that are kept, and 256"):
        async with reopen_engine(*others):
            pass
    others = [FollowUp("b", to={S.FAILED})]
    with pytest.raises(
        InvalidValueError, match="a transition create 129 jobs, and 128 are allowed"
    ):
        async with reopen_engine(*others):
            pass


@pytest.mark.parametrize("facade", FACADES)
async def test_births_that_follow_each_other_are_counted_together(facade: type[Any]) -> None:
    """Each kind follows the birth of all before it: the number doubles with each."""
    kinds = [f"{number}" for number in range(100)]
    rules = [FollowUp("0", to={S.RUNNING})]
    rules += [FollowUp(f"{n}", of=kinds[max(0, n - 60) : n], to={S.RUNNING}) for n in range(1, 100)]
    with pytest.raises(InvalidValueError, match="jobs, and 128 are allowed"):
        async with opened_engine(facade, lifecycle=ORDER_LIFECYCLE, follow_ups=rules):
            pass


class _Status(StrEnum):
    OPEN = "open"
    RUNNING = "running"
    DONE = "done"
    LOST = "lost"


_MOVES: dict[_Status, set[_Status]] = {
    _Status.OPEN: {_Status.RUNNING},
    _Status.RUNNING: {_Status.DONE, _Status.LOST},
    _Status.DONE: set(),
    _Status.LOST: set(),
}


def _lifecycle(**more: Any) -> Lifecycle[_Status]:  # noqa: ANN401 - of Lifecycle
    how: dict[str, Any] = {"initial": _Status.OPEN, "running": _Status.RUNNING}
    return Lifecycle(_Status, _MOVES, success={_Status.DONE}, failure={_Status.LOST}, **how, **more)


async def test_rules_get_the_new_names_of_statuses(reopen_engine: Open) -> None:
    async with reopen_engine(*RULES):
        pass
    names = {"completed": _Status.DONE, "failed": _Status.LOST, "cancelled": _Status.LOST}
    async with reopen_engine(lifecycle=_lifecycle(renamed=names)) as engine:
        by_kind = {rule.kind: rule for rule in await engine.rules()}
        assert by_kind["settle"].to == frozenset({_Status.DONE})
        assert by_kind["refund"].to == frozenset({_Status.LOST, "expired"})
        job = await engine.create(start=True)
        await engine.transition(job.job_id, _Status.DONE)
        assert [each.kind for each in await engine.follow_ups(job.job_id)] == ["settle"]


@pytest.mark.parametrize("text", ["[", '{"a": 1}', '[{"kind": "x"}]', '[{"kind": 1, "to": []}]'])
async def test_rules_that_cannot_be_read_refuse_the_opening(text: str) -> None:
    storage = PlainStorage()
    storage.stored_rules = StoredRules(1, text)
    with pytest.raises(StorageDamagedError, match="rules of follow-ups are damaged"):
        async with JobEngine(storage):
            pass


async def test_damaged_rules_in_a_file_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with JobEngine(path, lifecycle=ORDER_LIFECYCLE, follow_ups=RULES):
        pass
    connection = sqlite3.connect(path)
    connection.execute("UPDATE engine SET value = '[]' WHERE name = 'rules'")
    connection.commit()
    connection.close()
    with pytest.raises(StorageDamagedError, match="rules"):
        async with JobEngine(path, lifecycle=ORDER_LIFECYCLE):
            pass
