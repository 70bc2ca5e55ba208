"""The parts behind real servers, over real sockets: streams, waits, problems, and their end."""

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import httpx
import pytest

from tests.tries import thorough, tries
from tests.unit.web.serving import Jobs, served, statuses

BOTH = ["uvicorn", *thorough("hypercorn", "hypercorn on trio")]


@pytest.fixture(scope="module", params=BOTH)
def service(request: pytest.FixtureRequest) -> Iterator[Jobs]:
    """Run the app by each server, for tests that leave it as it is."""
    with served(request.param) as service:
        yield service


def test_a_stream_of_a_job_ends_with_it_and_tells_the_client_not_to_come_back(
    service: Jobs,
) -> None:
    job_id = service.create()
    path = f"/jobs/{job_id}/events"
    with service.events(path) as events:
        assert next(events)["to_status"] == "awaiting_payment"
        begun = events.last_id
        service.move(job_id, "running", "completed")
        assert statuses(events) == ["running", "completed"]
    assert events.last_id is not None
    again = service.client.get(path, headers={"Last-Event-ID": events.last_id})
    assert (again.status_code, again.content) == (204, b"")
    with service.events(path, begun) as events:
        assert statuses(events) == ["running", "completed"]


def test_a_client_that_comes_back_misses_nothing_and_gets_nothing_twice(service: Jobs) -> None:
    with service.events("/events") as events:
        assert events.next_block() is None  # it has an id before the first event
    first = service.create()
    with service.events("/events", events.last_id) as events:
        second = service.create()
        assert [each["job_id"] for each in islice(events, 2)] == [first, second]
    service.move(second, "running")
    service.move(first, "running")
    with service.events("/events", events.last_id) as events:
        assert [each["job_id"] for each in islice(events, 2)] == [second, first]


def test_a_cursor_of_another_history_is_reset(service: Jobs) -> None:
    path = f"/jobs/{service.create()}/events"
    with service.events(path, "00000000-1") as events:
        [reset] = events
    assert (reset["event"], reset["code"], reset["status"]) == ("reset", "unknown-cursor", 410)
    assert events.last_id == ""


def test_an_idle_stream_is_kept_alive(service: Jobs) -> None:
    with service.events("/events", last_id=None) as events:
        while events.heartbeats < 2:
            assert events.next_block() is None


def test_problems_come_before_the_stream(service: Jobs) -> None:
    unknown = service.client.get("/jobs/unknown/events")
    assert unknown.headers["content-type"] == "application/problem+json"
    assert (unknown.status_code, unknown.json()["code"]) == (404, "job-not-found")
    wrong = service.client.get("/events", headers={"Last-Event-ID": "x"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "after")


def test_a_head_request_gets_no_stream(service: Jobs) -> None:
    answer = service.client.head("/events")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")


def test_a_client_waits_for_a_job_as_long_as_it_prefers(service: Jobs) -> None:
    job_id = service.create()
    path = f"/jobs/{job_id}"
    with ThreadPoolExecutor(1) as customer:
        waiting = customer.submit(service.client.get, path, headers={"Prefer": "wait=3600"})
        service.move(job_id, "running", "completed")
        assert waiting.result().json()["status"] == "completed"
    still = service.client.get(f"/jobs/{service.create()}", headers={"Prefer": "wait=0"})
    assert still.json()["status"] == "awaiting_payment"
    assert service.client.get("/health").json() == {"healthy": True}


def _opened(service: Jobs, path: str) -> socket.socket:
    """Open a stream as a client that reads nothing yet, and has little room."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.settimeout(60)
    client.connect((service.address.host, service.address.port))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return client


def _wait_for_watchers(service: Jobs, count: int) -> None:
    while service.client.get("/watchers").raise_for_status().json() != count:
        pass


def test_a_slow_client_delays_no_one_and_misses_nothing(service: Jobs) -> None:
    count = tries(3_000, least=1_500)
    watchers = service.client.get("/watchers").json()
    with _opened(service, "/events") as slow:
        _wait_for_watchers(service, watchers + 1)
        with service.events("/events") as quick:
            events = iter(quick)
            assert quick.next_block() is None
            service.client.post(f"/pay/{count}").raise_for_status()
            expected = [each["sequence"] for each in islice(events, 2 * count)]
        seen, rest = list[int](), b""
        while len(seen) < len(expected):
            read = slow.recv(65_536)
            assert read
            *lines, rest = (rest + read).split(b"\n")
            seen += [int(line.rpartition(b"-")[2]) for line in lines if line.startswith(b"id: ")]
            seen = [each for each in seen if each >= expected[0]]
    assert seen == expected
    _wait_for_watchers(service, watchers)


def test_a_client_that_goes_leaves_nothing_behind(service: Jobs) -> None:
    watchers = service.client.get("/watchers").json()
    with _opened(service, "/events"):
        _wait_for_watchers(service, watchers + 1)
    _wait_for_watchers(service, watchers)


TOLD = [
    ("uvicorn", signal.SIGTERM),
    *(
        pytest.param(server, number, marks=pytest.mark.thorough)
        for server, number in [
            ("uvicorn", signal.SIGINT),
            ("hypercorn", signal.SIGTERM),  # whose worker process gets no signal
            ("hypercorn", signal.SIGINT),
            ("hypercorn on trio", signal.SIGTERM),
            ("hypercorn on trio", signal.SIGINT),
            ("hypercorn without workers", signal.SIGTERM),
            ("hypercorn without workers", signal.SIGINT),
        ]
    ),
]


@pytest.mark.parametrize(("server", "number"), TOLD)
def test_streams_and_waits_end_when_the_server_stops(server: str, number: signal.Signals) -> None:
    with served(server) as service, ThreadPoolExecutor(1) as customer:
        job_id = service.create()
        path = f"/jobs/{job_id}"
        watchers = service.client.get("/watchers").json()
        waiting = customer.submit(
            httpx.get, service.address.join(path), headers={"Prefer": "wait=3600"}, timeout=60
        )
        with service.events("/events") as of_all, service.events(f"{path}/events") as of_one:
            _wait_for_watchers(service, watchers + 3)
            assert next(of_one)["to_status"] == "awaiting_payment"
            service.stop(number)
            assert [*of_one] == [*of_all] == []
        assert waiting.result().json()["status"] == "awaiting_payment"
        assert "Traceback" not in service.log


@pytest.mark.thorough
def test_a_client_that_reads_nothing_holds_uvicorn_up_for_no_longer_than_its_limit() -> None:
    limit = ("--timeout-graceful-shutdown", "1")
    with served("uvicorn", *limit) as service, _opened(service, "/events"):
        _wait_for_watchers(service, 1)
        service.client.post("/pay/12000").raise_for_status()
        service.stop()


@pytest.mark.thorough
@pytest.mark.parametrize("server", BOTH)
def test_a_client_that_comes_back_after_a_kill_misses_nothing(server: str, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.db"
    with served(server, jobs=jobs) as service, service.events("/events") as events:
        job_id = service.create()
        assert next(events)["to_status"] == "awaiting_payment"
        service.move(job_id, "running", "completed")
        service.kill()
    with served(server, jobs=jobs) as service:
        with service.events("/events", events.last_id) as events:
            assert statuses(islice(events, 2)) == ["running", "completed"]
        with service.events(f"/jobs/{job_id}/events") as events:
            assert statuses(events) == ["awaiting_payment", "running", "completed"]
