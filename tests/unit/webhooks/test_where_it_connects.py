"""A delivery connects to the address that was checked, and to no other, whoever resolves the name.

The resolver is that of the process: whatever resolves a name again gets the next answer.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine import FailedAttempt, Job, JobStatus, Retry
from engine.testing import Lab, VirtualClock
from engine.webhooks import Endpoint, Webhooks, new_secret
from tests.unit.webhooks.receiver import Receiver, Resolver, receiving, status

pytestmark = pytest.mark.anyio
NAME, PUBLIC = "hook.example", "93.184.215.14"
OK = status(200)
TWICE = Retry(2, first_delay_seconds=0)


async def sent(
    receiver: Receiver,
    scheme: str = "http",
    **given: Any,  # noqa: ANN401 - of Endpoint
) -> tuple[Job[JobStatus], list[FailedAttempt]]:
    """Send one event to the receiver by its name; return the delivery and its failures."""
    url = f"{scheme}://{NAME}:{receiver.port}/"
    to = {JobStatus.RUNNING}
    hooks = Webhooks([Endpoint("it", url, new_secret(), to=to, retry=TWICE, **given)])
    clock = VirtualClock(patience_seconds=30.0)  # with a busy machine
    async with Lab(hooks.handlers, follow_ups=hooks.rules, clock=clock) as lab:
        job = await lab.start()
        [delivery] = await lab.engine.follow_ups(job.job_id)
        delivery = await lab.finish(delivery)
        return delivery, await lab.engine.attempts(delivery.job_id)


async def test_the_address_of_each_attempt_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = socket.gaierror(socket.EAI_AGAIN, "try again")
    resolver = Resolver(monkeypatch, NAME, fault, ["127.0.0.1"])
    with receiving(OK) as receiver:
        delivery, failures = await sent(receiver)
    assert delivery.status is JobStatus.FAILED
    assert "try again" in failures[0].error
    assert f"{NAME} has an address that is not public" in failures[1].error
    assert (resolver.calls, receiver.requests) == (2, [])


@pytest.mark.parametrize("private", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254"])
async def test_no_address_may_be_private(private: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Resolver(monkeypatch, NAME, [PUBLIC, private])
    with receiving(OK) as receiver:
        delivery, [failure, _] = await sent(receiver)
    assert delivery.status is JobStatus.FAILED
    assert "has an address that is not public" in failure.error
    assert private not in failure.error


async def test_a_name_is_resolved_once_in_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second answer leads inside; nobody must ask for it."""
    resolver = Resolver(monkeypatch, NAME, ["127.0.0.1"], ["127.0.0.9"])
    with receiving(OK) as receiver:
        delivery, failures = await sent(receiver, allow_private=True)
    assert (delivery.value, failures, resolver.calls) == ({"status_code": 200}, [], 1)
    assert receiver.requests[0].headers["host"] == f"{NAME}:{receiver.port}"


async def test_httpx_gets_the_checked_address_and_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[httpx.Request] = []

    async def refuse(_: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        given.append(request)
        raise httpx.ConnectError("this test reaches nobody")

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", refuse)
    Resolver(monkeypatch, NAME, [PUBLIC], ["127.0.0.1"])
    with receiving(OK) as receiver:
        _, [first, second] = await sent(receiver, "https")
    [request] = given
    assert request.url == f"https://{PUBLIC}:{receiver.port}/"
    assert request.headers["host"] == f"{NAME}:{receiver.port}"
    assert request.extensions["sni_hostname"] == NAME
    assert "this test reaches nobody" in first.error
    assert "has an address that is not public" in second.error


async def test_the_next_address_is_tried_if_one_takes_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Resolver(monkeypatch, NAME, ["127.0.0.9", "127.0.0.1", "::1"])
    with receiving(OK) as receiver:
        delivery, failures = await sent(receiver, allow_private=True)
    assert (delivery.value, failures) == ({"status_code": 200}, [])


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    Resolver(monkeypatch, NAME, ["127.0.0.1"])
    with receiving(OK) as receiver, receiving(OK) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{proxy.port}")
        await sent(receiver, allow_private=True)
        assert (len(receiver.requests), proxy.requests) == (1, [])


def certificate(folder: Path, name: str) -> Path:
    """Make a certificate for a name, with its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    file = folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    key = folder / "key.pem"
    subprocess.run(
        [*command, *names, "-out", file, "-keyout", key], check=True, capture_output=True
    )
    file.write_text(file.read_text() + key.read_text())
    return file


@pytest.mark.parametrize("name", [NAME, "other.example"])
async def test_tls_verifies_the_name_though_the_address_is_given(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path, name)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(file)
    trusting = ssl.create_default_context(cafile=str(file))
    Resolver(monkeypatch, NAME, ["127.0.0.1"])
    with receiving(OK, context=serving) as receiver:
        delivery, failures = await sent(receiver, "https", allow_private=True, ssl_context=trusting)
        strange, doubts = await sent(receiver, "https", allow_private=True)
    if name == NAME:
        assert (delivery.value, failures) == ({"status_code": 200}, [])
    else:
        assert delivery.status is JobStatus.FAILED
        assert "CERTIFICATE_VERIFY_FAILED" in failures[0].error
    assert strange.status is JobStatus.FAILED
    assert "CERTIFICATE_VERIFY_FAILED" in doubts[0].error
