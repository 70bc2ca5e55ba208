"""`agent.py` and the money: killed at every step, its results and the ledger agree at the end."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random

import httpx
import pytest

from engine import AgentJobStatus as S
from tests.examples.agents import Agent, Agents, Json, Payments, agent, payment_service
from tests.reliability.engine_process import until
from tests.tries import report, seeded, tries

LONG_TEXT = "word " * 101  # about which its buyer is asked
NO_WORD = " "
MOST_SECONDS_OF_A_LIFE = 1.5
FULL_KILLS = 200
ORDERS = 5
"""Of each buyer in a life."""


@pytest.fixture
def payments() -> Iterator[Payments]:
    with payment_service() as payments:
        yield payments


def hash_of(*parts: str) -> str:
    return hashlib.sha256(";".join(parts).encode()).hexdigest()


def test_a_result_is_paid_for_proved_and_settled_once(tmp_path: Path, payments: Payments) -> None:
    payments.faults(confirm_after=2, settle=["500", "429", "drop"])
    with agent(tmp_path, payments) as its:
        told = its.call("/start_job", identifier_from_purchaser="me", input_data={"text": "ö 1"})
        job_id, payment = told["job_id"], told["blockchainIdentifier"]
        assert its.status(job_id)["status"] == "awaiting_payment"
        payments.call("/pay", payment_id=payment)
        assert its.until(job_id, "completed")["result"] == "ö 1"
        until(lambda: payments.ledger()[payment]["problem"] is None)
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            its.status(next(job.job_id for job in settles(its)))
    order = hash_of("me", '{"text":"ö 1"}')
    assert told["input_hash"] == order
    [move] = payments.moves(payment)
    assert (move["to"], move["result_hash"]) == ("seller", hash_of(order, "me", "ö 1"))


def settles(its: Agent) -> list[Agents]:
    """Return the settlements of an agent that is started again."""
    found = [job for job in its.jobs() if job.kind == "settle"]
    its.start()
    return found


@pytest.mark.thorough
def test_killed_at_each_step_it_is_settled_once(tmp_path: Path, payments: Payments) -> None:
    payments.faults(confirm_after=3)
    with agent(tmp_path, payments, pause=0.3) as its:
        job_id, payment = its.order(LONG_TEXT)
        its.kill()
        payments.call("/pay", payment_id=payment)
        its.start()
        prompt = its.until(job_id, "awaiting_input")
        its.restart()
        assert its.status(job_id) == prompt
        answer = {"job_id": job_id, "status_id": prompt["id"], "input_data": {"words": 2}}
        answered = its.call("/provide_input", **answer)
        its.restart()
        assert its.status(job_id)["status"] == "running"
        payments.faults(settle=["hang", "drop"])
        until(lambda: payments.moves(payment))  # applied, and the agent doesn't know
        its.restart()
        polls = payments.moves(payment)[0]["polls_until_confirmed"]
        until(lambda: payments.moves(payment)[0]["polls_until_confirmed"] < polls)
        its.restart()
        until(lambda: payments.ledger()[payment]["problem"] is None)
        assert its.until(job_id, "completed")["result"] == "word word"
        until(lambda: [job.status for job in settles(its)] == [S.COMPLETED])
    hashes = hash_of("mine", json.dumps({"text": LONG_TEXT}, separators=(",", ":")))
    answered_hash = hash_of("mine", '{"words":2}')
    assert answered["input_hash"] == answered_hash
    [move] = payments.moves(payment)
    proof = hash_of(hashes, answered_hash, "mine", "word word")
    assert (move["to"], move["result_hash"]) == ("seller", proof)


@pytest.mark.thorough
@pytest.mark.parametrize("end", ["fails", "is cancelled", "expires"])
def test_killed_at_each_step_it_is_refunded_once(
    end: str, tmp_path: Path, payments: Payments
) -> None:
    limit = 1 if end == "expires" else 3_600
    with agent(tmp_path, payments, pay_within=10, work_within=limit) as its:
        job_id, payment = its.order(NO_WORD if end == "fails" else LONG_TEXT)
        payments.call("/pay", payment_id=payment)
        payments.faults(refund=["hang", "drop", "500"])
        if end != "fails":
            its.until(job_id, "awaiting_input")
            its.restart()
        if end == "is cancelled":
            its.call("/cancel", job_id=job_id)
            its.restart()
        until(lambda: payments.moves(payment))  # applied, and the agent doesn't know
        its.restart()
        assert its.status(job_id)["status"] == "failed"
        until(lambda: all(job.outcome for job in ended(its)))
    [move] = payments.moves(payment)
    assert (move["to"], payments.ledger()[payment]["problem"]) == ("buyer", None)


def ended(its: Agent) -> list[Agents]:
    """Return the jobs of an agent that is started again."""
    found = its.jobs()
    its.start()
    return found


@pytest.mark.thorough
def test_money_that_the_agent_never_saw_goes_back_and_later_money_is_refused(
    tmp_path: Path, payments: Payments
) -> None:
    with agent(tmp_path, payments, pay_within=2) as its:
        (_, seen_late), (unpaid, never) = its.order("one"), its.order("two")
        its.kill()
        payments.call("/pay", payment_id=seen_late)
        until(lambda: payments.ledger()[never]["pay_by"] < time.time())
        its.start()
        until(lambda: all(each["is_closed"] for each in payments.ledger().values()))
        its.until(unpaid, "failed")
    assert [move["to"] for move in payments.moves(seen_late)] == ["buyer"]
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        payments.call("/pay", payment_id=never)


@pytest.mark.thorough
def test_money_and_results_agree_whenever_it_is_killed(tmp_path: Path, payments: Payments) -> None:
    random, kills, told = seeded("a killed agent"), tries(FULL_KILLS, least=5), dict[str, str]()
    with agent(tmp_path, payments) as its:
        for _ in range(kills):
            payments.faults(confirm_after=random.randrange(3), **some_faults(random))
            with ThreadPoolExecutor(4) as buyers:
                lives = [buyers.submit(buy, its.service.client, payments, told) for _ in "ABCD"]
                time.sleep(random.uniform(0, MOST_SECONDS_OF_A_LIFE))  # at any moment
                its.kill()
            for life in lives:
                life.result()
            its.start()
        for job_id in told:
            its.service.client.post("/cancel", json={"job_id": job_id})  # some still ask
        until(lambda: all(is_over(each) for each in payments.ledger().values() if each["is_paid"]))
        until(lambda: all(job.outcome for job in ended(its) if job.kind != "summary"))
        jobs = {job.payment_id: job for job in its.jobs() if job.kind == "summary"}
    ways = Counter[str]()
    for payment_id, payment in payments.ledger().items():
        way = payment["moves"][0]["to"] if payment["moves"] else "nobody"
        status = jobs[payment_id].status if payment_id in jobs else None
        assert payment["problem"] is None
        assert (way == "seller") is (status is S.COMPLETED), (payment, status)
        assert payment["is_paid"] is (way != "nobody")
        ways[f"{way}, {status}"] += 1
    report(f"{kills} kills, {dict(ways)}")
    assert {*told.values()} <= jobs.keys()
    assert {"seller, completed", "buyer, failed"} <= ways.keys()


def buy(client: httpx.Client, payments: Payments, told: dict[str, str]) -> None:
    """Order, pay, answer and cancel, until the agent is killed."""
    random = Random()
    with suppress(httpx.HTTPError, RuntimeError):  # the agent is gone, and its client closed
        for _ in range(ORDERS):
            text = random.choice(["a rose", NO_WORD, LONG_TEXT])
            order = {"identifier_from_purchaser": "me", "input_data": {"text": text}}
            job = client.post("/start_job", json=order).raise_for_status().json()
            told[job["job_id"]] = job["blockchainIdentifier"]
            if random.random() < 0.9:
                payments.call("/pay", payment_id=job["blockchainIdentifier"])
            if random.random() < 0.2:
                client.post("/cancel", json={"job_id": job["job_id"]})
            elif text is LONG_TEXT:
                answer(client, job["job_id"])


def answer(client: httpx.Client, job_id: str) -> None:
    """Wait for the question of a job, and answer it."""
    while (told := client.get("/status", params={"job_id": job_id}).json())["status"] != "failed":
        if told["status"] == "awaiting_input":
            values = {"job_id": job_id, "status_id": told["id"], "input_data": {"words": 3}}
            client.post("/provide_input", json=values)
            return


def some_faults(random: Random) -> Json:
    faults = ["500", "429", "drop", "drop"]
    return {name: random.choices(faults, k=3) for name in ("settle", "refund")}


def is_over(payment: Json) -> bool:
    return bool(payment["moves"]) and payment["problem"] is None
