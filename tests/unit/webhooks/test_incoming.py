"""Callbacks: genuine ones are let in, once each; others are refused, and the error says why."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.datastructures import Headers

from engine import ORDER_LIFECYCLE, InvalidValueError, JobEngine
from engine.web import problem_of
from engine.webhooks import InvalidWebhookError, new_secret, verify
from engine.webhooks.signing import signed_headers

NOW = datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC)
SECRET, OTHER, THIRD = new_secret(), new_secret(), new_secret()
BODY = '{"paid":"für A"}'


def clock() -> datetime:
    return NOW


def signed(*secrets: str, body: str = BODY, off: float = 0) -> dict[str, str]:
    return signed_headers(secrets or [SECRET], "msg_1", NOW + timedelta(seconds=off), body)


def check(headers: Any, body: bytes = BODY.encode(), secrets: Any = SECRET, **others: Any) -> Any:  # noqa: ANN401
    return verify(headers, body, secrets, clock=clock, **others)


def test_a_genuine_one_is_let_in() -> None:
    incoming = check(signed())
    assert incoming.message_id == "msg_1"
    assert incoming.sent_at == NOW.replace(microsecond=0)
    assert (incoming.body, incoming.json()) == (BODY.encode(), {"paid": "für A"})


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    # The test vector in the specification's README, whose secret has 24 bytes.
    at = datetime.fromtimestamp(1_614_265_330, UTC)
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", '{"test": 2432232314}'
    headers = signed_headers([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_names_of_headers_have_any_case() -> None:
    assert check({name.title(): value for name, value in signed().items()})
    assert check(Headers(signed()))


@pytest.mark.parametrize("off", [-300, 0, 300])
def test_a_time_within_the_tolerance_is_let_in(off: float) -> None:
    assert check(signed(off=off), tolerance_seconds=301)
    assert check(signed(off=off), tolerance_seconds=1e300)


@pytest.mark.parametrize("off", [-302, 302])
def test_a_time_past_the_tolerance_is_refused(off: float) -> None:
    with pytest.raises(InvalidWebhookError, match=r"webhook-timestamp is 30\d s off") as caught:
        check(signed(off=off))
    assert caught.value.field == "webhook-timestamp"


def test_while_a_secret_is_replaced_both_are_taken() -> None:
    assert check(signed(SECRET, OTHER))
    assert check(signed(OTHER), secrets=[SECRET, OTHER])
    assert check(signed(THIRD, OTHER), secrets=[SECRET, OTHER])
    assert check(signed(), secrets=SECRET.rstrip("="))
    with pytest.raises(InvalidWebhookError, match="is by none of the secrets"):
        check(signed(THIRD), secrets=[SECRET, OTHER])


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, "", "x" * 5_000, "\0", "0", "v1,", "v1", ",,", "é", 7])
def test_a_wrong_header_is_refused(name: str, value: Any) -> None:  # noqa: ANN401
    headers: dict[str, Any] = {**signed(), name: value}
    if value is None:
        del headers[name]
    with pytest.raises(InvalidWebhookError):
        check(headers)


@pytest.mark.parametrize(
    "value", ["0{}", "+{}", " {}", "{}.0", "{}_0", "1e9", "9" * 12, "٣", "-1", "nan"]
)
def test_a_time_has_one_form(value: str) -> None:
    headers = signed()
    headers["webhook-timestamp"] = value.format(headers["webhook-timestamp"])
    with pytest.raises(InvalidWebhookError):
        check(headers)


def test_another_version_of_signatures_is_passed_over() -> None:
    headers = signed()
    ours = headers["webhook-signature"]
    assert check({**headers, "webhook-signature": f"v1a,{base64.b64encode(b'x').decode()} {ours}"})
    with pytest.raises(InvalidWebhookError):
        check({**headers, "webhook-signature": ours.replace("v1,", "v2,")})


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", BODY.encode() + b" ", BODY.encode()[:-1]])
def test_another_body_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidWebhookError):
        check(signed(), body)


def test_a_body_that_is_no_json_is_refused_when_it_is_read() -> None:
    incoming = check(signed(body="<paid/>"), b"<paid/>")
    with pytest.raises(InvalidWebhookError, match="body must be JSON"):
        incoming.json()


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"secrets": []}, "secrets"),
        ({"secrets": [SECRET] * 3}, "secrets"),
        ({"secrets": "secret"}, "secrets"),
        ({"secrets": "whsec_" + "A" * 30}, "secrets"),
        ({"secrets": "whsec_é"}, "secrets"),
        ({"secrets": 7}, "secrets"),
        ({"body": BODY}, "body"),
        ({"tolerance_seconds": -1}, "tolerance_seconds"),
        ({"headers": None}, "headers"),
        ({"headers": [*signed().items()]}, "headers"),
        ({"headers": {name.encode(): value for name, value in signed().items()}}, "headers"),
    ],
)
def test_a_wrong_argument_is_the_programs_own_fault(arguments: Any, field: str) -> None:  # noqa: ANN401
    with pytest.raises(InvalidValueError) as caught:
        check(**{"headers": signed(), **arguments})
    assert caught.value.field == field
    assert not isinstance(caught.value, InvalidWebhookError)
    assert SECRET not in str(caught.value)


@pytest.mark.anyio
async def test_a_callback_that_is_replayed_creates_one_job() -> None:
    headers = signed()
    async with JobEngine(lifecycle=ORDER_LIFECYCLE) as engine:
        for _ in range(2):
            incoming = check(headers)
            await engine.create(input=incoming.json(), idempotency_key=incoming.message_id)
        assert await engine.count() == 1


def test_a_service_answers_a_refused_one_by_422() -> None:
    with pytest.raises(InvalidWebhookError) as caught:
        check({})
    answer = problem_of(caught.value)
    assert answer.status_code == 422
    assert b'"field":"webhook-id"' in answer.body
