"""The dashboard in a real browser, over a real server: what a script and a style sheet do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.unit.web.dashboard.app import TOKEN
from tests.unit.web.dashboard.browsing import ROOT
from tests.unit.web.dashboard.chromium import chromium, needs_browser
from tests.unit.web.serving import Service

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [needs_browser, pytest.mark.thorough]

APP = "tests.unit.web.dashboard.app:app"
PAGES = ("/", "/jobs", "/inbox", "/kinds", "/audit")


class Shop(Service):
    """The service of `app.py`."""

    def __init__(self, *options: str, **environment: str) -> None:
        super().__init__("uvicorn", APP, *options, **environment)

    def post(self, path: str, **query: str) -> Any:  # noqa: ANN401 - any JSON
        answer = self.client.post(path, params=query).raise_for_status()
        return answer.json() if answer.content else None

    def create(self, kind: str, **query: str) -> str:
        return str(self.post("/create", kind=kind, **query))

    def url(self, path: str) -> str:
        return str(self.address.join(f"{ROOT}{path}"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    shop = Shop()
    try:
        yield shop
    finally:
        shop.kill()


@contextmanager
def opened(browser: Browser, shop: Shop, **how: Any) -> Iterator[Page]:  # noqa: ANN401 - as theirs
    """Open a page of somebody who has logged in; nothing may go wrong on it unseen."""
    context = browser.new_context(**how)
    context.set_default_timeout(20_000)
    page, problems = context.new_page(), list[str]()
    page.goto(shop.url("/"))
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Newest jobs").wait_for()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    yield page
    expected = (
        "status of 4",
        "status of 502",
        "ERR_CONNECTION",
        "ERR_INCOMPLETE",
        "ERR_ABORTED",
        "ERR_EMPTY",
    )
    assert [each for each in problems if not any(word in each for word in expected)] == []
    context.close()


@pytest.fixture
def page(browser: Browser, shop: Shop) -> Iterator[Page]:
    with opened(browser, shop) as page:
        yield page


def show_job(page: Page, shop: Shop, job_id: str) -> None:
    page.goto(shop.url(f"/job?id={job_id}"))
    page.get_by_role("heading", name=job_id).wait_for()
    live(page)


def live(page: Page) -> None:
    page.locator("#state", has_text="live").wait_for()


def test_a_page_shows_what_happens_while_it_is_open(page: Page, shop: Shop) -> None:
    page.goto(shop.url("/jobs?kind=later"))
    live(page)
    assert page.get_by_text("No jobs.").is_visible()
    job_id = shop.create("later")
    page.get_by_role("link", name=job_id).wait_for()
    row = page.get_by_role("row").filter(has_text=job_id)
    shop.post("/move", id=job_id, status="running")
    row.get_by_text("running").wait_for()
    page.goto(shop.url("/"))
    live(page)
    newer = shop.create("later")
    page.get_by_role("link", name=newer).wait_for()


def test_a_chart_follows_what_happens_and_its_table_stays_open(page: Page, shop: Shop) -> None:
    page.goto(shop.url("/"))
    live(page)
    chart = page.locator("figure").first
    chart.get_by_text("As a table").click()
    created = chart.locator(".key.running")
    before = created.inner_text()
    shop.create("later")
    page.wait_for_function(
        "before => document.querySelector('.key.running').innerText !== before", arg=before
    )
    table = chart.get_by_role("table", name="Last hour, the newest first")
    assert table.is_visible()
    drawn = chart.get_by_role("img")
    assert drawn.get_attribute("aria-labelledby") == "chart-1"
    box = drawn.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 5)
    now = chart.locator("rect").last
    assert now.evaluate("rect => getComputedStyle(rect).opacity") == "0.1"
    assert "created" in now.locator("title").inner_html()


def test_progress_and_the_end_of_a_job_are_seen_live(page: Page, shop: Shop) -> None:
    job_id = shop.create("slow", start="1")
    show_job(page, shop, job_id)
    page.locator("progress").wait_for()
    seen = page.locator("#head p").inner_text()
    page.wait_for_function("seen => document.querySelector('#head p').innerText !== seen", arg=seen)
    page.locator("summary", has_text="Input").click()
    shop.post("/finish")
    page.locator("#head").get_by_text("completed").wait_for()
    assert page.locator("#input pre").is_visible()  # it stays unfolded
    page.locator("summary", has_text="Result").click()
    assert page.get_by_text("read", exact=True).is_visible()
    assert page.locator("svg .now title").inner_html() == "completed"


def test_progress_is_seen_on_a_page_that_was_open_before_the_job_began(browser: Browser) -> None:
    shop = Shop()
    try:
        with opened(browser, shop) as page:
            page.add_init_script("""
                const set = setInterval;  // none as long as that of a page that waits for news
                setInterval = (run, time) => (time > 5_000 ? 0 : set(run, time));
            """)
            job_id = shop.create("slow")
            show_job(page, shop, job_id)
            shop.post("/move", id=job_id, status="running")
            page.locator("progress").wait_for()
            seen = page.locator("#head p").inner_text()
            page.wait_for_function(
                "seen => document.querySelector('#head p').innerText !== seen", arg=seen
            )
    finally:
        shop.kill()


def test_what_somebody_is_writing_or_selecting_stays(page: Page, shop: Shop) -> None:
    job_id = shop.create("later")
    show_job(page, shop, job_id)
    reason = page.get_by_role("form", name="start").get_by_label("Reason")
    reason.fill("half a sent")
    reason.focus()
    page.keyboard.press("ArrowLeft")
    version = page.locator("form[aria-label=start] input[name=version]").input_value()
    shop.post("/move", id=job_id, status="running")
    page.locator("#head").get_by_text("running").wait_for()
    assert reason.input_value() == "half a sent"
    assert page.evaluate("document.activeElement.name") == "reason"
    assert page.evaluate("document.activeElement.selectionStart") == len("half a sen")
    assert page.locator("form[aria-label=start] input[name=version]").input_value() == version
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()  # refused: it has changed
    assert page.get_by_role("heading", name=job_id).is_visible()


def test_selected_jobs_stay_selected_when_others_come(page: Page, shop: Shop) -> None:
    first = shop.create("chosen")
    page.goto(shop.url("/jobs?kind=chosen"))
    live(page)
    page.get_by_label(f"Select job {first}").check()
    second = shop.create("chosen")
    page.get_by_role("link", name=second).wait_for()
    assert page.get_by_label(f"Select job {first}").is_checked()
    assert not page.get_by_label(f"Select job {second}").is_checked()
    page.get_by_label("Act").select_option("cancel")
    page.get_by_role("button", name="The selected…").click()
    page.get_by_role("heading", name="Cancel 1 job?").wait_for()
    page.get_by_label("Reason").fill("not wanted")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("1 done, 0 passed over.").wait_for()


def test_a_job_that_failed_runs_again_by_the_keyboard_alone(page: Page, shop: Shop) -> None:
    job_id = shop.create("fail", name="nobody", start="1")
    page.goto(shop.url("/inbox"))
    page.get_by_role("link", name=job_id).wait_for()

    def press_until(script: str, arg: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate(script, arg):
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none"  # it can be seen
                return
        raise AssertionError(f"the keyboard does not lead to {arg}")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    press_until("text => document.activeElement.textContent === text", job_id)
    page.keyboard.press("Enter")
    page.get_by_text("there is no model").first.wait_for()
    press_until("text => document.activeElement.textContent === text", "Run it again now")
    page.keyboard.press("Enter")
    page.get_by_text("It runs again, with fresh attempts.").wait_for()


def test_two_tabs_act_at_once_and_one_of_them_is_told(page: Page, shop: Shop) -> None:
    job_id = shop.create("later")
    other = page.context.new_page()
    for tab in (page, other):
        show_job(tab, shop, job_id)
    other.get_by_text("Cancel it").click()
    other.get_by_label("Reason").last.focus()  # so that it stays as it was seen
    page.get_by_role("button", name="Start it").click()
    page.get_by_text("Started.").wait_for()
    other.get_by_role("button", name="Cancel the job").click()
    other.get_by_role("alert").wait_for()
    assert other.locator("#head").get_by_text("running").is_visible()


def test_hostile_texts_do_nothing(page: Page, shop: Shop) -> None:
    hostile = '"><img src=x onerror="document.title=1"><script>document.title=2</script>\u202e'
    job_id = shop.create("hostile", name=hostile)
    for path in (*PAGES, f"/job?id={job_id}", f"/jobs?q={hostile}"):
        page.goto(shop.url(path))
        assert page.title() not in {"1", "2"}
        assert page.locator("main img").count() == 0
    page.goto(shop.url("/jobs?kind=hostile"))
    live(page)
    shop.create("hostile", name=hostile)
    page.get_by_text(r"\u202e").nth(1).wait_for()
    assert page.title() == "Jobs · engine"


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"color_scheme": "dark"},
        {"viewport": {"width": 360, "height": 640}},
        {"java_script_enabled": False},
        {"forced_colors": "active", "reduced_motion": "reduce"},
    ],
    ids=["light", "dark", "narrow", "without a script", "forced colours"],
)
def test_every_page_is_shown_to_everybody(browser: Browser, shop: Shop, how: Any) -> None:  # noqa: ANN401
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    job_id = shop.create("ask", start="1")
    failed = shop.create("fail", start="1")
    with opened(browser, shop, **how) as page:
        for path in (*PAGES, f"/job?id={job_id}", f"/job?id={failed}", "/jobs?q=none", "/none"):
            page.goto(shop.url(path))
            assert page.locator("main").is_visible()
            width = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            if how.get("java_script_enabled", True):
                assert page.evaluate(width), path  # nothing scrolls sideways but tables
                found = axe.run(page)
                assert found.violations_count == 0, (path, found.generate_report())


def test_an_open_page_goes_on_after_a_restart(browser: Browser, tmp_path: Path) -> None:
    place = {"TEST_JOBS": str(tmp_path / "jobs.db")}
    shop = Shop(**place)
    try:
        before = shop.create("later")
        with opened(browser, shop) as page:
            live(page)
            port = str(shop.address.port)
            shop.stop()
            page.get_by_text("not reached").wait_for()
            shop.kill()
            shop = Shop("--port", port, **place)
            live(page)
            job_id = shop.create("later")
            page.get_by_role("link", name=job_id).wait_for()
            assert page.get_by_role("link", name=before).is_visible()
    finally:
        shop.kill()


def test_a_page_whose_session_has_ended_asks_for_the_token(page: Page, shop: Shop) -> None:
    page.goto(shop.url("/jobs"))
    live(page)
    page.context.clear_cookies()
    shop.create("later")
    page.get_by_label("Token").wait_for()


def test_a_page_that_comes_back_without_access_shows_nothing_more(browser: Browser) -> None:
    shop = Shop()
    try:
        with opened(browser, shop) as page:
            page.add_init_script("setInterval = () => {}")  # only the stream leads to it
            page.goto(shop.url("/jobs"))
            live(page)
            page.context.clear_cookies()
            shop.stop()
            shop.kill()
            shop = Shop("--port", str(shop.address.port))
            page.get_by_label("Token").wait_for()
    finally:
        shop.kill()


def test_a_tab_that_is_hidden_and_shown_has_one_stream(page: Page, shop: Shop) -> None:
    page.add_init_script("""
        globalThis.streams = [];
        EventSource = class extends EventSource {
          constructor(url) { super(url); streams.push(this); }
        };
        let isHidden = false;
        Object.defineProperty(document, "hidden", { get: () => isHidden });
        globalThis.show = (is) => {
          isHidden = !is;
          document.dispatchEvent(new Event("visibilitychange"));
        };
    """)
    page.clock.install()
    page.route("**/events*", lambda route: route.fulfill(status=502))  # a proxy without its server
    page.goto(shop.url("/jobs"))
    page.get_by_text("not reached").wait_for()
    page.unroute("**/events*")
    page.evaluate("show(false)")
    page.clock.run_for(10_000)
    assert page.evaluate("streams.length") == 1, "nobody sees it"
    page.evaluate("show(true)")
    live(page)
    page.clock.run_for(10_000)
    assert page.evaluate("streams.map((each) => each.readyState)") == [2, 1]


def test_a_page_whose_stream_is_refused_again_and_again_is_read_once(
    page: Page, shop: Shop
) -> None:
    page.add_init_script("""
        globalThis.refusals = 0;
        EventSource = class extends EventSource {
          constructor(url) { super(url); this.addEventListener("error", () => ++refusals); }
        };
    """)
    page.clock.install()
    page.route("**/events*", lambda route: route.fulfill(status=502))
    read = list[str]()
    page.on("request", lambda request: read.append(urlsplit(request.url).path))
    page.goto(shop.url("/jobs"))
    for refusals in range(1, 7):
        page.wait_for_function("(count) => refusals === count", arg=refusals)
        page.clock.run_for(3_000)
    assert read.count(f"{ROOT}/jobs") == 2, "as it is opened, and at the first refusal"


# --- at three in the morning, in at most three clicks from the overview --------------------------
# The same list on a terminal is in `tests.unit.cli.test_at_three`.


class Clicks:
    """Clicks, and counts."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.count = 0

    def __call__(self, role: Any, name: str, *, exact: bool = True) -> None:  # noqa: ANN401
        self.page.get_by_role(role, name=name, exact=exact).first.click()
        self.count += 1
        assert self.count <= 3


def test_find_the_job_that_this_payment_has_paid(page: Page, shop: Shop) -> None:
    job_id, click = shop.create("later"), Clicks(page)
    shop.post("/move", id=job_id, status="running")
    click("link", "Jobs")
    page.get_by_label("Find").fill(f"mock_bc_{job_id}")
    page.get_by_label("Find").press("Enter")
    page.get_by_role("heading", name=job_id).wait_for()


def test_why_does_the_job_of_this_customer_not_go_on_and_run_it_again(
    page: Page, shop: Shop
) -> None:
    job_id, click = shop.create("fail", name="zoe", start="1"), Clicks(page)
    click("link", "Jobs")
    page.get_by_label("Find").fill("customer=zoe")
    page.get_by_label("Find").press("Enter")
    click("link", job_id)
    page.get_by_text("ValueError: there is no model for").first.wait_for()
    click("button", "Run it again now")
    page.get_by_text("It runs again").wait_for()


def test_answer_for_the_customer(page: Page, shop: Shop) -> None:
    job_id, click = shop.create("ask", start="1"), Clicks(page)
    click("link", "Inbox", exact=False)
    click("link", job_id)
    form = page.get_by_role("form", name="answer")
    form.get_by_label("Pages").fill("7")
    form.get_by_label("Tone").select_option("warm")
    form.get_by_label("Due").fill("2027-01-31")
    form.get_by_label("Is Urgent").select_option("no")
    click("button", "Answer")
    page.get_by_text("Answered.").wait_for()
    page.locator("#head").get_by_text("completed").wait_for()
    page.locator("summary", has_text="Result").click()
    page.get_by_text("7 pages").wait_for()


def test_give_back_the_money_and_say_why(page: Page, shop: Shop) -> None:
    job_id, click = shop.create("fail", start="1"), Clicks(page)
    page.get_by_text("need attention").wait_for()
    click("link", "Inbox", exact=False)
    click("link", job_id)
    form = page.get_by_role("form", name="move")
    form.get_by_label("To").select_option("failed")
    form.get_by_label("Reason").fill("the customer is right")
    click("button", "Move it")
    page.get_by_text("follow-up refund").wait_for()


def test_who_did_this_yesterday(page: Page, shop: Shop) -> None:
    job_id, click = shop.create("later"), Clicks(page)
    shop.post("/move", id=job_id, status="running")
    click("link", "Audit")
    row = page.get_by_role("row").filter(has_text=job_id)
    assert {"the test", "move"} <= {*row.inner_text().split("\t")}


def test_stop_all_of_this_kind(page: Page, shop: Shop) -> None:
    for _ in range(3):
        shop.create("stopped")
    click = Clicks(page)
    click("link", "Jobs")
    page.get_by_label("Kind").fill("stopped")
    page.get_by_label("Kind").press("Enter")
    page.wait_for_url("**/jobs?*")
    page.get_by_label("Act").select_option("cancel")
    click("button", "All that match…")
    page.get_by_label("Reason").fill("the model lies")
    click("button", "Cancel")
    page.get_by_text("3 done, 0 passed over.").wait_for()


def test_let_nothing_more_of_this_kind_begin(page: Page, shop: Shop) -> None:
    shop.create("held-up", start="1")
    click = Clicks(page)
    click("link", "Kinds")
    live(page)
    reason = page.get_by_label("Reason to pause held-up")
    reason.fill("the model lies")
    click("button", "Pause held-up")
    page.get_by_text("Paused: no engine claims").wait_for()
    row = page.get_by_role("row").filter(has_text="held-up")
    assert "by operator: the model lies" in row.inner_text()
    page.get_by_role("link", name="Overview").click()
    page.get_by_role("heading", name="Paused", exact=True).wait_for()
    page.get_by_role("link", name="held-up").first.click()
    page.get_by_role("button", name="Resume held-up").click()
    page.get_by_text("Resumed: its jobs").wait_for()
