"""Every page shows what the engine has, and nothing that is stored is obeyed."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import httpx
import pytest
from anyio import to_thread

from engine import (
    ORDER_LIFECYCLE,
    PAID_JOB_LIFECYCLE,
    Context,
    EngineNotStartedError,
    Handler,
    InvalidValueError,
    JobEngine,
    Retry,
    StorageFullError,
    Worker,
)
from engine import OrderStatus as S
from engine.operations import EngineDesk
from engine.portal.time import utc_now
from engine.web.dashboard import Dashboard
from engine.web.dashboard import job as job_page
from tests.unit.operations.test_throughput import FullStorage
from tests.unit.web.dashboard.browsing import Browser, Page
from tests.unit.web.dashboard.conftest import as_said, client_of
from tests.unit.web.dashboard.test_feed import CountingDesk

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
HOSTILE = '"><script>alert(1)</script>\x1b[31m\u202etxt\x00&amp;{{7*7}}'
SHOWN = r'"><script>alert(1)</script>\x1b[31m\u202etxt\x00&amp;{{7*7}}'


async def test_the_overview_counts_the_jobs(engine: JobEngine[S], browser: Browser) -> None:
    empty = await browser.get("/")
    assert (empty.status, "No jobs." in empty.text) == (200, True)
    for _ in range(2):
        await engine.create(kind="report")
    job = await engine.create(kind="report", start=True, labels={"customer": "ann"})
    page = await browser.get("/")
    assert "2 wait for their start" in page.text
    assert "1 ready" in page.text
    assert "customer=ann" in page.text
    assert page.links[job.job_id] == f"/ops/job?id={job.job_id}"


async def test_the_overview_draws_how_many_jobs_came_and_ended(
    engine: JobEngine[S], browser: Browser
) -> None:
    empty = await browser.get("/")
    assert empty.text.count("No job came or ended.") == 2
    jobs = [await engine.create(start=True) for _ in range(3)]
    await engine.transition(jobs[0].job_id, S.COMPLETED)
    await engine.transition(jobs[1].job_id, S.FAILED)  # creates a refund
    await engine.cancel(jobs[2].job_id)
    page = await Browser(client_of(Dashboard(engine, authorize=as_said))).get("/")
    for name in ("Last hour", "Last day"):
        assert f"{name} 4 created 1 succeeded 1 failed 1 given up" in page.text
    assert page.text.count("4 created, 1 succeeded, 1 failed, 1 given up") == 2  # the columns
    assert "most 4 a minute, times in UTC" in page.text
    assert page.answer.text.count('class="chart"') == 2
    assert "still counting" not in page.text


async def test_the_overview_says_when_not_all_is_counted(
    engine: JobEngine[S], browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.storage.memory.STEP_TRANSITIONS", 1)
    monkeypatch.setattr("engine.operations.overviews._COUNTING_MESSAGES", 1)
    monkeypatch.setattr("engine.web.dashboard.charts._COUNTING_SHARE", 0.0)
    monkeypatch.setattr("engine.web.dashboard.overview._DAY_FRESH_SECONDS", 0.0)
    for _ in range(4):
        await engine.create()
    pages = [await browser.get("/") for _ in range(3)]
    assert "1 created 0 succeeded 0 failed 0 given up so far" in pages[0].text
    assert "4 created 0 succeeded 0 failed 0 given up" in pages[2].text
    assert ["still counting" in page.text for page in pages] == [True, True, False]
    assert [page.body.get("data-every") for page in pages] == ["1", "1", None], "it looks again"


async def test_the_charts_catch_up_however_many_pages_are_open(
    engine: JobEngine[S],
    dashboard: Dashboard,
    browser: Browser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.storage.memory.STEP_TRANSITIONS", 1)
    monkeypatch.setattr("engine.operations.overviews._COUNTING_MESSAGES", 1)
    monkeypatch.setattr("engine.web.dashboard.overview._DAY_FRESH_SECONDS", 0.0)
    for _ in range(20):
        await engine.create()
    feed = dashboard._board.feed  # noqa: SLF001 - as the streams of pages
    cursor = await feed.cursor()
    async with anyio.create_task_group() as open_pages:
        for _ in range(200):
            open_pages.start_soon(feed.after, cursor)
        await anyio.wait_all_tasks_blocked()
        with monkeypatch.context() as slow:
            slow.setattr("engine.web.dashboard.charts._COUNTING_SHARE", 0.0)
            page = await browser.get("/")
            assert ("Last hour 1 created" in page.text, page.body["data-every"]) == (True, "10")
        feed.note_act()  # or the page is kept
        page = await browser.get("/")
        assert "Last hour 20 created" in page.text
        assert ("still counting" in page.text, page.body.get("data-every")) == (False, None)
        open_pages.cancel_scope.cancel()


async def test_a_page_does_not_wait_for_counts_that_can_not_be_written() -> None:
    storage = FullStorage()
    async with JobEngine(storage, lifecycle=ORDER_LIFECYCLE) as engine:
        await engine.create()
        storage.error = StorageFullError("the disk is full")
        page = await Browser(client_of(Dashboard(engine, authorize=as_said))).get("/")
    assert "given up so far: no more counts can be written" in page.text
    assert "data-every" not in page.body


async def test_a_look_at_the_overview_counts_few_transitions(
    engine: JobEngine[S], browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.storage.memory.STEP_TRANSITIONS", 1)
    monkeypatch.setattr("engine.web.dashboard.charts._COUNTING_SHARE", 0.0)
    for _ in range(20):
        await engine.create()
    page = await browser.get("/")
    assert "Last hour 4 created" in page.text
    assert "Last day 8 created" in page.text


async def test_jobs_are_listed_in_pages_newest_first(
    engine: JobEngine[S], browser: Browser
) -> None:
    made = [(await engine.create()).job_id for _ in range(51)]
    page = await browser.get("/jobs")
    assert [link for link in page.links if link in made] == made[:0:-1]
    assert "data-events" in page.body
    older = await browser.follow(page.links["Older"])
    assert [link for link in older.links if link in made] == made[:1]
    assert "Older" not in older.links
    assert (await browser.follow(older.links["Newest"])).text == page.text


async def test_jobs_are_filtered(engine: JobEngine[S], browser: Browser) -> None:
    report = await engine.create(kind="report", labels={"customer": "ann"})
    paid = await engine.create(kind="report", start=True)
    other = await engine.create(kind="other")

    async def found(**query: str) -> set[str]:
        page = await browser.get("/jobs", **query)
        assert page.status == 200
        return {each.job_id for each in (report, paid, other)} & page.links.keys()

    assert await found(status="running") == {paid.job_id}
    assert await found(kind="report") == {report.job_id, paid.job_id}
    assert await found(label="customer=ann", kind="report") == {report.job_id}
    assert await found(q="customer=ann") == {report.job_id}
    assert await found(status="running", stuck="3600") == set()
    assert await found(parents="1") == {report.job_id, paid.job_id, other.job_id}


@pytest.mark.parametrize(
    "query", [{"status": "lost"}, {"label": "ann"}, {"stuck": "long"}, {"after": "x"}]
)
async def test_a_wrong_filter_is_told_on_the_page(browser: Browser, query: dict[str, str]) -> None:
    page = await browser.get("/jobs", **query)
    assert page.status == 422
    assert "must be" in page.text or "is not one of" in page.text or "not" in page.text
    assert page.has_form("bulk")


async def test_a_job_is_found_by_any_of_its_names(engine: JobEngine[S], browser: Browser) -> None:
    job = await engine.create(idempotency_key="order 7", payment_id="pay-7")
    for name in (job.job_id, "order 7", "pay-7"):
        page = await browser.get("/jobs", q=f" {name} ")
        assert page.answer.url.params["id"] == job.job_id
    nothing = await browser.get("/jobs", q="pay-8")
    assert "No job has this id, payment or key: pay-8" in nothing.text


async def test_a_job_is_told_with_its_whole_story(engine: JobEngine[S], browser: Browser) -> None:
    async def fail(given: dict[str, int]) -> None:
        raise ValueError(f"no model for {given}")

    job = await engine.create(
        input={"pages": 3}, labels={"customer": "ann"}, deadlines={S.NEEDS_ATTENTION: HOUR}
    )
    await engine.start(job.job_id, payment_id="pay-7", by="payments", reason="it was paid")
    async with Worker(engine, Handler(fail, retry=Retry(1))):
        await engine.wait(job.job_id, until={S.NEEDS_ATTENTION})
    page = await browser.get("/job", id=job.job_id)
    for text in (
        *("needs_attention", "ValueError: no model for {'pages': 3}", "it was paid", "payments"),
        *("Attempt 1 failed", "pay-7", "in 59 min", '"pages": 3', "label customer"),
    ):
        assert text in page.text, text
    assert "svg" in page.tags
    assert page.answer.text.count('class="box attention now"') == 1
    assert page.answer.text.count("arrow taken") == 2
    await engine.transition(job.job_id, S.FAILED, error="gave up")
    [refund] = await engine.follow_ups(job.job_id)
    parent = await browser.get("/job", id=job.job_id)
    assert "follow-up refund" in parent.text
    child = await browser.follow(parent.links[refund.job_id])
    assert child.links[job.job_id] == f"/ops/job?id={job.job_id}"


async def test_a_long_history_is_shown_in_pages(engine: JobEngine[S], browser: Browser) -> None:
    job = await engine.create(start=True)
    for number in range(125):
        await engine.transition(job.job_id, S.NEEDS_ATTENTION, reason=f"reason {number},")
        await engine.retry(job.job_id, reason=f"again {number},")
    history = await engine.history(job.job_id)
    page = await browser.get("/job", id=job.job_id)
    shown = [_lines_of(page)]
    assert "Newest" not in page.links
    while (older := page.links.get("Older transitions")) is not None:
        page = await browser.follow(older)
        shown.insert(0, _lines_of(page))
        assert "Newest" in page.links
        assert page.body["data-here"] == older
    assert [*map(len, shown)] == [51, 100, 100]
    assert [number for page in shown for number in page] == [line.sequence for line in history]
    last = history[50]
    assert f"{last.reason}" in page.text
    for wrong in ("x", "-1", "9" * 30):
        assert (await browser.get("/job", id=job.job_id, before=wrong)).status == 422


async def test_a_page_of_the_history_may_begin_behind_it(
    engine: JobEngine[S], browser: Browser
) -> None:
    job = await engine.create(start=True)
    await engine.transition(job.job_id, S.NEEDS_ATTENTION)
    first, last = [line.sequence for line in await engine.history(job.job_id)]
    shown = {first: [], last: [first], last + 1: [first, last], 10**9: [first, last]}
    for before, lines in shown.items():
        page = await browser.get("/job", id=job.job_id, before=str(before))
        assert _lines_of(page) == lines, before


def _lines_of(page: Page) -> list[int]:
    """Return the numbers of the transitions on the page of a job."""
    timeline = page.answer.text.partition('id="timeline"')[2].partition("</section>")[0]
    return [int(number) for number in re.findall('<tr data-key="([0-9]+)">', timeline)]


async def test_a_diagram_that_lights_a_part_of_the_way_says_so(
    engine: JobEngine[S], browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await engine.create()
    await engine.start(job.job_id)
    await engine.transition(job.job_id, S.NEEDS_ATTENTION)
    part = "Lit is the way of the transitions below"
    whole = await browser.get("/job", id=job.job_id)
    assert (part in whole.text, _lit(whole)) == (False, 2)
    monkeypatch.setattr(job_page, "_SHOWN_LINES", 2)
    newest = await browser.get("/job", id=job.job_id)
    assert (part in newest.text, _lit(newest)) == (True, 2)
    oldest = await browser.follow(newest.links["Older transitions"])
    assert (part in oldest.text, _lit(oldest)) == (True, 0), "a birth is no move"


def _lit(page: Page) -> int:
    return page.answer.text.count("arrow taken")


async def test_the_last_line_of_an_older_page_tells_its_whole_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_page, "_SHOWN_LINES", 1)
    times = [utc_now() - 5 * HOUR]
    async with JobEngine(lifecycle=ORDER_LIFECYCLE, clock=lambda: times[0]) as engine:
        job = await engine.create()
        times[0] += 2 * HOUR
        await engine.start(job.job_id)
        async with client_of(Dashboard(engine, authorize=as_said)) as client:
            newest = await Browser(client).get("/job", id=job.job_id)
            oldest = await Browser(client).follow(newest.links["Older transitions"])
    spans = [
        re.findall('<td class="span">(.*?)</td>', page.answer.text) for page in (oldest, newest)
    ]
    assert spans == [["2 h"], ["3 h"]]


async def test_a_page_asks_as_much_whatever_the_history(engine: JobEngine[S]) -> None:
    desk = CountingDesk(engine)
    asked, sizes = list[int](), list[int]()
    async with client_of(Dashboard(desk, authorize=as_said)) as client:
        for rounds in (60, 600):
            job = await engine.create(start=True)
            for _ in range(rounds):
                await engine.transition(job.job_id, S.NEEDS_ATTENTION)
                await engine.retry(job.job_id)
            await Browser(client).get("/")  # the shared reads
            desk.asked.clear()
            page = await Browser(client).get("/job", id=job.job_id)
            asked.append(len(desk.asked))
            sizes.append(len(page.answer.text))
    assert asked[0] == asked[1]
    assert abs(sizes[0] - sizes[1]) < 1_000


async def test_a_result_is_folded_and_can_be_hidden(engine: JobEngine[S]) -> None:
    def is_secret(job: dict[str, Any]) -> bool:
        return bool(job["kind"] == "secret")

    hiding = Dashboard(engine, authorize=as_said, hide=is_secret)
    async with client_of(hiding) as client:
        for kind, is_shown in (("open", True), ("secret", False)):
            job = await engine.create(kind=kind, input="a report", start=True)
            await engine.transition(job.job_id, S.COMPLETED, result="42 pages")
            page = await Browser(client).get("/job", id=job.job_id)
            assert ("a report" in page.text, "42 pages" in page.text) == (is_shown, is_shown)
            assert ("are hidden" in page.text) is not is_shown


async def test_the_inbox_has_all_that_waits_for_a_person(
    engine: JobEngine[S], browser: Browser
) -> None:
    assert "Nothing waits for a person." in (await browser.get("/inbox")).text

    async def ask(_: None, context: Context[S]) -> None:
        context.request_input(int, HOUR, question="How many pages?")

    async def fail() -> None:
        raise ValueError("three attempts failed")

    asking = await engine.create(kind="asks", start=True)
    used_up = await engine.create(kind="fails", start=True)
    handlers: dict[str, Handler[Any, Any]] = {
        "asks": Handler(ask),
        "fails": Handler(fail, retry=Retry(1)),
    }
    async with Worker(engine, handlers):
        await engine.wait(asking.job_id, until={S.AWAITING_INPUT})
        await engine.wait(used_up.job_id, until={S.NEEDS_ATTENTION})
    failed = await engine.create(start=True)
    await engine.transition(failed.job_id, S.FAILED, error="broken")
    [refund] = await engine.follow_ups(failed.job_id)
    await engine.transition(refund.job_id, S.FAILED, error="the bank is closed")
    page = await browser.get("/inbox")
    for text in ("How many pages?", "three attempts failed", "the bank is closed"):
        assert text in page.text
    waiting = {asking.job_id, used_up.job_id, refund.job_id}
    assert {link for link in page.links if "-" in link} == waiting
    assert "3 wait for a person" in page.text
    assert failed.job_id not in page.links


async def test_stored_texts_are_shown_and_not_obeyed(
    engine: JobEngine[S], browser: Browser
) -> None:
    hostile = HOSTILE.replace("\x00", "")  # no storage keeps that character
    shown = SHOWN.replace(r"\x00", "")
    job = await engine.create(
        hostile,
        input={hostile: hostile},
        labels={"customer": hostile},
        payment_id=hostile,
        idempotency_key=hostile,
        start=True,
        by=hostile,
        reason=hostile,
    )
    await engine.transition(job.job_id, S.FAILED, error=hostile, by=hostile, reason=hostile)
    await engine.pause("report", by=hostile, reason=hostile)
    await engine.pause(gate=hostile, by=hostile, reason=hostile)
    for path, query in (
        *(("/", {}), ("/inbox", {}), ("/jobs", {}), ("/job", {"id": job.job_id}), ("/audit", {})),
        ("/kinds", {}),
        *(("/jobs", {"q": "no " + hostile}), ("/jobs", {"label": hostile, "kind": hostile})),
    ):
        page = await browser.get(path, **query)
        body = page.answer.text
        assert "<script>alert" not in body, path
        assert not {"\x1b", "\u202e"} & set(page.text), path
        assert shown in page.text or "alert" not in page.text, path
        assert "49" not in page.text.split(), path
    assert (await browser.get("/jobs", q=hostile)).answer.url.params["id"] == job.job_id


@pytest.mark.parametrize(
    "job_id", ["a/b", "..", "?x=1#y", "ä ö", "a%2Fb", "<b>", "a\nb", "\u202eevil", "a" * 256]
)
async def test_a_job_with_any_id_has_a_page(job_id: str) -> None:
    async with JobEngine(lifecycle=ORDER_LIFECYCLE, new_id=lambda: job_id) as engine:
        await engine.create()
        async with client_of(Dashboard(engine, authorize=as_said)) as client:
            browser = Browser(client)
            links = [link for link in (await browser.get("/jobs")).links.values() if "job?" in link]
            page = await browser.follow(links[0])
            assert page.status == 200
            done = await browser.send(page.form("cancel"))
            assert (done.status, "Cancelled" in done.text) == (200, True)
            assert (await engine.get(job_id)).status is S.CANCELLED


async def test_another_lifecycle_has_its_pages() -> None:
    async with JobEngine(lifecycle=PAID_JOB_LIFECYCLE) as engine:
        job = await engine.create()
        async with client_of(Dashboard(engine, authorize=as_said)) as client:
            for path in ("/", "/jobs", "/inbox"):
                page = await Browser(client).get(path)
                assert (page.status, "answer" in page.text.lower()) == (200, False)
            page = await Browser(client).get("/job", id=job.job_id)
            assert [form.name for form in page.forms] == ["start", "move"]


async def test_what_is_not_there_is_told(browser: Browser) -> None:
    page = await browser.get("/job", id="unheard of")
    assert (page.status, "unheard of" in page.text) == (404, True)
    page = await browser.get("/unheard-of")
    assert (page.status, "There is no such page." in page.text) == (404, True)
    answer = await browser.client.post("/ops/jobs", headers={"Sec-Fetch-Site": "same-origin"})
    assert (answer.status_code, set(answer.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})


async def test_an_engine_that_is_closed_is_told() -> None:
    engine = JobEngine(lifecycle=ORDER_LIFECYCLE)
    async with client_of(Dashboard(engine, authorize=as_said)) as client:
        before = await Browser(client).get("/")
        assert (before.status, str(EngineNotStartedError()) in before.text) == (503, True)
        async with engine:
            assert (await Browser(client).get("/")).status == 200
        assert (await Browser(client).get("/")).status == 503


async def test_an_engine_of_another_event_loop_is_told(
    engine: JobEngine[S], anyio_backend: str
) -> None:
    async def elsewhere() -> Page:
        async with client_of(Dashboard(engine, authorize=as_said)) as client:
            return await Browser(client).get("/")

    page = await to_thread.run_sync(partial(anyio.run, elsewhere, backend=anyio_backend))
    assert (page.status, "event loop" in page.text) == (500, True)


async def test_a_page_asks_a_bounded_number_of_operations(engine: JobEngine[S]) -> None:
    asked: list[str] = []

    class Counting(EngineDesk):
        async def do(self, operation: str, *args: Any, **how: Any) -> Any:  # noqa: ANN401
            asked.append(operation)
            return await super().do(operation, *args, **how)

    for number in range(60):
        job = await engine.create(start=True)
        if number % 2:
            await engine.transition(job.job_id, S.FAILED, error="broken")
    async with client_of(Dashboard(Counting(engine.core), authorize=as_said)) as client:
        for path in ("/", "/jobs", "/inbox", "/kinds", "/audit", f"/job?id={job.job_id}"):
            assert (await client.get(f"/ops{path}")).status_code == 200
            assert len(asked) <= 12, path
            asked.clear()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"engine": 7}, "engine must be a JobEngine or a desk, not 7"),
        ({"authorize": None}, "authorize must be a function, not None"),
        ({"hide": True}, "hide must be a function that is not async, not True"),
    ],
)
async def test_wrong_arguments_are_refused(given: dict[str, Any], problem: str) -> None:
    arguments = {"engine": JobEngine(), "authorize": as_said, **given}
    with pytest.raises(InvalidValueError, match=problem):
        Dashboard(arguments.pop("engine"), **arguments)


async def test_every_answer_has_the_headers_of_a_page_that_nobody_may_use(
    client: httpx.AsyncClient,
) -> None:
    for path in ("/ops/", "/ops/nothing", "/ops/static/dashboard.js", "/ops/job?id=none"):
        headers = (await client.get(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] in {"no-store", "private, max-age=3600"}
