"""The audit: each call that says who makes it leaves a line, if it has changed something."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import (
    ORDER_LIFECYCLE,
    AuditEntry,
    CommitUnknownError,
    FollowUp,
    Gate,
    InvalidStateTransitionError,
    InvalidValueError,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    Move,
    NewJob,
    OrderStatus,
    SQLiteStorage,
    StorageError,
    SyncJobEngine,
    Worker,
)
from engine.storage.audit import MAX_ARGUMENTS_CHARACTERS, AuditLine, arguments_text
from engine.testing.facades import FACADES, Engine, opened_engine
from engine.testing.virtual_clock import VirtualClock
from tests.tries import thorough
from tests.unit.claiming import NewPlace, claimed_one, release
from tests.unit.failing import FailingStorage
from tests.unit.owner.test_asking import ask

pytestmark = pytest.mark.anyio

O = OrderStatus  # noqa: E741 - it stands in many lines
US = {"by": "us", "reason": "why not"}
RULES = (FollowUp("settle", to={O.COMPLETED}), FollowUp("refund", to={O.FAILED}, started=True))


@pytest.fixture(params=["awaited in memory", "blocking in memory", *thorough("blocking in a file")])
async def orders(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    facade = JobEngine if request.param.startswith("awaited") else SyncJobEngine
    place = tmp_path / "jobs.db" if request.param.endswith("file") else None
    how: dict[str, Any] = {"lifecycle": ORDER_LIFECYCLE, "follow_ups": RULES}
    async with opened_engine(facade, place, **how) as opened:
        yield opened


async def newest(engine: Engine) -> tuple[str, str | None, dict[str, Any]]:
    """Return the newest entry of the audit, made by us."""
    [entry] = await engine.audit(limit=1)
    assert (entry.by, entry.reason) == ("us", "why not")
    return entry.action, entry.job_id, entry.arguments


async def test_each_call_leaves_an_entry_for_the_job_that_it_changes(orders: Engine) -> None:
    job_id = (await orders.create("hash", **US)).job_id
    assert await orders.audit() == []
    noon = datetime(2099, 3, 1, 12, tzinfo=UTC)
    await orders.extend(job_id, O.AWAITING_PAYMENT, timedelta(hours=2), **US)
    arguments: dict[str, Any] = {"status": "awaiting_payment", "deadline": 7_200.0}
    assert await newest(orders) == ("extend", job_id, arguments)
    await orders.extend(job_id, O.RUNNING, noon, **US)
    arguments = {"status": "running", "deadline": noon.isoformat()}
    assert await newest(orders) == ("extend", job_id, arguments)
    await orders.extend(job_id, O.RUNNING, None, **US)
    assert await newest(orders) == ("extend", job_id, {"status": "running", "deadline": None})
    await orders.start(job_id, payment_id="p", **US)
    assert await newest(orders) == ("start", job_id, {"payment_id": "p"})
    await orders.transition(job_id, O.NEEDS_ATTENTION, **US)
    assert await newest(orders) == ("move", job_id, {"status": "needs_attention"})
    await orders.retry(job_id, **US)
    assert await newest(orders) == ("retry", job_id, {})
    await orders.transition(job_id, O.COMPLETED, result="secret", **US)
    assert await newest(orders) == ("move", job_id, {"status": "completed"})
    child = await orders.follow_up(job_id, "refund", **US)
    asked = {"rule": "refund", "parent_id": child.parent_id}
    assert await newest(orders) == ("follow-up", child.job_id, asked)
    other = (await orders.create("hash", start=True)).job_id
    await orders.cancel(other, "why not", by="us")
    assert await newest(orders) == ("cancel", other, {})
    assert len(await orders.audit()) == 9  # and none of the follow-up that the rule has created


async def test_a_repeat_leaves_an_entry_for_either_job(orders: Engine) -> None:
    job_id = (await orders.create("hash")).job_id
    await orders.cancel(job_id)
    repeat = await orders.repeat(job_id, **US)
    assert [(each.action, each.job_id) for each in await orders.audit()] == [
        ("repeat", job_id),
        ("repeat", repeat.job_id),
    ]
    await orders.repeat(job_id, **US)
    assert len(await orders.audit()) == 2


async def test_an_answer_leaves_an_entry_without_its_value(new_place: NewPlace) -> None:
    async with JobEngine(new_place(), lifecycle=ORDER_LIFECYCLE) as engine:
        job_id = (await engine.create("hash", start=True)).job_id
        await ask(engine, "p-1", str)
        await engine.provide_input(job_id, "p-1", "secret", **US)
        assert await newest(engine) == ("answer", job_id, {"prompt_id": "p-1"})
        assert "secret" not in str(await engine.audit())


async def test_each_move_of_a_bulk_call_has_an_entry(orders: Engine) -> None:
    ids = [(await orders.create("hash", start=True)).job_id for _ in range(3)]
    await orders.transition_many(
        [
            Move(ids[0], O.AWAITING_INPUT, by="ann"),
            Move(ids[1], O.COMPLETED),
            Move(ids[2], O.COMPLETED, reason="nobody says"),
            Move(ids[0], O.RUNNING, expected_status=O.AWAITING_INPUT, by="bob", reason="enough"),
        ]
    )
    bob, ann = await orders.audit()
    assert (ann.by, ann.job_id, ann.arguments) == ("ann", ids[0], {"status": "awaiting_input"})
    assert (bob.by, bob.job_id, bob.reason) == ("bob", ids[0], "enough")
    with pytest.raises(JobNotFoundError):
        await orders.transition_many([Move(ids[0], O.COMPLETED, by="ann"), Move("?", O.RUNNING)])
    assert len(await orders.audit()) == 2


async def test_an_entry_is_of_the_time_of_its_transition(orders: Engine) -> None:
    job_id = (await orders.create("hash")).job_id
    await orders.start(job_id, **US)
    [entry] = await orders.audit()
    assert entry.at == (await orders.history(job_id))[-1].at
    assert AuditEntry.model_validate(entry.model_dump()) == entry
    assert hash(entry) == hash(entry.model_copy())


async def test_what_changes_nothing_leaves_nothing(orders: Engine) -> None:
    job_id = (await orders.create("hash", idempotency_key="k", **US)).job_id
    await orders.create_many([NewJob("hash", idempotency_key="k", by="us")])
    await orders.start(job_id)
    await orders.start(job_id, **US)
    with pytest.raises(InvalidStateTransitionError):
        await orders.transition(job_id, O.RUNNING, **US)
    await orders.cancel(job_id)
    await orders.cancel(job_id, **US)
    assert not await orders.remove_rule("unheard-of", **US)
    assert await orders.enable_rule("settle", **US)
    assert await orders.audit() == []


async def test_calls_about_rules_leave_entries_of_no_job(orders: Engine) -> None:
    assert await orders.disable_rule("settle", **US)
    assert await newest(orders) == ("disable rule", None, {"kind": "settle"})
    assert await orders.enable_rule("settle", **US)
    assert await newest(orders) == ("enable rule", None, {"kind": "settle"})
    assert await orders.remove_rule("settle", **US)
    assert await newest(orders) == ("remove rule", None, {"kind": "settle"})
    assert await orders.remove_rule("refund")
    assert len(await orders.audit()) == 3


async def test_calls_about_kinds_and_engines_leave_entries_of_no_job(orders: Engine) -> None:
    for _ in range(2):
        await orders.pause("report", **US)
        assert await newest(orders) == ("pause", None, {"kind": "report"})
    for _ in range(2):
        await orders.resume("report", **US)
        assert await newest(orders) == ("resume", None, {"kind": "report"})
    assert len(await orders.audit()) == 2
    await orders.drain(**US)
    assert await newest(orders) == ("drain", None, {})
    await orders.drain(undo=True, **US)
    assert await newest(orders) == ("undo drain", None, {})
    await orders.pause("report")
    assert len(await orders.audit()) == 4


async def test_a_backfill_leaves_an_entry_for_each_new_follow_up(orders: Engine) -> None:
    await orders.disable_rule("settle")
    jobs = [await orders.create("hash", start=True) for _ in range(3)]
    for job in jobs:
        await orders.transition(job.job_id, O.COMPLETED)
    await orders.enable_rule("settle")
    assert await orders.follow_up(jobs[0].job_id, "settle")
    since = jobs[0].created_at
    assert await orders.backfill("settle", since=since, **US) == 2
    entries = await orders.audit()
    children = [await orders.follow_ups(job.job_id) for job in jobs[1:]]
    assert {entry.job_id for entry in entries} == {child.job_id for [child] in children}
    assert {entry.action for entry in entries} == {"backfill"}
    assert entries[0].arguments == {"rule": "settle", "since": since.isoformat()}


@pytest.mark.parametrize("facade", FACADES)
async def test_a_backup_leaves_an_entry_behind_the_copy(facade: Any, tmp_path: Path) -> None:  # noqa: ANN401 - either facade
    copy = tmp_path / "copy.db"
    async with opened_engine(facade, tmp_path / "jobs.db") as engine:
        await engine.backup(copy, **US)
        assert await newest(engine) == ("backup", None, {"path": str(copy)})
        with pytest.raises(StorageError):
            await engine.backup(copy, **US)
        assert len(await engine.audit()) == 1
        with pytest.raises(InvalidValueError, match="by must"):
            await engine.backup(tmp_path / "other.db", by="")
        assert not (tmp_path / "other.db").exists()
    async with opened_engine(facade, copy) as engine:
        assert await engine.audit() == []


class NotingNothing(SQLiteStorage):
    """Refuses acts on no job, as a disk does that is full by now."""

    async def note_acts(self, lines: Sequence[AuditLine]) -> None:
        raise StorageError(f"the disk is full: {lines}")


@pytest.mark.parametrize("facade", FACADES)
async def test_a_good_backup_whose_entry_fails_is_no_failure(
    facade: Any,  # noqa: ANN401 - either facade
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    copy = tmp_path / "copy.db"
    async with opened_engine(facade, NotingNothing(tmp_path / "jobs.db")) as engine:
        await engine.backup(copy, **US)
    assert copy.exists()
    [record] = caplog.records
    assert record.getMessage().startswith(f"{copy} is a good copy")
    assert "the disk is full" in caplog.text


async def test_a_rule_is_never_changed_without_its_entry(tmp_path: Path) -> None:
    """Both are written by one call of the storage."""
    async with JobEngine(
        NotingNothing(tmp_path / "jobs.db"), follow_ups=[FollowUp("a", to={JobStatus.COMPLETED})]
    ) as engine:
        assert await engine.disable_rule("a", **US)
        assert await newest(engine) == ("disable rule", None, {"kind": "a"})


async def test_workers_and_gates_leave_nothing(new_place: NewPlace) -> None:
    async def check(jobs: Any) -> Any:  # noqa: ANN401 - all of them
        return jobs

    async def work(_job: object) -> str:
        return "done"

    async with (
        JobEngine(new_place(), lifecycle=ORDER_LIFECYCLE, follow_ups=RULES) as engine,
        Gate(engine, check, interval_seconds=0.01),
        Worker(engine, {"default": work, "settle": work}),
    ):
        job = await engine.create("hash")
        await engine.wait(job.job_id, follow_ups=True, timeout=60)
        assert await engine.audit() == []


async def test_a_deadline_that_passes_in_the_same_round_leaves_nothing() -> None:
    clock = VirtualClock()
    async with JobEngine(lifecycle=ORDER_LIFECYCLE, clock=clock) as engine:
        deadlines = {O.AWAITING_PAYMENT: timedelta(seconds=5)}
        late = await engine.create("late", deadlines=deadlines)
        clock.jump(10)
        with pytest.raises(InvalidStateTransitionError):
            await engine.transition(late.job_id, O.RUNNING, by="us")
        [_, end] = await engine.history(late.job_id)
        assert end.by == "deadline"
        assert await engine.audit() == []


async def test_a_request_to_cancel_is_the_act_and_not_its_end(new_place: NewPlace) -> None:
    async with JobEngine(new_place(), lifecycle=ORDER_LIFECYCLE) as engine:
        job_id = (await engine.create("hash", start=True)).job_id
        _, token = await claimed_one(engine)
        await engine.cancel(job_id, "why not", by="us")
        await engine.cancel(job_id, "again", by="somebody else")
        await release(engine, job_id, token, failed=True)
        assert (await engine.get(job_id)).status is O.CANCELLED
        assert len(await engine.audit()) == 1


async def test_entries_are_read_from_the_newest_on_in_pages(orders: Engine) -> None:
    ids = [(await orders.create("hash")).job_id for _ in range(3)]
    for job_id in ids:
        await orders.start(job_id, by="ann")
        await orders.transition(job_id, O.COMPLETED, by="bob")
    entries = await orders.audit()
    assert [each.number for each in entries] == [6, 5, 4, 3, 2, 1]
    assert await orders.audit(limit=2) == entries[:2]
    assert await orders.audit(limit=2, before=5) == entries[2:4]
    of_one = await orders.audit(job_id=ids[1])
    assert of_one == entries[2:4]
    assert await orders.audit(job_id=ids[1], before=of_one[0].number) == of_one[1:]
    assert await orders.audit(job_id="unheard of") == []
    wrong: list[dict[str, Any]] = [
        {"limit": 0},
        {"limit": 1_001},
        {"before": 0},
        {"before": "1"},
        {"job_id": ""},
        {"limit": True},
    ]
    for each in wrong:
        with pytest.raises(InvalidValueError, match=f"^{next(iter(each))} must"):
            await orders.audit(**each)


async def test_who_and_why_are_bounded(orders: Engine, tmp_path: Path) -> None:
    job_id = (await orders.create("hash")).job_id
    calls: list[Callable[..., Awaitable[object]]] = [
        lambda **who: orders.extend(job_id, O.AWAITING_PAYMENT, None, **who),
        lambda **who: orders.backfill("settle", **who),
        lambda **who: orders.remove_rule("settle", **who),
        lambda **who: orders.disable_rule("settle", **who),
        lambda **who: orders.enable_rule("settle", **who),
        lambda **who: orders.backup(tmp_path / "copy", **who),
    ]
    for call in calls:
        for wrong in ("", "x" * 257, 3, "\0"):
            with pytest.raises(InvalidValueError, match="by must"):
                await call(by=wrong)
        with pytest.raises(InvalidValueError, match="reason must"):
            await call(by="us", reason="x" * 4_097)
    assert await orders.audit() == []
    await orders.start(job_id, by="x" * 256, reason="y" * 4_096)
    [entry] = await orders.audit()
    assert (entry.by, entry.reason) == ("x" * 256, "y" * 4_096)


async def test_an_empty_reason_is_none(orders: Engine) -> None:
    """It may come from the empty field of a form. The rule is the same for each call."""
    empty = {"by": "us", "reason": ""}
    job_id = (await orders.create("hash", **empty)).job_id
    await orders.extend(job_id, O.AWAITING_PAYMENT, None, **empty)
    await orders.start(job_id, **empty)
    await orders.transition(job_id, O.COMPLETED, **empty)
    repeat = await orders.repeat(job_id, **empty)
    await orders.cancel(repeat.job_id, "", by="us")
    for change in (orders.disable_rule, orders.enable_rule, orders.remove_rule):
        await change("settle", **empty)
    await orders.pause("report", **empty)
    [paused] = await orders.paused()
    await orders.resume("report", **empty)
    for undo in (False, True):
        await orders.drain(undo=undo, **empty)
    moves = await orders.history(job_id)
    assert await orders.prune(keep=0, **empty)
    entries = await orders.audit()
    assert len({each.action for each in entries}) == 13
    assert {each.reason for each in (*entries, *moves, paused)} == {None}


async def test_entries_outlive_their_engine_and_their_jobs(lasting_place: NewPlace) -> None:
    async with JobEngine(lasting_place(), lifecycle=ORDER_LIFECYCLE) as engine:
        job_id = (await engine.create("hash")).job_id
        await engine.start(job_id, **US)
        entries = await engine.audit()
    async with JobEngine(lasting_place(), lifecycle=ORDER_LIFECYCLE) as engine:
        assert await engine.audit() == entries
        await engine.cancel(job_id, by="us")
        assert [each.number for each in await engine.audit(job_id=job_id)] == [2, 1]


@pytest.mark.parametrize("applied", [True, False])
async def test_a_line_shares_the_outcome_of_its_batch(applied: bool) -> None:  # noqa: FBT001 - a parameter
    storage = FailingStorage()
    async with JobEngine(storage, lifecycle=ORDER_LIFECYCLE) as engine:
        job_id = (await engine.create("hash")).job_id
        storage.applied, storage.silent = applied, 1
        storage.failures = [CommitUnknownError(StorageError("the sync failed"))]
        with pytest.raises(CommitUnknownError):
            await engine.start(job_id, **US)
        await engine.create("next")
        assert len(await engine.history(job_id)) == 1 + applied
        assert len(await engine.audit()) == applied


async def test_acts_of_one_round_have_their_own_lines(new_place: NewPlace) -> None:
    async with JobEngine(new_place(), lifecycle=ORDER_LIFECYCLE) as engine:
        ids = [(await engine.create("hash")).job_id for _ in range(5)]
        async with anyio.create_task_group() as tasks:
            for job_id in ids:
                for who in ("us", "them"):
                    tasks.start_soon(partial(engine.start, job_id, by=who))
        entries = await engine.audit()
        assert sorted(each.job_id or "" for each in entries) == sorted(ids)
        for entry in entries:
            assert entry.job_id is not None
            assert (await engine.history(entry.job_id))[-1].by == entry.by


@pytest.mark.parametrize("character", ["x", "\\", "\0", "\udc80", "🐍", "ß"])
def test_arguments_that_are_too_long_stay_json(character: str) -> None:
    arguments = {"path": character * 100_000, "kept": 3, "short": "s", "other": character * 300}
    text = arguments_text(arguments)
    assert len(text) <= MAX_ARGUMENTS_CHARACTERS
    assert text.isascii()
    found = json.loads(text)
    assert (found["kept"], found["short"]) == (3, "s")
    assert found["path"].startswith(character)
    assert found["path"].endswith("…")
    whole = {"path": character * 100}
    assert json.loads(arguments_text(whole)) == whole
