"""Endpoints are checked when they are made, and show no secrets."""

from __future__ import annotations

from typing import Any

import pytest

from engine import FollowUp, InvalidValueError, JobStatus
from engine.webhooks import DELIVERY_RETRY, Endpoint, Webhooks, new_secret

URL = "https://hook.example/jobs"
COMPLETED = JobStatus.COMPLETED


def made(**given: Any) -> Endpoint[JobStatus]:  # noqa: ANN401
    arguments = {"name": "crm", "url": URL, "secrets": new_secret(), "to": {COMPLETED}}
    return Endpoint(**{**arguments, **given})


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        *(({"name": name}, "name") for name in ("", "CRM", "a/b", "x" * 57, None)),
        *(
            ({"url": url}, "url")
            for url in (
                *("", "hook.example", "ftp://hook.example", "https://", "https:///x", "file:///x"),
                *("https://ann:secret@hook.example", "https://hook.example:99999", "https://a\n.b"),
                *("https://hook.example/" + "x" * 2_048, None, b"https://hook.example"),
                *(
                    "http://127.0.0.1/",
                    "http://[::1]/",
                    "http://localhost:80",
                    "http://localhost./",
                    "http://127.0.0.1./",
                    "https://a.localhost",
                ),
                *("http://10.1.2.3/", "http://[::ffff:10.1.2.3]/", "http://169.254.169.254/"),
            )
        ),
        ({"secrets": []}, "secrets"),
        ({"secrets": ["whsec_short"]}, "secrets"),
        ({"to": set()}, "to"),
        ({"of": "A kind"}, "kind"),
        ({"payload": "all"}, "payload"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"allow_private": 1}, "allow_private"),
        ({"concurrency": 0}, "concurrency"),
        ({"retry": 3}, "retry"),
        ({"ssl_context": "ca.pem"}, "ssl_context"),
        ({"headers": ["a"]}, "headers"),
        ({"headers": {f"x-{number}": "" for number in range(33)}}, "headers"),
        ({"headers": {"a b": "c"}}, "headers"),
        ({"headers": {"Webhook-Id": "c"}}, "headers"),
        ({"headers": {"Host": "c"}}, "headers"),
        ({"headers": {"x": "a\r\nb: c"}}, "headers['x']"),
        ({"headers": {"x": 7}}, "headers['x']"),
    ],
)
def test_a_wrong_argument_is_refused(arguments: Any, field: str) -> None:  # noqa: ANN401
    with pytest.raises(InvalidValueError) as caught:
        made(**arguments)
    assert caught.value.field == field


def test_private_addresses_are_taken_if_they_are_allowed() -> None:
    assert made(url="http://127.0.0.1:8000/", allow_private=True).allow_private


def test_it_is_a_rule_of_follow_ups() -> None:
    endpoint = made(of=["report"], started=True, labels={"region": "eu"})
    assert endpoint.rule == FollowUp(
        "webhook.crm", to={COMPLETED}, of=["report"], started=True, labels={"region": "eu"}
    )
    assert Webhooks([endpoint]).rules == [endpoint.rule]


def test_it_is_shown_without_what_is_secret() -> None:
    secret = new_secret()
    shown = repr(made(secrets=secret, url=f"{URL}/s3cr3t", headers={"Authorization": "s3cr3t"}))
    assert secret not in shown
    assert "s3cr3t" not in shown


def test_endpoints_have_different_names() -> None:
    with pytest.raises(InvalidValueError, match="two with the name 'crm'"):
        Webhooks([made(), made()])
    with pytest.raises(InvalidValueError, match="must have Endpoints"):
        Webhooks(["crm"])  # type: ignore[list-item]


def test_deliveries_are_tried_for_three_days_at_least() -> None:
    retries = range(1, DELIVERY_RETRY.max_attempts)
    assert sum(DELIVERY_RETRY.delay_seconds(each, 0.0) for each in retries) > 3 * 86_400
