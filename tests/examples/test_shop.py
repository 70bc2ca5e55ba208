"""`shop.py` over a real socket: orders, payments, refunds, questions, events, restarts."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import httpx
import pytest

from engine import Outcome
from engine.webhooks import new_secret, verify
from tests.examples.programs import EXAMPLES, TIMEOUT_SECONDS
from tests.examples.serving import JSON, Shop, jobs_at, jobs_in, refund_in, served
from tests.tries import report, thorough, tries
from tests.unit.web.serving import ROOT, statuses
from tests.unit.webhooks.receiver import receiving, status

LONG_TEXT = "word " * 101  # about which its customer is asked


@pytest.fixture(scope="module", params=["uvicorn", *thorough("hypercorn", "hypercorn on trio")])
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """Run a shop that does its work at once, for tests that need no file of their own."""
    with served(tmp_path_factory.mktemp("shop"), server=request.param) as shop:
        yield shop


# --- orders and payments --------------------------------------------------------------------------


def test_orders_of_both_kinds_are_paid_for_and_done(shop: Shop) -> None:
    report, translation = shop.order("a surprisingly short text"), shop.order("a b", "translation")
    assert shop.get(report)["status"] == "awaiting_payment"
    for job_id in (report, translation):
        assert shop.pay(job_id) == {"started": job_id, "first": True}
    done = shop.get(report, wait_seconds=30)
    assert (done["status"], done["value"]) == ("completed", {"words": 4, "longest": "surprisingly"})
    assert not done.keys() & {"input", "labels", "idempotency_key", "payment_id"}
    assert shop.get(translation, wait_seconds=30)["value"] == "aay bay"


def test_a_payment_that_comes_twice_counts_once_and_never_passes_for_an_answer(shop: Shop) -> None:
    job_id = shop.order(LONG_TEXT)
    assert shop.pay(job_id)["first"]
    assert shop.get(job_id, wait_seconds=30)["status"] == "awaiting_input"
    assert shop.pay(job_id) == {"started": job_id, "first": False}
    assert shop.get(job_id)["status"] == "awaiting_input"
    shop.call("DELETE", f"/{job_id}")
    assert shop.get(job_id, wait_seconds=30)["status"] == "cancelled"
    assert shop.pay(job_id) == {"started": job_id, "first": False}


def test_a_second_payment_is_given_back_once_however_often_it_comes(shop: Shop) -> None:
    job_id = shop.order("a text")
    shop.pay(job_id, "first of Ann")
    refunds = [shop.pay(job_id, "second of Ann") for _ in range(3)]
    assert refunds[0].keys() == {"refund"}
    assert refunds == refunds[:1] * 3
    assert shop.pay(job_id, "third of Ann") not in refunds
    assert shop.pay(job_id, "first of Ann") == {"started": job_id, "first": False}


def test_a_payment_that_was_given_back_pays_for_nothing_else(shop: Shop) -> None:
    late, other = shop.order("a text"), shop.order("another text")
    shop.call("DELETE", f"/{late}")
    refund = shop.pay(late, "late of Ann")
    mixed_up = shop.post_payment(f'{{"job_id": "{other}", "payment_id": "late of Ann"}}')
    assert (mixed_up.status_code, mixed_up.json()["code"]) == (422, "idempotency-conflict")
    assert shop.get(other)["status"] == "awaiting_payment"
    assert shop.pay(late, "late of Ann") == refund
    shop.pay(other, "right one of Ann")
    mixed_up = shop.post_payment(f'{{"job_id": "{late}", "payment_id": "right one of Ann"}}')
    assert (mixed_up.status_code, mixed_up.json()["code"]) == (409, "payment-in-use")


def test_only_who_knows_the_secret_can_pay(shop: Shop) -> None:
    job_id = shop.order("a text")
    body = f'{{"job_id": "{job_id}", "payment_id": "17"}}'
    assert shop.post_payment(body, key="guessed").status_code == 401
    assert shop.client.post("/payments", content=body, headers=JSON).status_code == 401
    assert shop.get(job_id)["status"] == "awaiting_payment"
    for nonsense in ("{}", '{"job_id": 1}', f'{{"job_id": "{job_id}", "payment_id": ""}}'):
        assert shop.post_payment(nonsense).status_code == 422, nonsense
    unknown = shop.post_payment('{"job_id": "unknown", "payment_id": "17"}')
    assert (unknown.status_code, unknown.json()["code"]) == (404, "job-not-found")


def test_an_order_that_is_not_paid_in_time_expires_and_late_money_is_given_back_once(
    tmp_path: Path,
) -> None:
    with served(tmp_path, pay_within=0.2) as shop:
        job_id = shop.order("a text")
        assert shop.get(job_id, wait_seconds=30)["status"] == "expired"
        refund = shop.pay(job_id)
        while (kept := refund_in(tmp_path))["status"] != "completed":
            pass
        assert shop.pay(job_id) == refund
    assert (kept["job_id"], kept["result"]) == (refund["refund"], f"for {job_id} was given back")
    assert refund_in(tmp_path) == kept


@pytest.mark.thorough
def test_late_money_is_given_back_once_over_kills_in_the_middle_of_callbacks(
    tmp_path: Path,
) -> None:
    late, unknown = list[str](), 0
    for _ in range(tries(100)):
        with served(tmp_path) as shop, ThreadPoolExecutor(8) as service:
            for _ in range(8):
                job_id = shop.order("a text")
                shop.call("DELETE", f"/{job_id}")
                late.append(job_id)
            calls = [service.submit(shop.pay, job_id) for job_id in late[-8:] * 2]
            calls[0].exception()
            shop.stop(signal.SIGKILL)
            errors = [error for call in calls if (error := call.exception())]
            assert all(isinstance(error, httpx.HTTPError) for error in errors)
            unknown += len(errors)
    with served(tmp_path) as shop:
        told = {shop.pay(job_id)["refund"] for job_id in late}
        shop.stop()
    refunds = jobs_in(tmp_path, "refund")
    assert {job.job_id for job in refunds} == told
    report(f"{unknown} callbacks of {2 * len(late)} got no answer")
    assert len(refunds) == len(late) > 0 < unknown


# --- customers ------------------------------------------------------------------------------------


def test_another_customer_sees_and_cancels_nothing(shop: Shop) -> None:
    job_id = shop.order(LONG_TEXT, customer="Ann")
    refund_id = shop.pay(shop.order("late"), "x" * 200)["started"]
    shop.pay(job_id)
    prompt_id = shop.get(job_id, wait_seconds=30)["prompt"]["prompt_id"]
    answer, events = f"/{job_id}/answers/{prompt_id}", f"/{job_id}/events"
    calls = [("GET", f"/{job_id}"), ("DELETE", f"/{job_id}"), ("POST", answer), ("GET", events)]
    for method, path in calls:
        refused = shop.call(method, path, "Ben", value=1)
        unknown = shop.call(method, path.replace(job_id, "unknown"), "Ben", value=1)
        assert (refused.status_code, unknown.status_code) == (404, 404), path
        assert refused.text.replace(job_id, "unknown") == unknown.text
    assert shop.call("GET", "", "Ben").json() == {"orders": [], "next": None}
    assert shop.call("GET", f"/{refund_id}", "Ben").status_code == 404
    assert shop.client.get(f"/orders/{job_id}").status_code == 422  # without a customer
    assert shop.get(job_id)["status"] == "awaiting_input"


def test_a_customer_sees_the_newest_orders_first_and_no_refunds(shop: Shop) -> None:
    orders = [shop.order(f"text {number}", customer="Cid") for number in range(101)]
    refund = shop.pay(orders[0], "one")["started"], shop.pay(orders[0], "two")["refund"]
    first = shop.call("GET", "", "Cid").json()
    rest = shop.call("GET", f"?after={first['next']}", "Cid").json()
    shown = [order["job_id"] for order in first["orders"] + rest["orders"]]
    assert shown == orders[::-1]
    assert (len(first["orders"]), rest["next"]) == (100, None)
    assert shop.call("GET", f"/{refund[1]}", "Cid").status_code == 404


def test_a_key_is_one_customers_and_a_conflict_names_no_job(shop: Shop) -> None:
    job_id = shop.order("a text", key="order 1", customer="Ann")
    assert shop.order("a text", key="order 1", customer="Ann") == job_id
    assert shop.order("another text", key="order 1", customer="Ben") != job_id
    order, again = {"text": "another text"}, {"Idempotency-Key": "order 1"}
    conflict = shop.call("POST", "", value=order, **again)
    assert (conflict.status_code, conflict.json()["code"]) == (422, "idempotency-conflict")
    assert job_id not in conflict.text
    # No customer can take the key of a refund.
    shop.order("a text", key="of Dan", customer="refund")
    late = shop.order("a text")
    shop.call("DELETE", f"/{late}")
    assert shop.pay(late, "of Dan").keys() == {"refund"}


def test_a_long_text_is_read_as_far_as_its_customer_says(shop: Shop) -> None:
    job_id = shop.order(LONG_TEXT)
    shop.pay(job_id)
    prompt = shop.get(job_id, wait_seconds=30)["prompt"]
    assert prompt["question"] == "The text has 101 words. How many shall I read?"
    path = f"/{job_id}/answers/{prompt['prompt_id']}"
    for wrong in ("all", -1, None):
        assert shop.call("POST", path, value=wrong).status_code == 422
    assert shop.call("POST", path, value=50).status_code == 200
    assert shop.call("POST", path, value=50).status_code == 409
    assert shop.get(job_id, wait_seconds=30)["value"] == {"words": 50, "longest": "word"}


@pytest.mark.thorough
def test_an_order_is_cancelled_before_it_is_paid_and_while_it_runs(tmp_path: Path) -> None:
    with served(tmp_path, pause=3_600) as shop:
        unpaid, running = shop.order("one"), shop.order("two")
        shop.begin(running)
        for job_id in (unpaid, running):
            assert shop.call("DELETE", f"/{job_id}").status_code == 202
            ended = shop.get(job_id, wait_seconds=30)
            assert (ended["status"], ended["error"]) == ("cancelled", "cancelled: by its customer")
        assert (
            shop.call("DELETE", f"/{unpaid}").status_code == 202
        )  # another cancel changes nothing


@pytest.mark.thorough
def test_a_paid_order_that_is_cancelled_is_refunded_once_and_the_refund_is_the_shops(
    tmp_path: Path,
) -> None:
    with served(tmp_path) as shop:
        job_id, unpaid = shop.order(LONG_TEXT), shop.order("a text")
        shop.pay(job_id, "of Ann")
        assert shop.get(job_id, wait_seconds=30)["status"] == "awaiting_input"
        for each in (job_id, unpaid):
            shop.call("DELETE", f"/{each}")
        while (kept := refund_in(tmp_path))["status"] != "completed":
            pass
        assert kept["result"] == "of Ann was given back"
        assert len(shop.call("GET", "").json()["orders"]) == 2
        for method in ("GET", "DELETE"):
            assert shop.call(method, f"/{kept['job_id']}").status_code == 404


@pytest.mark.thorough
def test_the_end_of_an_order_is_told_by_a_webhook(tmp_path: Path) -> None:
    secret = new_secret()
    with receiving(status(200)) as receiver:
        with served(tmp_path, webhook=f"{receiver.url} {secret}") as shop:
            job_id = shop.order("a text")
            shop.pay(job_id)
            assert shop.get(job_id, wait_seconds=30)["status"] == "completed"
            while not jobs_at(tmp_path, "webhook.ends", "completed"):
                pass
        [request] = receiver.requests
    event = verify(request.headers, request.body, secret).json()
    assert (event["type"], event["data"]["job_id"]) == ("job.completed", job_id)


@pytest.mark.thorough
def test_refusals_say_what_is_wrong(shop: Shop) -> None:
    for body in ("{}", "no JSON", '{"text": 1}', '{"text": "a", "kind": "refund"}'):
        assert shop.call("POST", "", content=body).status_code == 422, body
    assert shop.call("POST", "", value={"text": "x" * 300_000}).status_code == 422
    job_id = shop.order("a text")
    shop.pay(job_id)
    assert shop.get(job_id, wait_seconds=30)["status"] == "completed"
    ended = shop.call("DELETE", f"/{job_id}")
    assert (ended.status_code, ended.json()["code"]) == (409, "job-ended")
    wrong = shop.call("GET", f"/{job_id}/events", **{"Last-Event-ID": "x"})
    assert wrong.status_code == 422


# --- events and the server ------------------------------------------------------------------------


def test_events_end_with_their_order_and_tell_the_client_not_to_come_back(shop: Shop) -> None:
    job_id = shop.order("two words")
    with shop.events_of(job_id) as events:
        begun = next(events)["to_status"], events.last_id
        shop.pay(job_id)
        seen = [*events]
    at_work = ["running", "completed"]
    assert begun[0] == "awaiting_payment"
    assert statuses(each for each in seen if each["event"] == "message") == at_work
    assert any(each["event"] == "progress" for each in seen)
    with shop.events_of(job_id, begun[1]) as again:
        assert statuses(again) == at_work
    assert events.last_id is not None
    last = {"Last-Event-ID": events.last_id}
    assert shop.call("GET", f"/{job_id}/events", **last).status_code == 204


@pytest.mark.thorough
@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
def test_a_killed_shop_goes_on_and_its_events_have_no_gap_and_no_double(
    server: str, tmp_path: Path
) -> None:
    with served(tmp_path, server=server, pause=3_600) as shop:
        running, unpaid = shop.order("one word"), shop.order("two words")
        with shop.events_of(running) as events:
            assert next(events)["to_status"] == "awaiting_payment"
            shop.begin(running)
            assert next(events)["to_status"] == "running"
            shop.kill()
    with served(tmp_path, server=server) as shop:
        with shop.events_of(running, events.last_id) as events:
            assert statuses(each for each in events if each["event"] == "message") == ["completed"]
        assert shop.pay(running) == {"started": running, "first": False}
        assert shop.pay(unpaid)["first"]
        assert shop.get(unpaid, wait_seconds=30)["status"] == "completed"
        shop.stop()
    assert [job.outcome for job in jobs_in(tmp_path)] == [Outcome.SUCCEEDED] * 2


@pytest.mark.thorough
@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_though_streams_and_waits_are_open(
    server: str, number: signal.Signals, tmp_path: Path
) -> None:
    with (
        served(tmp_path, server=server, pause=3_600) as shop,
        ThreadPoolExecutor(1) as customer,
    ):
        unpaid, running = shop.order("one"), shop.order("two")
        shop.begin(running)
        waiting = customer.submit(shop.get, unpaid, 30)
        with shop.events_of(unpaid) as events:
            assert [each["to_status"] for each in islice(events, 1)] == ["awaiting_payment"]
            shop.stop(number)
            assert [*events] == []
        assert waiting.result()["status"] == "awaiting_payment"
        assert "Traceback" not in shop.log
    with served(tmp_path) as shop:  # the interrupted job is finished now
        assert shop.get(running, wait_seconds=30)["status"] == "completed"


CRASHING = """
import shop
from engine import ORDER_LIFECYCLE, JobEngine
from shop import app
from tests.unit.failing import FailingStorage

storage = FailingStorage()
shop.jobs = JobEngine(storage, lifecycle=ORDER_LIFECYCLE)


@app.post("/bug")
async def bug() -> None:
    storage.failures = [ValueError("a bug")]
"""


@pytest.mark.thorough
def test_after_a_crash_it_is_not_healthy_and_can_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "crashing.py").write_text(CRASHING)
    with served(tmp_path, app="crashing:app") as shop:
        job_id = shop.order("a text")
        assert shop.client.get("/health").status_code == 200
        shop.client.post("/bug")
        assert shop.call("POST", "", value={"text": "another text"}).status_code == 503
        assert shop.client.get("/health").status_code == 503
        assert shop.call("GET", f"/{job_id}").status_code == 503
        shop.stop()
    assert "ValueError: a bug" in shop.log


@pytest.mark.thorough
@pytest.mark.parametrize("secret", [{}, {"PAYMENT_SECRET": ""}])
def test_without_a_secret_it_does_not_start(tmp_path: Path, secret: dict[str, str]) -> None:
    without = {name: value for name, value in os.environ.items() if name != "PAYMENT_SECRET"}
    done = subprocess.run(
        [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", "0", "shop:app"],
        cwd=tmp_path,
        env={**without, "PYTHONPATH": str(ROOT), **secret},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.startswith("set PAYMENT_SECRET")
    assert not list(tmp_path.iterdir())
