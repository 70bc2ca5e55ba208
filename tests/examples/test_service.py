"""`service.py` over a real socket: orders, payments, questions, events, overload, restarts."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path

import pytest

from engine import AGENT_JOB_LIFECYCLE, SyncJobEngine
from tests.examples.serving import Json, Service, served
from tests.tries import rounds, tries

LONG_TEXT = "word " * 101  # about which its customer is asked


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that does its work at once, for tests that need no file of their own."""
    with served(tmp_path_factory.mktemp("service"), "--pause", "0") as service:
        yield service


def number(event: Json) -> int:
    return int(event["id"].rpartition("-")[2])


def transitions(events: list[Json]) -> list[tuple[int, str]]:
    return [(number(each), each["to_status"]) for each in events if each["event"] == "message"]


def begin(service: Service, job: Json) -> None:
    """Pay for a job, and wait until its handler runs."""
    with service.events(f"/jobs/{job['job_id']}/events") as events:
        service.pay(job)
        assert any(each["event"] == "progress" for each in events)


def test_an_order_is_paid_for_and_done(service: Service) -> None:
    job = service.order("a surprisingly short text")
    assert job["status"] == "awaiting_payment"
    assert "input" not in job
    paid = service.pay(job)
    assert (paid.status_code, paid.json()["status"]) == (200, "running")
    done = service.get(job, wait_seconds=30)
    assert (done["status"], done["result"]) == (
        "completed",
        '{"words":4,"longest":"surprisingly"}',
    )


def test_a_payment_that_comes_twice_counts_once_and_never_passes_for_an_answer(
    service: Service,
) -> None:
    job = service.order(LONG_TEXT)
    assert service.pay(job).json()["status"] == "running"
    assert service.get(job, wait_seconds=30)["status"] == "awaiting_input"
    again = service.pay(job)
    assert (again.status_code, again.json()["status"]) == (200, "awaiting_input")


def test_only_who_knows_the_secret_can_pay(service: Service) -> None:
    job = service.order("a text")
    assert service.pay(job, secret=b"guessed").status_code == 401
    unsigned = service.client.post("/payments", json={"job_id": job["job_id"]})
    assert unsigned.status_code == 401
    assert service.get(job)["status"] == "awaiting_payment"


def test_a_job_that_is_not_paid_for_in_time_expires_and_the_payment_is_refused(
    tmp_path: Path,
) -> None:
    with served(tmp_path, "--pay-within", "0.2") as service:
        job = service.order("a text")
        late = service.get(job, wait_seconds=30)
        assert late["status"] == "failed"
        assert "expired" in late["error"]
        refused = service.pay(job)
        assert (refused.status_code, "give the money back" in refused.text) == (409, True)


def test_a_customer_is_asked_in_the_middle(service: Service) -> None:
    job = service.order(LONG_TEXT)
    service.pay(job)
    prompt = service.get(job, wait_seconds=30)["prompt"]
    assert prompt["question"] == "The text has 101 words. Go on?"
    path = f"/jobs/{job['job_id']}/input"
    answer = {"prompt_id": prompt["prompt_id"], "value": {"go_on": True}}
    wrong = service.client.post(path, json={**answer, "value": {"go_on": "perhaps"}})
    assert wrong.status_code == 422
    assert service.client.post(path, json=answer).status_code == 200
    assert service.client.post(path, json=answer).status_code == 409
    assert service.get(job, wait_seconds=30)["status"] == "completed"


def test_a_job_is_cancelled_before_it_is_paid_and_while_it_runs(tmp_path: Path) -> None:
    with served(tmp_path, "--pause", "3600") as service:
        unpaid, running = service.order("one"), service.order("two")
        begin(service, running)
        for job in (unpaid, running):
            cancelled = service.client.delete(f"/jobs/{job['job_id']}")
            assert cancelled.status_code == 202
            ended = service.get(job, wait_seconds=30)
            assert (ended["status"], ended["cancel_reason"]) == ("failed", "by its customer")


@pytest.mark.thorough
def test_waiting_has_a_limit(service: Service) -> None:
    job = service.order("a text")
    assert service.get(job, wait_seconds=0.1)["status"] == "awaiting_payment"
    for wrong in ("soon", "-1", "NaN"):
        answer = service.client.get(f"/jobs/{job['job_id']}", params={"wait": wrong})
        assert answer.status_code == 422, wrong


def test_a_key_is_one_customers_and_a_conflict_names_no_job(service: Service) -> None:
    job = service.order("a text", key="order 1", customer="Ann")
    assert service.order("a text", key="order 1", customer="Ann") == job
    other = service.order("another text", key="order 1", customer="Ben")
    assert other["job_id"] != job["job_id"]

    headers = {"Idempotency-Key": "order 1", "Customer": "Ann"}
    order = {"text": "another text"}
    conflict = service.client.post("/jobs", json=order, headers=headers)
    assert (conflict.status_code, conflict.text) == (
        409,
        "another order has this Idempotency-Key",
    )
    del headers["Customer"]
    nobodys = service.client.post("/jobs", json=order, headers=headers)
    assert (nobodys.status_code, nobodys.text) == (422, "an Idempotency-Key needs a Customer")


@pytest.mark.thorough
def test_refusals_say_what_is_wrong(service: Service) -> None:
    client, job = service.client, service.order("a text")
    assert client.get("/jobs/unknown").status_code == 404
    assert client.get("/jobs/unknown/events").status_code == 404
    for body in ("{}", "no JSON", '{"text": 1}', '{"text": "\\ud800"}'):
        assert client.post("/jobs", content=body).status_code == 422, body
    assert client.post("/jobs", json={"text": "x" * 300_000}).status_code == 413
    service.pay(job)
    service.get(job, wait_seconds=30)
    assert client.delete(f"/jobs/{job['job_id']}").status_code == 409
    assert client.get("/events", headers={"Last-Event-ID": "x"}).status_code == 422


def test_events_of_a_job_end_with_it_and_tell_the_client_not_to_come_back(service: Service) -> None:
    job = service.order("two words")
    path = f"/jobs/{job['job_id']}/events"
    with service.events(path) as events:
        service.pay(job)
        seen = list(events)
    ordered, *_ = (each for each, _ in transitions(seen))
    at_work = [(ordered + 1, "running"), (ordered + 2, "completed")]
    assert transitions(seen) == [(ordered, "awaiting_payment"), *at_work]
    cursors = [each["id"] for each in seen if each["event"] == "message"]
    with service.events(path, last_id=cursors[0]) as events:
        assert transitions(list(events)) == at_work
    assert service.client.get(path, headers={"Last-Event-ID": cursors[2]}).status_code == 204


def test_a_cursor_of_another_history_is_reset(service: Service) -> None:
    path = f"/jobs/{service.order('two words')['job_id']}/events"
    for last_id in ("00000000-1", "00000000-99"):
        with service.events(path, last_id=last_id) as events:
            [reset] = events
        assert reset["event"] == "reset"


@pytest.mark.thorough
def test_events_go_on_without_gap_or_double_after_a_kill(tmp_path: Path) -> None:
    count = tries(100)
    with served(tmp_path, "--pause", "0.01") as service:
        with service.events() as events:
            for each in range(count):
                service.pay(service.order(f"text {each}"))
            messages = (each for each in events if each["event"] == "message")
            told = list(takewhile(lambda each: number(each) != count, messages))
        seen = transitions(told)
        service.stop(signal.SIGKILL)
    with served(tmp_path, "--pause", "0.01") as service:
        with service.events(last_id=told[-1]["id"]) as events:
            while sum(status == "completed" for _, status in seen) < count:
                seen += transitions([next(events)])
        jobs = [job["result"] for job in all_jobs(service, tmp_path)]
    assert [sequence for sequence, _ in seen] == list(range(1, 3 * count + 1))
    assert len(jobs) == count
    assert None not in jobs


def all_jobs(service: Service, folder: Path) -> list[Json]:
    """Stop the service, and read its file."""
    service.stop()
    with SyncJobEngine(folder / "service.db", lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        return [job.model_dump() for job in engine.list_jobs(limit=1_000).jobs]


@pytest.mark.thorough
def test_overload_is_refused_with_the_time_to_come_back_and_nothing_is_lost(tmp_path: Path) -> None:
    answers: dict[str, int] = {}
    with served(tmp_path, "--max-waiting", "1") as service, ThreadPoolExecutor(50) as customers:

        def order(text: str) -> int:
            headers = {"Idempotency-Key": text, "Customer": "Ann"}
            answer = service.client.post("/jobs", json={"text": text}, headers=headers)
            assert answer.status_code in {202, 503}
            assert (answer.headers.get("retry-after") == "1") == (answer.status_code == 503)
            return answer.status_code

        for number in rounds():
            texts = [f"text {number} {place}" for place in range(100)]
            answers |= zip(texts, customers.map(order, texts), strict=True)
            if 503 in answers.values():
                break
        for text, answer in answers.items():  # one after the other, as a 503 says
            assert answer == 202 or order(text) == 202
        hashes = [job["input_hash"] for job in all_jobs(service, tmp_path)]
    assert len(hashes) == len(set(hashes)) == len(answers)


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_closes_at_a_signal_with_streams_and_waits_under_way(
    tmp_path: Path, number: signal.Signals
) -> None:
    with served(tmp_path, "--pause", "3600") as service, ThreadPoolExecutor(1) as customer:
        unpaid, running = service.order("one"), service.order("two")
        begin(service, running)
        waiting = customer.submit(service.get, unpaid, 30)
        with service.events() as events:
            service.stop(number)
            assert transitions(list(events)) == []
        assert waiting.result()["status"] == "awaiting_payment"
        assert "Application shutdown complete" in service.log
        assert "Traceback" not in service.log
        assert "timeout graceful shutdown exceeded" not in service.log
    with served(tmp_path, "--pause", "0") as service:  # the interrupted job is finished now
        assert service.get(running, wait_seconds=30)["status"] == "completed"


@pytest.mark.thorough
def test_without_a_secret_it_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.examples.serving.SECRET", b"")
    with pytest.raises(RuntimeError, match="set PAYMENT_SECRET"):
        Service(tmp_path)
