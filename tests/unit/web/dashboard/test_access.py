"""Nobody gets in whom the service does not know, and no page elsewhere can act."""

from __future__ import annotations

from collections.abc import MutableMapping
from datetime import timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from engine import InvalidValueError, JobEngine
from engine import OrderStatus as S
from engine.portal.time import utc_now
from engine.web.dashboard import Access, Dashboard, access, token_access
from engine.web.dashboard.board import PATHS
from tests.unit.web.dashboard.browsing import ORIGIN, ROOT, SAME_ORIGIN, Browser
from tests.unit.web.dashboard.conftest import WHO, client_of, mounted

pytestmark = pytest.mark.anyio

TOKEN = "correct horse battery staple"  # noqa: S105 - of the test
EVERY_PATH = [*PATHS.values(), "/unheard-of", "/api/jobs", "/api/unheard-of", "//", "/static/"]
HTML = {"Accept": "text/html"}


@pytest.fixture
def guarded(engine: JobEngine[S]) -> Dashboard:
    return Dashboard(engine, authorize=token_access(TOKEN, "ops"))


# --- closed by default --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
async def test_every_path_is_closed_to_strangers(dashboard: Dashboard, method: str) -> None:
    async with client_of(dashboard, who=None) as client:
        for path in EVERY_PATH:
            answer = await client.request(method, f"{ROOT}{path}", headers=SAME_ORIGIN)
            assert answer.status_code == 403, path
            assert "job" not in answer.text, path


async def test_a_token_is_asked_for_on_every_path(guarded: Dashboard) -> None:
    async with client_of(guarded, who=None) as client:
        for path in EVERY_PATH:
            answer = await client.get(f"{ROOT}{path}", headers=HTML)
            if path in {PATHS["style"], PATHS["icon"]}:  # of the login's page
                assert answer.status_code == 200
            elif path == PATHS["login"]:
                assert answer.status_code in {401, 405}
            else:
                assert (answer.status_code, "Token" in answer.text) == (401, True), path
                assert answer.headers["www-authenticate"] == "Bearer"
                plain = await client.get(f"{ROOT}{path}")
                assert plain.headers["content-type"] == "application/problem+json"


async def test_a_websocket_is_refused(dashboard: Dashboard) -> None:
    sent = []

    async def send(message: object) -> None:
        sent.append(message)

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    await dashboard({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_a_looker_sees_no_acts_and_makes_none(
    engine: JobEngine[S], dashboard: Dashboard
) -> None:
    job = await engine.create()
    async with client_of(dashboard, who="eve") as client:
        page = await Browser(client).get("/job", id=job.job_id)
        assert (page.status, page.forms, "looks only" in page.text) == (200, [], True)
        assert not (await Browser(client).get("/jobs")).boxes
        assert not (await Browser(client).get("/kinds")).forms
        for path in ("job/act", "jobs/bulk", "jobs/act", "kinds/act", "api/cancel", "api/pause"):
            answer = await client.post(f"{ROOT}/{path}?id={job.job_id}", headers=SAME_ORIGIN)
            assert answer.status_code == 403, path
    assert await engine.get(job.job_id) == job


async def test_authorize_may_be_async_and_a_bug_in_it_opens_nothing(engine: JobEngine[S]) -> None:
    async def later(request: Request) -> Access | None:
        who = request.headers.get(WHO)
        return Access(who, may_act=True) if who == "ann" else None

    def wrong(_: Request) -> Access | None:
        return "ann"  # type: ignore[return-value]

    for who, status in (("ann", 200), ("bob", 403)):
        async with client_of(Dashboard(engine, authorize=later), who) as client:
            assert (await client.get(f"{ROOT}/")).status_code == status
    async with client_of(Dashboard(engine, authorize=wrong)) as client:
        with pytest.raises(TypeError, match="authorize must return an Access or None"):
            await client.get(f"{ROOT}/")


@pytest.mark.parametrize(
    ("who", "may_act"), [("", True), ("a" * 257, True), (7, True), ("ann", "yes")]
)
def test_an_access_names_somebody(who: str, may_act: bool) -> None:  # noqa: FBT001
    with pytest.raises(InvalidValueError):
        Access(who, may_act=may_act)


# --- the token ----------------------------------------------------------------------------------


async def test_a_browser_logs_in_and_out(engine: JobEngine[S], guarded: Dashboard) -> None:
    job = await engine.create()
    async with client_of(guarded, who=None) as client:
        browser = Browser(client)
        client.headers.update(HTML)
        wrong = await browser.send((await browser.get("/jobs")).forms[0])
        assert (wrong.status, "That is not the token." in wrong.text) == (401, True)
        page = await browser.send(wrong.forms[0], token=TOKEN)
        assert (page.status, "ops" in page.text) == (200, True)
        [cookie] = client.cookies.jar
        assert (cookie.path, TOKEN in str(cookie.value)) == ("/ops/", False)
        form = (await browser.get("/job", id=job.job_id)).form("cancel")
        assert (await browser.send(form)).status == 200
        assert (await engine.history(job.job_id))[-1].by == "ops"
        out = await browser.send((await browser.get("/")).forms[0])
        assert (out.status, "Token" in out.text) == (401, True)
        assert (await browser.get("/jobs")).status == 401


@pytest.mark.parametrize(("origin", "is_secure"), [("https://ops.test", True), (ORIGIN, False)])
async def test_no_script_and_no_other_site_gets_the_cookie(
    guarded: Dashboard, origin: str, *, is_secure: bool
) -> None:
    transport = httpx.ASGITransport(mounted(guarded))
    async with httpx.AsyncClient(transport=transport, base_url=origin) as client:
        answer = await client.post(
            f"{ROOT}/login", data={"token": TOKEN}, headers={"Origin": origin}
        )
    said = answer.headers["set-cookie"].lower()
    assert (answer.status_code, "httponly" in said, "samesite=strict" in said) == (303, True, True)
    assert ("secure" in said) is is_secure
    assert answer.headers["location"] == "/ops/"


async def test_a_program_sends_the_token(guarded: Dashboard) -> None:
    async with client_of(guarded, who=None) as client:
        for given, status in (
            *((f"Bearer {TOKEN}", 200), (f"bearer {TOKEN}", 200), (f"Basic {TOKEN}", 401)),
            *(("Bearer", 401), (f"Bearer {TOKEN}x", 401), ("Bearer \u00e4", 401)),
        ):
            answer = await client.get(
                f"{ROOT}/", headers={b"Authorization": given.encode("latin-1")}
            )
            assert answer.status_code == status, given


async def test_a_session_ends_and_can_not_be_made_up(
    guarded: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = token_access(TOKEN).new_session()
    ends, _, signature = session.partition(".")
    other = token_access("another token of the service").new_session()
    async with client_of(guarded, who=None) as client:

        async def status(cookie: str) -> int:
            headers = {"Cookie": f"{token_access(TOKEN).cookie}={cookie}"}
            return (await client.get(f"{ROOT}/", headers=headers)).status_code

        assert await status(session) == 200
        for wrong in (other, f"{int(ends) + 1}.{signature}", ends, "", "x.y", "9" * 99, TOKEN):
            assert await status(wrong) == 401, wrong
        later = utc_now() + timedelta(seconds=access.SESSION_SECONDS + 1)
        monkeypatch.setattr("engine.web.dashboard.access.utc_now", lambda: later)
        assert await status(session) == 401


async def test_two_dashboards_of_one_host_have_sessions_of_their_own(
    engine: JobEngine[S], guarded: Dashboard
) -> None:
    outer = Dashboard(engine, authorize=token_access("another token of the service"))
    app = Starlette(routes=[Mount(ROOT, guarded), Mount("/", outer)])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=HTML) as client:
        for place, token in (("", "another token of the service"), (ROOT, TOKEN)):
            await client.post(f"{place}/login", data={"token": token}, headers=SAME_ORIGIN)
        assert len({cookie.name for cookie in client.cookies.jar}) == 2
        cookies = "; ".join(f"{each.name}={each.value}" for each in client.cookies.jar)
        client.cookies.clear()
        for place in ("", ROOT):  # in whatever order the browser sends them
            for header in (cookies, "; ".join(reversed(cookies.split("; ")))):
                answer = await client.get(f"{place}/", headers={"Cookie": header})
                assert answer.status_code == 200


@pytest.mark.parametrize(
    "token",
    [
        *("short", "a" * 1_025, 7),
        *(" padded-token-of-20chars", "a-token-read-from-a-file\n", "\ttoken-after-a-tab"),
        *("t\u00f6ken-with-an-umlaut", "a-token-of-two\nlines-of-text"),
    ],
)
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused(token: str) -> None:
    with pytest.raises(InvalidValueError, match=r"^token must"):
        token_access(token)


async def test_of_a_strangers_form_no_more_is_read_than_a_token_needs(guarded: Dashboard) -> None:
    parts, status = 0, 0

    async def receive() -> dict[str, Any]:
        nonlocal parts
        parts += 1
        return {"type": "http.request", "body": b"%41" * 1_000, "more_body": parts < 9}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {"type": "http", "method": "POST", "path": "/login", "query_string": b""}
    scope["headers"] = [(b"sec-fetch-site", b"same-origin")]
    await guarded(scope, receive, send)
    assert (status, parts) == (401, 6)


# --- forged requests ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "is_taken"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://public.test"}, True),  # by a proxy
        ({"Origin": ORIGIN}, True),
        ({"Origin": f"{ORIGIN}:80"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "http://evil.test"}, False),
        ({"Origin": f"{ORIGIN}:8080"}, False),
        ({"Origin": f"{ORIGIN}.evil.test"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://[bad"}, False),
        ({"Origin": ORIGIN, "Host": ""}, False),
        ({}, False),
    ],
)
async def test_an_act_comes_from_a_page_of_the_dashboard(
    engine: JobEngine[S], client: httpx.AsyncClient, headers: dict[str, str], *, is_taken: bool
) -> None:
    job = await engine.create()
    answer = await client.post(
        f"{ROOT}/job/act?id={job.job_id}", data={"act": "cancel"}, headers=headers
    )
    assert answer.status_code == (303 if is_taken else 403)
    assert (await engine.get(job.job_id)).status is (S.CANCELLED if is_taken else job.status)


@pytest.mark.parametrize("path", ["/login", "/logout", "/jobs/bulk", "/jobs/act"])
async def test_no_other_form_can_be_forged(guarded: Dashboard, path: str) -> None:
    async with client_of(guarded, who=None) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        forged = await client.post(
            f"{ROOT}{path}", data={"token": TOKEN}, headers={"Sec-Fetch-Site": "cross-site"}
        )
        assert (forged.status_code, forged.json()["code"]) == (403, "forged")
