"""Operations: what an operator asks of an engine and does with its jobs, as JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from engine import (
    ORDER_LIFECYCLE,
    AttemptConflictError,
    DeadlineConflictError,
    FollowUp,
    InvalidStateTransitionError,
    InvalidValueError,
    JobEngine,
    JobNotFoundError,
    StatusConflictError,
    VersionConflictError,
)
from engine import OrderStatus as S
from engine.operations import OPERATIONS, EngineDesk
from engine.owner.commands.read import GetJobs
from engine.owner.core import Core
from engine.portal.time import utc_now

pytestmark = pytest.mark.anyio

MORE: dict[str, dict[str, Any]] = {
    "follow-up": {"rule": "refund"},
    "move": {"status": "completed"},
    "extend": {"deadline": 60.5},
}
REFUND: FollowUp[Any] = FollowUp("refund", to={S.FAILED})


@pytest.fixture
async def engine() -> AsyncIterator[JobEngine[S]]:
    async with JobEngine(lifecycle=ORDER_LIFECYCLE, follow_ups=[REFUND]) as engine:
        yield engine


@pytest.fixture
def desk(engine: JobEngine[S]) -> EngineDesk:
    return EngineDesk(engine.core)


async def _do(desk: EngineDesk, operation: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
    answer = await desk.do(operation, arguments, by="ann")
    assert json.loads(json.dumps(answer)) == answer
    return answer


async def test_a_job_is_started_moved_and_repeated(engine: JobEngine[S], desk: EngineDesk) -> None:
    job = await engine.create("hash", labels={"customer": "bob"})
    started = await _do(desk, "start", job_id=job.job_id, payment_id="p1", reason="paid by hand")
    assert started["status"] == "running"
    assert (await _do(desk, "find", payment="p1"))["job_id"] == job.job_id
    moved = await _do(desk, "move", job_id=job.job_id, status="completed", result="42")
    assert (moved["status"], moved["result"]) == ("completed", "42")
    repeat = await _do(desk, "repeat", job_id=job.job_id)
    assert (repeat["status"], repeat["repeat_of"]) == ("running", job.job_id)
    history = await engine.history(job.job_id)
    assert [(each.by, each.reason) for each in history[1:]] == [
        ("ann", "paid by hand"),
        ("ann", None),
    ]


async def test_a_job_is_told_with_all_that_is_kept_of_it(
    engine: JobEngine[S], desk: EngineDesk
) -> None:
    job = await engine.create("hash", start=True)
    await engine.transition(job.job_id, S.FAILED, error="broke")
    told = await _do(desk, "job", job_id=job.job_id)
    assert told["job"]["error"] == "broke"
    assert [line["to_status"] for line in told["history"]] == ["running", "failed"]
    assert [each["kind"] for each in told["follow_ups"]] == ["refund"]
    by_hand = await _do(desk, "follow-up", job_id=job.job_id, rule="refund")
    assert by_hand["job_id"] == told["follow_ups"][0]["job_id"]
    assert [rule["kind"] for rule in await _do(desk, "rules")] == ["refund"]


async def test_an_act_stands_in_the_audit(engine: JobEngine[S], desk: EngineDesk) -> None:
    job = await engine.create("hash", start=True)
    seen = {"job_id": job.job_id, "expected_status": "running"}
    await _do(desk, "extend", **seen, deadline=60, reason="slow today")
    await _do(desk, "cancel", **seen)
    with pytest.raises(StatusConflictError):
        await _do(desk, "cancel", **seen)
    told = await _do(desk, "audit", job_id=job.job_id)
    assert [(each["by"], each["action"], each["reason"]) for each in told["lines"]] == [
        *(("ann", "cancel", None), ("ann", "extend", "slow today"))
    ]
    assert told["lines"][1]["arguments"] == {"status": "running", "deadline": 60.0}
    first = await _do(desk, "audit", limit=1)
    [second] = (await _do(desk, "audit", before=first["next"]))["lines"]
    assert second == told["lines"][1]


async def test_an_empty_reason_is_none(engine: JobEngine[S], desk: EngineDesk) -> None:
    job = await engine.create("hash")
    of_job = {"job_id": job.job_id, "reason": ""}
    await _do(desk, "extend", **of_job, deadline=60)
    await _do(desk, "start", **of_job)
    await _do(desk, "each", act="cancel", jobs=[{"job_id": job.job_id}], arguments={"reason": ""})
    for operation in ("pause", "resume"):
        await _do(desk, operation, kind="report", reason="")
    await _do(desk, "drain", reason="")
    await _do(desk, "prune", keep=0, reason="")
    entries = await engine.audit()
    assert [each.action for each in entries[::-1]] == [
        *("extend", "start", "cancel", "pause", "resume", "drain", "prune")
    ]
    assert {each.reason for each in entries} == {None}


async def test_jobs_come_in_pages(engine: JobEngine[S], desk: EngineDesk) -> None:
    made = [(await engine.create("hash")).job_id for _ in range(3)]
    first = await _do(desk, "jobs", limit=2)
    assert [job["job_id"] for job in first["jobs"]] == made[:0:-1]
    second = await _do(desk, "jobs", limit=2, after=first["next"])
    assert ([job["job_id"] for job in second["jobs"]], second["next"]) == (made[:1], None)
    assert (await _do(desk, "jobs", stuck=60))["jobs"] == []
    assert (await _do(desk, "statistics"))["jobs"]["awaiting_payment"] == 3
    assert (await _do(desk, "lifecycle"))["initial"] == "awaiting_payment"


async def test_an_act_is_guarded_by_what_was_seen(engine: JobEngine[S], desk: EngineDesk) -> None:
    job = await engine.create("hash", start=True)
    for name in ("cancel", "repeat", "retry", "start", "follow-up", "move", "extend"):
        more = MORE.get(name, {})
        with pytest.raises(StatusConflictError, match="is in running, not in awaiting_payment"):
            await _do(desk, name, job_id=job.job_id, expected_status="awaiting_payment", **more)
        with pytest.raises(VersionConflictError):
            await _do(desk, name, job_id=job.job_id, expected_version=7, **more)
        with pytest.raises(AttemptConflictError, match="is at attempt 0, not 1"):
            await _do(desk, name, job_id=job.job_id, expected_attempt=1, **more)
    assert await engine.get(job.job_id) == job
    cancelled = await _do(desk, "cancel", job_id=job.job_id, expected_status="running")
    assert cancelled["outcome"] == "cancelled"


async def test_an_extension_is_guarded_by_the_deadline_that_was_seen(
    engine: JobEngine[S], desk: EngineDesk
) -> None:
    job = (await engine.create("hash", start=True)).job_id

    async def extend(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        extended: dict[str, Any] = await _do(desk, "extend", job_id=job, deadline=60.5, **more)
        return extended

    first = await extend(expected_deadline=None)
    with pytest.raises(DeadlineConflictError, match=r"in running is 20.*Z, not none: read"):
        await extend(expected_deadline=None)
    second = await extend(expected_deadline=first["deadline_at"])
    assert second["deadline_at"] > first["deadline_at"]
    with pytest.raises(DeadlineConflictError):
        await extend(expected_deadline=first["deadline_at"])
    other = {"status": "needs_attention"}
    await extend(**other, expected_deadline=None)
    told = (await extend(**other, expected_deadline=60.5))["deadlines"]["needs_attention"]
    assert told == "PT1M0.5S"
    await extend(**other, expected_deadline=told)
    with pytest.raises(DeadlineConflictError, match=r"is PT1M0\.5S, not PT1M: read"):
        await extend(**other, expected_deadline="PT60S")
    with pytest.raises(DeadlineConflictError, match=r"is 20.*Z, not PT1M0\.5S: read"):
        await extend(expected_deadline=told)  # of the present status it is a time
    for wrong in ("2026-11-30T12:00:00", "soon", "60", "-PT5S", "P", "P9999999Y", -1):
        with pytest.raises(InvalidValueError, match=r"^expected_deadline "):
            await extend(expected_deadline=wrong)
    seen = [{"job_id": job, "expected_deadline": at} for at in (None, second["deadline_at"])]
    asked = {"act": "extend", "arguments": {"deadline": None}}
    outcomes = [await _do(desk, "each", jobs=[each], **asked) for each in seen]
    assert [[*outcome[0]][1] for outcome in outcomes] == ["error", "job"]
    assert (await engine.get(job)).deadline_at is None


async def test_a_job_that_ends_meanwhile_is_not_followed_up_as_it_was_seen(
    engine: JobEngine[S], desk: EngineDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await engine.create("hash", start=True)
    ask = Core.ask

    async def ask_and_end(core: Core[Any], message: Any, **how: Any) -> Any:  # noqa: ANN401 - of any message
        answer = await ask(core, message, **how)
        if isinstance(message, GetJobs):
            monkeypatch.setattr(Core, "ask", ask)
            await engine.transition(job.job_id, S.COMPLETED)
        return answer

    monkeypatch.setattr(Core, "ask", ask_and_end)
    with pytest.raises(InvalidStateTransitionError):
        seen = {"expected_status": "running", "expected_version": job.version}
        await _do(desk, "follow-up", job_id=job.job_id, rule="refund", **seen)
    assert await engine.follow_ups(job.job_id) == []


async def test_ended_jobs_are_pruned_in_parts(engine: JobEngine[S], desk: EngineDesk) -> None:
    for job in [await engine.create("hash", start=True) for _ in range(5)]:
        await engine.transition(job.job_id, S.COMPLETED)
    for more, removed in (({"most": 2}, 2), ({"most": 9}, 2), ({}, 0), ({"older_than": 0.0}, 1)):
        answer = await _do(desk, "prune", keep=1, reason="old", **more)
        assert answer == {"removed": removed}
    entries = await engine.audit()
    assert [each.arguments["removed"] for each in entries] == [1, 2, 2]
    assert {(each.action, each.by, each.reason) for each in entries} == {("prune", "ann", "old")}
    refused: dict[str, list[Any]] = {
        "older_than": [-1, 1e300, True],
        "keep": [-1],
        "most": [0, 10_001],
    }
    for field, wrong in refused.items():
        for each in wrong:
            with pytest.raises(InvalidValueError, match=f"^{field}"):
                await _do(desk, "prune", **{"keep": 0, field: each})
    with pytest.raises(InvalidValueError, match=r"^older_than is missing"):
        await _do(desk, "prune")


async def test_a_deadline_is_given_as_a_length_or_a_time(
    engine: JobEngine[S], desk: EngineDesk
) -> None:
    job = await engine.create("hash")
    for length in (90, "PT1M30S"):
        later = await _do(desk, "extend", job_id=job.job_id, deadline=length)
        assert later["deadlines"] == {"awaiting_payment": "PT1M30S"}
    fixed = await _do(desk, "extend", job_id=job.job_id, deadline="2199-01-01T00:00:00Z")
    assert fixed["deadlines"] == {"awaiting_payment": "2199-01-01T00:00:00.000000Z"}
    assert "deadlines" not in await _do(desk, "extend", job_id=job.job_id, deadline=None)
    for wrong in (1e300, -1, "soon", "PT0S", "P-1D", True):
        with pytest.raises(InvalidValueError, match=r"^deadline"):
            await _do(desk, "extend", job_id=job.job_id, deadline=wrong)


async def test_an_act_on_several_jobs_tells_of_each(engine: JobEngine[S], desk: EngineDesk) -> None:
    made = [(await engine.create("hash")).job_id for _ in range(3)]
    await engine.start(made[1])
    seen = [{"job_id": each, "expected_status": "awaiting_payment"} for each in [*made, "none"]]
    outcomes = await _do(desk, "each", act="cancel", jobs=seen, arguments={"reason": "closed"})
    assert [each["job_id"] for each in outcomes] == [*made, "none"]
    assert [each.get("error", {}).get("name") for each in outcomes] == [
        *(None, "StatusConflictError", None, "JobNotFoundError")
    ]
    assert outcomes[0]["job"]["outcome"] == "cancelled"
    done = await engine.create(input="long", start=True)
    await engine.transition(done.job_id, S.COMPLETED, result="long")
    [again] = await _do(desk, "each", act="repeat", jobs=[{"job_id": done.job_id}])
    assert {"input", "result"} & {*again["job"]} == set()
    with pytest.raises(InvalidValueError, match="jobs must be up to 100, not 101"):
        await _do(desk, "each", act="cancel", jobs=[{"job_id": "a"}] * 101)
    with pytest.raises(InvalidValueError, match=r"^act 'list' is not one of retry, cancel"):
        await _do(desk, "each", act="list", jobs=[])


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_wrong_arguments_are_told_by_their_names(desk: EngineDesk, operation: str) -> None:
    with pytest.raises(InvalidValueError, match=r"unknown field|missing required"):
        OPERATIONS[operation].checked({"unheard_of": 1})
    with pytest.raises(InvalidValueError, match="operation 'unheard of' is not one of lifecycle"):
        await desk.do("unheard of", {})
    if operation in {"job", "retry", "cancel", "start", "repeat"}:
        with pytest.raises(JobNotFoundError):
            await desk.do(operation, {"job_id": "unheard of"})
        with pytest.raises(InvalidValueError, match=r"^job_id can't be read: Expected `str`"):
            await desk.do(operation, {"job_id": 7})


async def test_gates_are_paused(engine: JobEngine[S], desk: EngineDesk) -> None:
    paused = await _do(desk, "pause", gate="Bank 7", reason="it lies")
    assert paused == {"gate": "Bank 7", "changed": True}
    [told] = await _do(desk, "paused")
    assert (told["kind"], told["gate"], told["by"]) == (None, "Bank 7", "ann")
    assert await _do(desk, "resume", gate="Bank 7") == {"gate": "Bank 7", "changed": True}
    for wrong in ({}, {"kind": "a", "gate": "b"}):
        with pytest.raises(InvalidValueError, match=r"^kind must be given, or else `gate`"):
            await desk.do("pause", wrong)
    assert await engine.paused() == []


async def test_kinds_are_paused_and_the_engine_is_drained(
    engine: JobEngine[S], desk: EngineDesk
) -> None:
    paused = await _do(desk, "pause", kind="report", reason="fire")
    assert paused == {"kind": "report", "changed": True}
    assert (await _do(desk, "pause", kind="report"))["changed"] is False
    [told] = await _do(desk, "paused")
    assert (told["kind"], told["by"], told["reason"]) == ("report", "ann", "fire")
    assert await _do(desk, "resume", kind="report") == {"kind": "report", "changed": True}
    assert (await _do(desk, "paused"), await engine.paused()) == ([], [])
    assert await _do(desk, "drain") == {"engine_id": None, "draining": True}
    assert (await _do(desk, "statistics"))["draining"] is True
    await _do(desk, "drain", undo=True)
    assert not (await engine.statistics()).draining
    with pytest.raises(InvalidValueError, match="engine_id"):
        await _do(desk, "drain", engine_id=7)


async def test_a_list_has_the_data_of_jobs_if_it_is_asked_for(
    engine: JobEngine[S], desk: EngineDesk
) -> None:
    job = await engine.create(input={"pages": 3}, start=True)
    await engine.transition(job.job_id, S.COMPLETED, result="done")
    [listed] = (await _do(desk, "jobs"))["jobs"]
    assert listed.keys() & {"input", "input_hash", "result"} == set()
    [whole] = (await _do(desk, "jobs", whole=True))["jobs"]
    assert (whole["input"], whole["result"]) == ({"pages": 3}, "done")
    assert whole == (await _do(desk, "job", job_id=job.job_id))["job"]
    assert whole == {**listed, **{name: whole[name] for name in ("input", "input_hash", "result")}}


@pytest.mark.parametrize("newest_first", [True, False])
async def test_a_page_of_long_texts_ends_early_and_goes_on(
    engine: JobEngine[S],
    desk: EngineDesk,
    newest_first: bool,  # noqa: FBT001 - of the parameters
) -> None:
    made = list[str]()
    for size in (150_000, 100_000, 1_048_576, 10, 150_000, 125_000):
        job = await engine.create("hash", start=True)
        await engine.transition(job.job_id, S.COMPLETED, result="x" * size)
        made.append(job.job_id)
    pages, asked = list[list[str]](), {"newest_first": newest_first, "whole": True}
    after: str | None = None
    while True:
        page = await _do(desk, "jobs", after=after, **asked)
        pages.append([job["job_id"] for job in page["jobs"]])
        if (after := page["next"]) is None:
            break
    sizes = [1, 2, 1, 2] if newest_first else [2, 1, 2, 1]
    assert [*map(len, pages)] == sizes
    in_order = [*reversed(made)] if newest_first else made
    assert [job_id for page in pages for job_id in page] == in_order
    lean = await _do(desk, "jobs", newest_first=newest_first)
    assert (len(lean["jobs"]), lean["next"]) == (6, None)


async def test_jobs_are_counted_up_to_a_number(engine: JobEngine[S], desk: EngineDesk) -> None:
    for kind in ("report", "report", "translation"):
        await engine.create("hash", kind=kind)
    for asked, jobs, more in (
        ({"kind": "report"}, 2, False),
        ({"at_most": 2}, 2, True),
        ({"status": "completed"}, 0, False),
    ):
        counted = await _do(desk, "count", **asked)
        at = datetime.fromisoformat(counted.pop("at"))
        assert counted == {"jobs": jobs, "more": more}
        assert timedelta(0) <= utc_now() - at < timedelta(minutes=1)
