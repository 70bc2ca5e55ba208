"""Acts: by forms without JavaScript, each as the state that was seen, and by whom."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import date, timedelta
from enum import Enum
from typing import Any, Literal

import anyio
import pytest
from pydantic import BaseModel, Field
from starlette.requests import Request

from engine import Context, Handler, InvalidValueError, Job, JobEngine, Retry, Worker
from engine import OrderStatus as S
from engine.operations import EngineDesk
from engine.web.dashboard import Dashboard
from engine.web.dashboard.bodies import form_of
from tests.unit.claiming import claimed_one, release
from tests.unit.web.dashboard.browsing import Browser, Page
from tests.unit.web.dashboard.conftest import as_said, client_of

pytestmark = pytest.mark.anyio


async def page_of(browser: Browser, job: Job[S]) -> Page:
    return await browser.get("/job", id=job.job_id)


async def test_a_job_is_started_with_its_payment(engine: JobEngine[S], browser: Browser) -> None:
    job = await engine.create()
    page = await page_of(browser, job)
    assert not {"retry", "answer", "repeat", "follow-up"} & {form.name for form in page.forms}
    after = await browser.send(page.form("start"), payment_id="pay-7", reason="paid in cash")
    assert (after.status, "Started." in after.text) == (200, True)
    started = await engine.get(job.job_id)
    assert (started.status, started.payment_id) == (S.RUNNING, "pay-7")
    line = (await engine.history(job.job_id))[-1]
    assert (line.by, line.reason) == ("ann", "paid in cash")


async def test_the_audit_says_who_has_acted(engine: JobEngine[S], browser: Browser) -> None:
    assert "Nobody has acted." in (await browser.get("/audit")).text
    job, other = await engine.create(), await engine.create()
    page = await browser.send((await page_of(browser, job)).form("start"), reason="paid in cash")
    for text in ("Who has acted", "ann", "start", "paid in cash"):
        assert text in page.text
    for number in range(101):
        later = timedelta(hours=number + 1)
        await engine.extend(other.job_id, S.RUNNING, later, by="bob", reason=f"for {number}.")
    audit = await browser.get("/audit")
    assert ("bobextend" in audit.text, "paid in cash" in audit.text) == (True, False)
    older = await browser.follow(audit.links["Older"])
    assert ("for 0." in older.text, "paid in cash" in older.text) == (True, True)
    of_one = await browser.get("/audit", job=job.job_id)
    assert ("paid in cash" in of_one.text, "bob" in of_one.text) == (True, False)
    assert (await browser.get("/audit", before="x")).status == 422


async def test_a_job_is_moved_cancelled_repeated_and_followed(
    engine: JobEngine[S], browser: Browser
) -> None:
    job = await engine.create(start=True, input="x")
    page = await page_of(browser, job)
    failed = await browser.send(page.form("move"), status="failed", error="by hand")
    assert ("failed" in failed.text, "by hand" in failed.text) == (True, True)
    repeat = await browser.send(failed.form("repeat"))
    assert "This is its repeat." in repeat.text
    assert repeat.links[job.job_id]
    cancelled = await browser.send(repeat.form("cancel"), reason="not needed")
    assert "cancelled: not needed" in cancelled.text
    followed = await browser.send(cancelled.form("follow-up"), rule="refund")
    assert "This is its follow-up." in followed.text
    assert "kindrefund" in followed.text.replace(" ", "")


async def test_a_deadline_is_set_and_taken_away(engine: JobEngine[S], browser: Browser) -> None:
    job = await engine.create()
    page = await browser.send(
        (await page_of(browser, job)).form("extend"), deadline="1.5", unit="3600"
    )
    assert "It has another deadline." in page.text
    assert (await engine.get(job.job_id)).deadlines == {"awaiting_payment": timedelta(hours=1.5)}
    page = await browser.send(page.form("extend"), unit="never")
    assert (await engine.get(job.job_id)).deadlines == {}
    wrong = await browser.send(page.form("extend"), deadline="soon")
    assert (wrong.status, "deadline must be a number" in wrong.text) == (422, True)


async def test_a_form_does_not_replace_a_deadline_that_was_set_since(
    engine: JobEngine[S], browser: Browser
) -> None:
    job = await engine.create()
    stale = (await page_of(browser, job)).form("extend")
    page = await browser.send(stale, deadline="2", unit="3600")
    assert page.status == 200
    kept = await engine.get(job.job_id)
    refused = await browser.send(stale, deadline="5", unit="60")
    assert (refused.status, "read it again" in refused.text) == (409, True)
    assert await engine.get(job.job_id) == kept
    assert (await browser.send(refused.form("extend"), unit="never")).status == 200
    refused = await browser.send(page.form("extend"), deadline="5", unit="60")
    assert (refused.status, "is none, not 2" in refused.text) == (409, True)


async def test_a_job_whose_attempts_are_used_up_runs_again(
    engine: JobEngine[S], browser: Browser
) -> None:
    async def work(_: None, context: Context[S]) -> str:
        if context.attempt == 1:
            raise ValueError("not yet")
        return "done"

    job = await engine.create(start=True)
    async with Worker(engine, Handler(work, retry=Retry(1))):
        await engine.wait(job.job_id, until={S.NEEDS_ATTENTION})
        page = await browser.send((await page_of(browser, job)).form("retry"))
        assert "It runs again" in page.text
        assert (await engine.wait(job.job_id)).result == "done"


async def test_a_form_that_comes_again_after_the_next_failure_runs_nothing(
    engine: JobEngine[S], browser: Browser
) -> None:
    seen = list[int]()

    async def fail(_: None, context: Context[S]) -> str:
        seen.append(context.attempt)
        raise ValueError("never")

    async def until_it_waits(attempt: int) -> None:
        def has_failed(now: Job[S]) -> bool:
            return now.attempt == attempt and now.next_attempt_at is not None

        while not has_failed(await engine.get(job.job_id)):  # noqa: ASYNC110 - there is no event
            await anyio.sleep(0.01)

    job = await engine.create(start=True)
    async with Worker(engine, Handler(fail, retry=Retry(9, 3_600.0))):
        await until_it_waits(1)
        form = (await page_of(browser, job)).form("retry")
        assert (await browser.send(form)).status == 200
        await until_it_waits(2)
        again = await browser.send(form)
        assert (again.status, "is at attempt 2, not 1" in again.text) == (409, True)
        assert (await browser.send(again.form("retry"))).status == 200
        await until_it_waits(3)
    assert seen == [1, 2, 3]


async def test_an_act_on_another_version_is_refused_and_shows_the_job_as_it_is(
    engine: JobEngine[S], browser: Browser
) -> None:
    job = await engine.create()
    page = await page_of(browser, job)
    await engine.start(job.job_id)
    refused = await browser.send(page.form("cancel"), reason="too slow")
    assert refused.status == 409
    assert "version" in refused.text
    assert "running" in refused.text
    assert (await engine.get(job.job_id)).status is S.RUNNING
    assert (await browser.send(refused.form("cancel"))).status == 200
    assert (await engine.get(job.job_id)).status is S.CANCELLED


async def test_an_act_that_is_none_is_refused(engine: JobEngine[S], browser: Browser) -> None:
    job = await engine.create()
    form = (await page_of(browser, job)).form("cancel")
    for wrong in ({"act": "each"}, {"act": "lifecycle"}, {"act": ""}, {"version": "one"}):
        assert (await browser.send(form, **wrong)).status == 422
    form.action = form.action.replace(job.job_id, "nothing")
    assert (await browser.send(form)).status == 404
    assert await engine.get(job.job_id) == job


# --- answers ------------------------------------------------------------------------------------


class Tone(Enum):
    FORMAL = "formal"
    WARM = "warm"


class Wishes(BaseModel):
    pages: int = Field(ge=1, description="Of the whole report")
    price: float
    tone: Tone
    paper: Literal["A4", "A5"]
    due: date
    is_urgent: bool
    title: str = Field(max_length=40)
    note: str | None = None


class Chapter(BaseModel):
    titles: list[str]


@asynccontextmanager
async def asking(engine: JobEngine[S], schema: Any) -> AsyncIterator[Job[S]]:  # noqa: ANN401
    """Let a job ask for a value, and have it as its result."""

    async def ask(_: None, context: Context[S]) -> str:
        answer = context.request_input(schema, timedelta(hours=1), question="What do you wish?")
        return repr(answer)

    job = await engine.create(start=True)
    async with Worker(engine, Handler(ask)):
        yield await engine.wait(job.job_id, until={S.AWAITING_INPUT})


async def test_a_question_is_answered_field_by_field(
    engine: JobEngine[S], browser: Browser
) -> None:
    async with asking(engine, Wishes) as job:
        page = await page_of(browser, job)
        assert {"What do you wish?", "Of the whole report"} <= set(page.lines)
        form = page.form("answer")
        values = {"field_0": "3", "field_1": "9.5", "field_2": '"warm"', "field_3": '"A5"'}
        values |= {"field_4": "2027-01-31", "field_5": "no", "field_6": "Cats & <b>dogs</b>"}
        wrong = await browser.send(form, **{**values, "field_0": "many"})
        assert (wrong.status, "Pages must be a whole number" in wrong.text) == (422, True)
        assert ("field.6", "Cats & <b>dogs</b>") in wrong.form("answer").fields
        wrong = await browser.send(form, **{**values, "field_0": "0"})
        assert wrong.status == 422
        done = await browser.send(wrong.form("answer"), **values)
        assert "Answered." in done.text
        wishes = Wishes(
            pages=3,
            price=9.5,
            tone=Tone.WARM,
            paper="A5",
            due=date(2027, 1, 31),
            is_urgent=False,
            title="Cats & <b>dogs</b>",
        )
        assert (await engine.wait(job.job_id)).result == repr(wishes)
        stale = await browser.send(form, **values)
        assert (stale.status, "is not open" in stale.text) == (409, True)


@pytest.mark.parametrize(
    ("schema", "text", "wrong", "result"),
    [
        (int, "7", "7.5", "7"),
        (str, "a\r\ntext", None, repr("a\r\ntext")),
        (bool, "true", "maybe", "True"),
        (Chapter, '{"titles": ["one"]}', '{"titles": 1}', "Chapter(titles=['one'])"),
        (list[int], "[1, 2]", "[1, NaN]", "[1, 2]"),
    ],
)
async def test_any_other_question_has_one_field(
    engine: JobEngine[S],
    browser: Browser,
    schema: Any,  # noqa: ANN401 - any type
    text: str,
    wrong: str | None,
    result: str,
) -> None:
    async with asking(engine, schema) as job:
        form = (await page_of(browser, job)).form("answer")
        if wrong is not None:
            refused = await browser.send(form, field_0=wrong)
            assert refused.status == 422
            form = refused.form("answer")
        assert (await browser.send(form, field_0=text)).status == 200
        assert (await engine.wait(job.job_id)).result == result


async def test_a_late_answer_is_not_filled_into_the_next_question(
    engine: JobEngine[S], browser: Browser
) -> None:
    async def ask(_: None, context: Context[S]) -> str:
        hour = timedelta(hours=1)
        context.request_input(bool, hour, question="Keep the data?", name="keep")
        context.request_input(bool, hour, question="Delete all?", name="delete")
        return "asked"

    job = await engine.create(start=True)
    async with Worker(engine, Handler(ask)):
        first = await engine.wait(job.job_id, until={S.AWAITING_INPUT})
        form = (await page_of(browser, first)).form("answer")
        assert (await browser.send(form, field_0="yes")).status == 200
        await engine.wait(job.job_id, until={S.AWAITING_INPUT})
        late = await browser.send(form, field_0="yes")
        assert (late.status, "Delete all?" in late.text) == (409, True)
        assert ("field.0", "") in late.form("answer").fields


# --- many jobs ----------------------------------------------------------------------------------


def boxes_of(page: Page) -> list[tuple[str, str]]:
    return [("job", value) for value in page.boxes]


async def confirmed(browser: Browser, page: Page, *more: tuple[str, str], act: str) -> Page:
    return await browser.send(page.form("bulk"), *more, act=act)


async def test_selected_jobs_are_cancelled_as_they_were_seen(
    engine: JobEngine[S], browser: Browser
) -> None:
    first, second, third = [await engine.create() for _ in range(3)]
    page = await browser.get("/jobs")
    chosen = [("job", value) for value in page.boxes[1:]]
    ask = await confirmed(browser, page, *chosen, act="cancel")
    assert "Cancel 2 jobs?" in ask.text
    await engine.start(second.job_id)
    done = await browser.send(ask.forms[0], reason="closed")
    assert "1 done, 1 passed over." in done.text
    assert done.links[second.job_id]
    statuses = [(await engine.get(each.job_id)).status for each in (first, second, third)]
    assert statuses == [S.CANCELLED, S.RUNNING, S.AWAITING_PAYMENT]
    assert (await engine.history(first.job_id))[-1].by == "ann"


async def test_all_that_match_are_frozen_at_the_confirmation(
    engine: JobEngine[S], browser: Browser
) -> None:
    ids = [(await engine.create(kind="report")).job_id for _ in range(1_205)]
    other = await engine.create(kind="other")
    page = await browser.get("/jobs", status="awaiting_payment", kind="report")
    ask = await confirmed(browser, page, ("all", "1"), act="cancel")
    assert "Cancel 1,205 jobs?" in ask.text
    late = await engine.create(kind="report")
    await engine.start(ids[0])
    step = await browser.send(ask.forms[0])
    assert ("not done yet" in step.text, "901 done" in step.text) == (True, True)
    done = await browser.send(step.forms[0])
    assert "1,204 done, 0 passed over." in done.text
    for form in (ask.forms[0], step.forms[0]):  # once more: nothing is left, and none is done twice
        assert "Cancel: done" in (await browser.send(form)).text
    counts = [await engine.count(S.CANCELLED, kind=kind) for kind in ("report", "other")]
    assert counts == [1_204, 0]
    assert (await engine.get(late.job_id)).status is S.AWAITING_PAYMENT
    assert (await engine.get(other.job_id)).status is S.AWAITING_PAYMENT


async def test_a_job_that_comes_to_match_after_the_confirmation_is_passed_over(
    engine: JobEngine[S], browser: Browser
) -> None:
    older = [await engine.create() for _ in range(3)]
    chosen = [await engine.create(start=True) for _ in range(2)]
    page = await browser.get("/jobs", status="running")
    ask = await confirmed(browser, page, ("all", "1"), act="cancel")
    assert "Cancel 2 jobs?" in ask.text
    for job in older:
        await engine.start(job.job_id)
    done = await browser.send(ask.forms[0])
    assert "2 done, 3 passed over." in done.text
    assert f"{older[0].job_id}: it has changed since you were asked" in done.text
    assert [(await engine.get(job.job_id)).status for job in older] == [S.RUNNING] * 3
    assert [(await engine.get(job.job_id)).status for job in chosen] == [S.CANCELLED] * 2


async def test_a_job_that_has_moved_since_the_confirmation_is_passed_over(
    engine: JobEngine[S], browser: Browser
) -> None:
    jobs = [await engine.create(kind="report") for _ in range(2)]
    page = await browser.get("/jobs", kind="report")
    ask = await confirmed(browser, page, ("all", "1"), act="cancel")
    for job in jobs:
        await engine.start(job.job_id)
    assert "0 done, 2 passed over." in (await browser.send(ask.forms[0])).text
    assert [(await engine.get(job.job_id)).status for job in jobs] == [S.RUNNING] * 2


async def test_a_bulk_form_that_comes_again_after_the_next_failures_runs_nothing(
    engine: JobEngine[S], browser: Browser
) -> None:
    async def fail(_: None) -> str:
        raise ValueError("never")

    jobs = [await engine.create(start=True) for _ in range(3)]
    async with Worker(engine, Handler(fail, retry=Retry(1))):
        for job in jobs:
            await engine.wait(job.job_id, until={S.NEEDS_ATTENTION})
        page = await browser.get("/jobs", status="needs_attention")
        forms = [
            (await confirmed(browser, page, ("all", "1"), act="retry")).forms[0],
            (await confirmed(browser, page, *boxes_of(page), act="retry")).forms[0],
        ]
        assert "3 done, 0 passed over." in (await browser.send(forms[0])).text
        for job in jobs:
            await engine.wait(job.job_id, until={S.NEEDS_ATTENTION})
        for form in forms:
            assert "0 done, 3 passed over." in (await browser.send(form)).text
    assert [(await engine.get(job.job_id)).attempt for job in jobs] == [2] * 3


async def test_a_bulk_retry_that_comes_again_leaves_jobs_that_wait_as_running_ones(
    engine: JobEngine[S], browser: Browser
) -> None:
    async def fail_each() -> None:
        for _ in range(3):
            await release(engine, *(await claimed_one(engine)), 3_600, failed=True)

    for _ in range(3):
        await engine.create(start=True)
    await fail_each()
    page = await browser.get("/jobs", status="running")
    form = (await confirmed(browser, page, ("all", "1"), act="retry")).forms[0]
    assert "3 done, 0 passed over." in (await browser.send(form)).text
    await fail_each()
    assert "0 done, 3 passed over." in (await browser.send(form)).text
    jobs = (await engine.list_jobs()).jobs
    assert [(job.attempt, job.next_attempt_at is None) for job in jobs] == [(2, False)] * 3


async def fail_next(engine: JobEngine[S], jobs: int) -> None:
    for _ in range(jobs):
        await release(engine, *(await claimed_one(engine)), failed=True)


@pytest.mark.parametrize("is_selection", [True, False])
async def test_a_bulk_cancellation_means_jobs_whatever_begins_meanwhile(
    engine: JobEngine[S],
    browser: Browser,
    is_selection: bool,  # noqa: FBT001 - of the parameters
) -> None:
    for _ in range(3):
        await engine.create(start=True)
    page = await browser.get("/jobs", status="running")
    chosen = boxes_of(page) if is_selection else [("all", "1")]
    await fail_next(engine, 3)
    ask = await confirmed(browser, page, *chosen, act="cancel")
    await fail_next(engine, 3)
    assert "3 done, 0 passed over." in (await browser.send(ask.forms[0])).text
    assert await engine.count(S.CANCELLED) == 3


async def test_a_cancellation_means_the_job_whatever_begins_meanwhile(
    engine: JobEngine[S], browser: Browser
) -> None:
    job = await engine.create(start=True)
    form = (await page_of(browser, job)).form("cancel")
    await fail_next(engine, 1)
    assert (await browser.send(form)).status == 200
    assert (await engine.get(job.job_id)).status is S.CANCELLED


class FullDesk(EngineDesk):
    """Fails on some jobs, as the desk of an engine whose disk is full for a while."""

    full_for: Collection[str] = ()

    async def do(
        self, operation: str, arguments: Mapping[str, Any], *, by: str | None = None
    ) -> Any:  # noqa: ANN401 - any JSON value
        if operation != "each":
            return await super().do(operation, arguments, by=by)
        error = {"name": "StorageFullError", "text": "the disk is full"}
        outcomes = []
        for job in arguments["jobs"]:
            if job["job_id"] in self.full_for:
                outcomes.append({"job_id": job["job_id"], "error": error})
            else:
                outcomes += await super().do(operation, {**arguments, "jobs": [job]}, by=by)
        return outcomes


async def test_a_bulk_act_stops_where_the_storage_fails_and_goes_on_from_there(
    engine: JobEngine[S],
) -> None:
    jobs = [await engine.create() for _ in range(205)]
    desk = FullDesk(engine.core)
    desk.full_for = {jobs[150].job_id, jobs[151].job_id}
    async with client_of(Dashboard(desk, authorize=as_said)) as client:
        browser = Browser(client)
        page = await browser.get("/jobs", status="awaiting_payment")
        ask = await confirmed(browser, page, ("all", "1"), act="cancel")
        stopped = await browser.send(ask.forms[0], reason="closed")
        assert "99 done, 0 passed over, 2 failed." in stopped.text
        assert f"{jobs[150].job_id}: the disk is full" in stopped.text
        assert await engine.count(S.CANCELLED) == 99
        desk.full_for = ()
        assert "205 done, 0 passed over." in (await browser.send(stopped.forms[0])).text
    assert await engine.count(S.CANCELLED) == 205
    assert (await engine.history(jobs[0].job_id))[-1].reason == "closed"


async def test_a_bulk_act_of_nothing_or_of_a_forged_form_is_refused(
    engine: JobEngine[S], browser: Browser
) -> None:
    job = await engine.create()
    page = await browser.get("/jobs")
    nothing = await confirmed(browser, page, act="cancel")
    assert "Nothing is selected." in nothing.text
    for wrong in ("x", "%5B1%5D", "7", "%5B" * 9_999):
        assert (await confirmed(browser, page, ("job", wrong), act="cancel")).status == 422
    for act in ("move", "each", ""):
        assert (await confirmed(browser, page, ("all", "1"), act=act)).status == 422
    too_many = [("job", page.boxes[0])] * 2_001
    assert (await confirmed(browser, page, *too_many, act="cancel")).status == 422
    assert await engine.get(job.job_id) == job


async def test_a_form_without_an_end_is_not_read_on() -> None:
    parts = 0

    async def receive() -> dict[str, Any]:
        nonlocal parts
        parts += 1
        return {"type": "http.request", "body": b"a" * 1_000_000, "more_body": True}

    with pytest.raises(InvalidValueError, match="body may have 4,194,304 bytes"):
        await form_of(Request({"type": "http", "method": "POST"}, receive))
    assert parts == 5
