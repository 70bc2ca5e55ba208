"""Deliveries to a real server: each event reaches each endpoint, whatever the server does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from engine import (
    ORDER_LIFECYCLE,
    FailedAttempt,
    Job,
    OrderStatus,
    SyncJobEngine,
    Worker,
)
from engine.storage.locations import Location
from engine.testing import Lab, VirtualClock
from engine.webhooks import Endpoint, Webhooks, new_secret, verify
from tests.unit.claiming import NewPlace
from tests.unit.webhooks.receiver import Answer, Receiver, hang, raw, receiving, status

pytestmark = pytest.mark.anyio
S = OrderStatus
SECRET, OTHER = new_secret(), new_secret()
OK = status(200)
DAY_SECONDS = 86_400
PATIENCE_SECONDS = 30.0  # of the clock, with a busy machine


async def work(text: str) -> str:
    return text.upper()


def endpoint(
    receiver: Receiver,
    name: str = "crm",
    **given: Any,  # noqa: ANN401 - of Endpoint
) -> Endpoint[OrderStatus]:
    to = given.pop("to", {S.COMPLETED})
    secrets = given.pop("secrets", SECRET)
    return Endpoint(name, receiver.url, secrets, to=to, allow_private=True, **given)


def lab_of(
    endpoints: Sequence[Endpoint[OrderStatus]],
    place: Location | None = None,
    clock: VirtualClock | None = None,
) -> Lab[OrderStatus]:
    hooks = Webhooks(endpoints)
    return Lab(
        {"default": work, "report": work, **hooks.handlers},
        lifecycle=ORDER_LIFECYCLE,
        storage=place,
        follow_ups=hooks.rules,
        clock=VirtualClock(patience_seconds=PATIENCE_SECONDS) if clock is None else clock,
    )


async def delivered(
    lab: Lab[OrderStatus],
) -> tuple[Job[OrderStatus], list[FailedAttempt]]:
    """Run a job; return its one delivery once that has ended, and the delivery's failures."""
    run = await lab.run("a rose")
    await lab.finish(run, follow_ups=True)
    [delivery] = await lab.engine.follow_ups(run.job_id)
    return delivery, await lab.engine.attempts(delivery.job_id)


async def test_an_event_is_delivered_as_the_standard_says(new_place: NewPlace) -> None:
    with receiving(OK) as receiver:
        crm = endpoint(receiver, headers={"Authorization": "Bearer 7"})
        async with lab_of([crm], new_place()) as lab:
            delivery, failures = await delivered(lab)
            order = await lab.engine.get(delivery.parent_id or "")
    assert (delivery.status, delivery.value) == (S.COMPLETED, {"status_code": 200})
    assert failures == []
    [request] = receiver.requests
    assert request.line == "POST /hook?to=crm HTTP/1.1"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer 7"
    assert request.headers["webhook-id"] == delivery.job_id
    assert Webhook(SECRET).verify(request.body, request.headers) == request.json
    assert request.json == {
        "type": "job.completed",
        "timestamp": order.updated_at.isoformat().replace("+00:00", "Z"),
        "data": {
            "job_id": order.job_id,
            "kind": "default",
            "status": "completed",
            "outcome": "succeeded",
            "version": order.version,
            "labels": {},
        },
    }


async def test_the_payload_may_be_the_job() -> None:
    with receiving(OK) as receiver:
        async with lab_of([endpoint(receiver, payload="job")]) as lab:
            delivery, _ = await delivered(lab)
            order = await lab.engine.get(delivery.parent_id or "")
    assert receiver.requests[0].json["data"] == order.model_dump(mode="json")
    assert receiver.requests[0].json["data"]["value"] == "A ROSE"


async def test_an_event_tells_the_status_that_a_job_has_left_since() -> None:
    # The second attempts begin when the job has ended.
    with receiving(status(500), status(500), OK) as receiver:
        both = endpoint(receiver, to={S.RUNNING, S.COMPLETED})
        async with lab_of([both]) as lab:
            order = await lab.run("a rose")
            await lab.finish(order, follow_ups=True)
    assert len(receiver.requests) == 4
    told = {each.json["type"]: each.json["data"] for each in receiver.requests[2:]}
    assert {kind: (data["status"], data["outcome"]) for kind, data in told.items()} == {
        "job.running": ("running", None),
        "job.completed": ("completed", "succeeded"),
    }


async def test_both_secrets_sign_while_one_replaces_the_other() -> None:
    with receiving(OK) as receiver:
        async with lab_of([endpoint(receiver, secrets=[OTHER, SECRET])]) as lab:
            delivery, _ = await delivered(lab)
    [request] = receiver.requests
    for secret in (SECRET, OTHER):
        assert verify(request.headers, request.body, secret).message_id == delivery.job_id


def until_a_date(connection: socket.socket, stopped: threading.Event) -> None:
    """Answer that the server is back in five hours."""
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=5)
    status(503, f"Retry-After: {format_datetime(later, usegmt=True)}")(connection, stopped)


DELAYS = {
    "error": (status(500, body="no\n\x00disk"), "500 Internal Server Error: no disk", 4, 6),
    "too many": (status(429, "Retry-After: 7200"), "429 Too Many Requests", 7_200, 7_201),
    "until a date": (
        until_a_date,
        "503 Service Unavailable",
        4.5 * 3_600 - 60,  # the engine may be late to read it
        5 * 3_600,
    ),
    "too long": (status(429, "Retry-After: 999999"), "429 Too", DAY_SECONDS, DAY_SECONDS + 1),
    "no delay": (status(429, "Retry-After: soon"), "429 Too", 4, 6),
    "not for this": (status(500, "Retry-After: 7200"), "500 Internal", 4, 6),
    "wrong": (status(400), "400 Bad Request", 4, 6),
    "closes at once": (raw(""), "RemoteProtocolError", 4, 6),
    "closes half way": (raw("HTTP/1.1 200 OK\r\nContent-Le"), "RemoteProtocolError", 4, 6),
    "closes in the body": (
        raw("HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nful"),
        "500 No: ful",
        4,
        6,
    ),
    "is no server": (raw("SSH-2.0-OpenSSH_9.2\r\n"), "RemoteProtocolError", 4, 6),
    "hangs in the body": (
        hang("HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nful"),
        "500 No: ful",
        4,
        6,
    ),
    "is endless": (raw("HTTP/1.1 500 No\r\n\r\n" + "x" * 1_000_000), "500 No: " + "x" * 200, 4, 6),
    "paints a phrase": (raw("HTTP/1.1 500 \x1b[31mNo\t\r\n\r\n"), "500 [31mNo", 4, 6),
    "has a long phrase": (raw(f"HTTP/1.1 500 {'x' * 9_000}\r\n\r\n"), "500 " + "x" * 200, 4, 6),
    "has a long head": (raw("HTTP/1.1 200 OK\r\nX: " + "x" * 500_000), "RemoteProtocolError", 4, 6),
}


@pytest.mark.parametrize(("answer", "error", "least", "most"), DELAYS.values(), ids=DELAYS)
async def test_a_failure_is_told_and_tried_again_later(
    answer: Answer, error: str, least: float, most: float
) -> None:
    with receiving(answer, OK) as receiver:
        async with lab_of([endpoint(receiver)]) as lab:
            delivery, [failure] = await delivered(lab)
            assert delivery.claimed_at is not None
            delay = (delivery.claimed_at - failure.ended_at).total_seconds()
    assert delivery.status is S.COMPLETED
    assert error in failure.error
    assert len(failure.error) < 500
    assert least <= delay <= most
    assert [each.headers["webhook-id"] for each in receiver.requests] == [delivery.job_id] * 2
    assert receiver.requests[0].body == receiver.requests[1].body


async def test_an_endpoint_that_hangs_is_left_after_its_time() -> None:
    with receiving(hang(), OK) as receiver:
        async with lab_of([endpoint(receiver)], clock=VirtualClock()) as lab:
            delivery, [failure, *_] = await delivered(lab)
    assert delivery.status is S.COMPLETED
    assert failure.error == "AttemptTimeoutError: the attempt took more than 15 s"
    assert failure.ended_at - failure.began_at == timedelta(seconds=15)


@pytest.mark.parametrize("body", ["", "nev"])
async def test_a_success_counts_from_its_status_on(body: str) -> None:
    with receiving(raw(f"HTTP/1.1 202 Later\r\nContent-Length: 9\r\n\r\n{body}")) as receiver:
        async with lab_of([endpoint(receiver)]) as lab:
            delivery, failures = await delivered(lab)
    assert (delivery.value, failures) == ({"status_code": 202}, [])


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_not_followed(code: int) -> None:
    with receiving(OK) as inside:
        with receiving(status(code, f"Location: {inside.url}"), OK) as receiver:
            async with lab_of([endpoint(receiver)]) as lab:
                _, [failure] = await delivered(lab)
        assert inside.requests == []
    assert f"answered {code}" in failure.error


async def test_attempts_go_on_for_three_days_and_then_need_attention() -> None:
    with receiving(status(500)) as receiver:
        async with lab_of([endpoint(receiver)]) as lab:
            order = await lab.run("a rose")
            [delivery] = await lab.engine.follow_ups(order.job_id)
            delivery = await lab.finish(delivery)
            assert delivery.status is S.NEEDS_ATTENTION
            assert delivery.updated_at - order.updated_at > timedelta(days=3)
            again = await lab.engine.retry(delivery.job_id)
            assert again.status is S.RUNNING
    assert len(receiver.requests) >= 18
    assert {each.headers["webhook-id"] for each in receiver.requests} == {delivery.job_id}


async def test_a_delivery_that_is_repeated_has_the_same_id() -> None:
    with receiving(OK) as receiver:
        async with lab_of([endpoint(receiver)]) as lab:
            delivery, _ = await delivered(lab)
            again = await lab.engine.repeat(delivery.job_id)
            if again.status is not S.RUNNING:
                await lab.engine.transition(again.job_id, S.RUNNING)
            await lab.finish(again)
    assert again.job_id != delivery.job_id
    assert [each.headers["webhook-id"] for each in receiver.requests] == [delivery.job_id] * 2


async def test_an_endpoint_that_is_gone_gets_no_more_until_it_is_enabled(
    lasting_place: NewPlace,
) -> None:
    clock = VirtualClock(patience_seconds=PATIENCE_SECONDS)
    with receiving(status(410), OK) as gone, receiving(OK) as there:
        endpoints = [endpoint(gone, "gone"), endpoint(there, "there")]
        for _ in range(2):  # the second is another start of the program, with the same rules
            async with lab_of(endpoints, lasting_place(), clock=clock) as lab:
                order = await lab.run("a rose")
                await lab.finish(order, follow_ups=True)
        assert (len(gone.requests), len(there.requests)) == (1, 2)
        async with lab_of(endpoints, lasting_place(), clock=clock) as lab:
            assert await lab.engine.enable_rule("webhook.gone")
            await lab.finish(await lab.run("a rose"), follow_ups=True)
        assert (len(gone.requests), len(there.requests)) == (2, 3)


async def test_a_failure_at_one_endpoint_sends_nothing_again_to_another() -> None:
    with receiving(status(500), status(500), OK) as failing, receiving(OK) as there:
        async with lab_of([endpoint(failing, "failing"), endpoint(there, "there")]) as lab:
            await lab.finish(await lab.run("a rose"), follow_ups=True)
    assert (len(failing.requests), len(there.requests)) == (3, 1)


async def test_only_events_of_the_status_and_kind_are_sent() -> None:
    with receiving(OK) as receiver:
        async with lab_of([endpoint(receiver, of="report")]) as lab:
            await lab.finish(await lab.run("a rose"), follow_ups=True)
            report = await lab.run("a report", kind="report")
            await lab.finish(report, follow_ups=True)
            unpaid = await lab.engine.create(kind="report")
            await lab.engine.cancel(unpaid.job_id)
            assert await lab.engine.follow_ups(unpaid.job_id) == []
    assert [each.json["data"]["job_id"] for each in receiver.requests] == [report.job_id]


def test_a_blocking_engine_delivers_too() -> None:
    with receiving(OK) as receiver:
        hooks = Webhooks([endpoint(receiver)])
        with (
            SyncJobEngine(lifecycle=ORDER_LIFECYCLE, follow_ups=hooks.rules) as engine,
            Worker(engine, {"default": work, **hooks.handlers}),
        ):
            job = engine.create(input="a rose", start=True)
            engine.wait(job.job_id, follow_ups=True, timeout=60)
            [delivery] = engine.follow_ups(job.job_id)
    assert delivery.value == {"status_code": 200}
    assert len(receiver.requests) == 1
