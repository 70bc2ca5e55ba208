"""The JSON API: each operation by HTTP, described by OpenAPI."""

from __future__ import annotations

import gc
import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest
from pydantic import BaseModel
from starlette.responses import Response

from engine import CommitUnknownError, Context, Handler, JobEngine, StorageError, Worker
from engine import OrderStatus as S
from engine.operations import OPERATIONS, EngineDesk
from engine.operations.fields import job_fields
from engine.owner.commands.read import ReadHistory
from engine.owner.core import Core
from engine.storage.record import Record
from engine.web.dashboard import Dashboard, repeats, token_access
from engine.web.dashboard.api import _seen
from engine.web.dashboard.board import Board
from engine.web.dashboard.inbox import read_inbox
from tests.unit.web.dashboard.browsing import ROOT, Browser
from tests.unit.web.dashboard.conftest import as_said, client_of
from tests.unit.web.dashboard.test_feed import CountingDesk, stream

pytestmark = pytest.mark.anyio

API = f"{ROOT}/api"
CALL = repeats.Call.of("start", {})


async def get(client: httpx.AsyncClient, operation: str, **query: str) -> Any:  # noqa: ANN401 - JSON
    answer = await client.get(f"{API}/{operation}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def post(
    client: httpx.AsyncClient, operation: str, key: str | None = None, **arguments: object
) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await client.post(f"{API}/{operation}", json=arguments, headers=headers)


async def test_every_operation_is_described_and_is_there(client: httpx.AsyncClient) -> None:
    described = await get(client, "openapi.json")
    assert described["openapi"] == "3.1.0"
    assert described["servers"] == [{"url": ROOT}]
    operations = {f"/api/{name}" for name in OPERATIONS}
    assert described["paths"].keys() == {*operations, "/api/events"}
    for name, operation in OPERATIONS.items():
        [method] = described["paths"][f"/api/{name}"]
        assert method == ("post" if operation.acts else "get")
        answer = await client.request(method, f"{API}/{name}", json={} if operation.acts else None)
        assert answer.status_code in {200, 422}, name
        other = await client.request("get" if operation.acts else "put", f"{API}/{name}", json={})
        assert other.status_code == 405
    assert "security" not in described


async def test_every_argument_of_a_read_is_explained(client: httpx.AsyncClient) -> None:
    described = await get(client, "openapi.json")
    reads = [path["get"] for path in described["paths"].values() if "get" in path]
    for read in reads:
        for argument in read["parameters"]:
            name = argument["name"]
            assert argument.get("description") or f"``{name}``" in read["description"], name
    [jobs] = [read for read in reads if read["operationId"] == "jobs"]
    assert "ends before its limit" in jobs["description"]  # its own words
    assert "``created_after`` or later" in jobs["description"]  # those of a filter


async def test_a_stream_begins_behind_the_argument_that_is_described(
    engine: JobEngine[S], client: httpx.AsyncClient
) -> None:
    job = await engine.create(start=True)
    await engine.transition(job.job_id, S.COMPLETED)
    started, _ = await engine.history(job.job_id)
    query = {"job_id": job.job_id, "after": str(started.cursor)}
    answer = await client.get(f"{API}/events", params=query)
    assert answer.text.count("\nid: ") == 1
    described = await get(client, "openapi.json")
    told = described["paths"]["/api/events"]["get"]["parameters"]
    assert {each["name"] for each in told} == {"job_id", "after", "Last-Event-ID"}


async def test_jobs_are_read_by_queries(engine: JobEngine[S], client: httpx.AsyncClient) -> None:
    first = await engine.create(labels={"customer": "ann"}, payment_id="p")
    await engine.create(labels={"customer": "bob"})
    page = await get(client, "jobs", **{"labels[customer]": "ann", "limit": "7"})
    assert [job["job_id"] for job in page["jobs"]] == [first.job_id]
    newest = await get(client, "jobs", newest_first="false", limit="1")
    assert newest["jobs"][0]["job_id"] == first.job_id
    assert (await get(client, "find", payment="p"))["job_id"] == first.job_id
    assert (await get(client, "count", status="running"))["jobs"] == 0
    for query, field in (
        *(({"limit": "many"}, "limit"), ({"status": "lost"}, "status"), ({"colour": "7"}, "jobs")),
        *(({"labels": "x"}, "labels"), ({"labels[a]": "1", "labels": "2"}, "labels")),
    ):
        answer = await client.get(f"{API}/jobs", params=query)
        assert (answer.status_code, field in answer.json()["detail"]) == (422, True), answer.text


async def test_an_act_says_who_and_a_refused_one_why(
    engine: JobEngine[S], client: httpx.AsyncClient
) -> None:
    job = await engine.create()
    done = await post(client, "cancel", job_id=job.job_id, reason="closed", expected_version=1)
    assert (done.status_code, done.json()["outcome"]) == (200, "cancelled")
    assert (await engine.history(job.job_id))[-1].by == "ann"
    for arguments, status, code in (
        ({"job_id": job.job_id, "expected_version": 1}, 409, "version-conflict"),
        ({"job_id": "unheard of"}, 404, "job-not-found"),
        ({"job_id": 7}, 422, "invalid-value"),
        ({"job_id": job.job_id, "by": "bob"}, 422, "invalid-value"),
    ):
        refused = await post(client, "cancel", **arguments)
        assert (refused.status_code, refused.json()["code"]) == (status, code)
        assert refused.headers["content-type"] == "application/problem+json"
    for wrong in ("[]", "{", '"x"', "", "[" * 100_000):
        headers = {"Content-Type": "application/json"}
        answer = await client.post(f"{API}/cancel", content=wrong, headers=headers)
        assert answer.status_code == 422
    plain = await client.post(f"{API}/cancel", content=json.dumps({"job_id": job.job_id}))
    assert plain.status_code == 403  # any page may send that


async def test_a_repeated_request_gets_its_answer_again(
    engine: JobEngine[S], client: httpx.AsyncClient
) -> None:
    job = await engine.create()
    arguments = {"job_id": job.job_id, "expected_version": 1}
    first = await post(client, "start", "k", **arguments)
    assert (await post(client, "start", "k", **arguments)).content == first.content
    assert (await post(client, "start", "other", **arguments)).status_code == 409
    assert (await post(client, "start", "other", **arguments)).status_code == 409
    used = await post(client, "cancel", "k", **arguments)
    assert (used.status_code, used.json()["code"]) == (422, "key-used")
    for wrong in ("", "k" * 257):
        assert (await post(client, "start", wrong, **arguments)).status_code == 422
    client.headers["who"] = "bob"  # whose keys are others
    assert (await post(client, "cancel", "k", job_id=job.job_id)).status_code == 200


async def test_a_request_that_is_at_work_is_not_begun_again() -> None:
    kept = repeats.Repeats()
    begun, go_on = anyio.Event(), anyio.Event()

    async def act() -> Response:
        begun.set()
        await go_on.wait()
        return Response("done")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kept.once, "ann", "k", CALL, act)
        await begun.wait()
        again = await kept.once("ann", "k", CALL, act)
        assert (again.status_code, again.headers["retry-after"]) == (409, "1")
        go_on.set()
    assert (await kept.once("ann", "k", CALL, act)).body == b"done"


async def test_a_request_whose_outcome_is_unknown_is_not_made_again() -> None:
    kept, made = repeats.Repeats(), list[str]()

    async def act() -> Response:
        made.append("once")
        raise CommitUnknownError(StorageError("the disk is gone"))

    with pytest.raises(CommitUnknownError):
        await kept.once("ann", "k", CALL, act)
    again = await kept.once("ann", "k", CALL, act)
    assert (again.status_code, json.loads(bytes(again.body))["code"]) == (503, "outcome-unknown")
    assert made == ["once"]


async def test_a_request_that_was_not_applied_is_made_again() -> None:
    kept, errors = repeats.Repeats(), [StorageError("the disk is full")]

    async def act() -> Response:
        if errors:
            raise errors.pop()
        return Response("done")

    with pytest.raises(StorageError):
        await kept.once("ann", "k", CALL, act)
    assert (await kept.once("ann", "k", CALL, act)).body == b"done"


async def test_large_arguments_are_not_kept_and_their_order_does_not_count(
    engine: JobEngine[S], client: httpx.AsyncClient
) -> None:
    job = await engine.create()
    given = {"job_id": job.job_id, "reason": "closed"}
    first = await post(client, "cancel", "k", **given)
    again = await post(client, "cancel", "k", **dict(reversed(given.items())))
    assert (again.status_code, again.content) == (200, first.content)
    tracemalloc.start()
    try:
        for number in range(4):
            refused = await post(client, "cancel", str(number), job_id="x", reason="r" * 1_000_000)
            assert refused.status_code == 422
        del refused
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


async def test_only_so_many_answers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_MOST_BYTES", 25)
    kept, made = repeats.Repeats(), list[str]()

    async def ask(key: str) -> None:
        async def act() -> Response:
            made.append(key)
            return Response("x" * 10)

        await kept.once("ann", key, CALL, act)

    for key in ("a", "b", "a", "c", "b", "a"):
        await ask(key)
    assert made == ["a", "b", "c", "a"]


async def test_inputs_and_results_are_hidden_from_programs_too(engine: JobEngine[S]) -> None:
    job = await engine.create(input="secret in", start=True)
    hiding = Dashboard(engine, authorize=as_said, hide=lambda _: True)
    async with client_of(hiding) as client:
        done = await post(
            client, "move", job_id=job.job_id, status="completed", result="secret out"
        )
        each = await post(client, "each", act="repeat", jobs=[{"job_id": job.job_id}])
        listed = json.dumps(await get(client, "jobs"))
        for text in (each.text, listed):  # they have no data at all, and so nothing to hide
            assert "secret" not in text
            assert job.input_hash not in text
            assert '"hidden"' not in text
        texts = [done.text]
        for path, query in (
            *(("jobs", {"whole": "true"}), ("job", {"job_id": job.job_id})),
            ("find", {"payment": f"mock_bc_{job.job_id}"}),
        ):
            texts.append(json.dumps(await get(client, path, **query)))
        for text in texts:
            assert ("secret" in text, '"hidden":' in text) == (False, True)
            assert job.input_hash not in text
        refused = await client.get(f"{API}/count", params={"input_hash": job.input_hash})
        assert (refused.status_code, "is hidden here" in refused.text) == (422, True)
        assert job.input_hash not in (await Browser(client).get("/job", id=job.job_id)).text


class Order(BaseModel):
    """What a job asks for: fields that jobs have, too."""

    job_id: str
    sequence: int
    input: str


async def test_only_jobs_are_hidden_whatever_they_are_labelled_and_ask_for(
    engine: JobEngine[S],
) -> None:
    def is_at_work(job: dict[str, Any]) -> bool:
        return bool(job["status"] == "running")

    async def ask(_: None, context: Context[S]) -> None:
        context.request_input(Order, timedelta(hours=1))

    labels = {"job_id": "a", "sequence": "7", "input": "b", "input_hash": "c", "result": "d"}
    hiding = Dashboard(engine, authorize=as_said, hide=is_at_work)
    async with client_of(hiding) as client:
        job = await engine.create(labels=labels)
        [listed] = (await get(client, "jobs"))["jobs"]
        [started] = (await post(client, "each", act="start", jobs=[{"job_id": job.job_id}])).json()
        assert (listed["labels"], started["job"]["labels"]) == (labels, labels)
        hidden = (await get(client, "job", job_id=job.job_id))["job"]
        assert (hidden["labels"], hidden["hidden"]) == (labels, True)
        async with Worker(engine, Handler(ask)):
            asking = await engine.wait(job.job_id, until={S.AWAITING_INPUT})
        assert asking.prompt is not None
        [asked] = (await get(client, "jobs", status="awaiting_input"))["jobs"]
        whole = (await get(client, "job", job_id=job.job_id))["job"]
        for told in (asked, whole):
            assert told["prompt"]["json_schema"] == asking.prompt.json_schema
            assert "hidden" not in told


async def test_a_job_whose_newest_transition_is_unknown_is_hidden_too(
    engine: JobEngine[S],
) -> None:
    noon = datetime(2026, 11, 30, 12, tzinfo=UTC)
    record = Record("a", "running", "hash", None, noon, noon, 1, input='"secret in"', sequence=0)
    board = Board(EngineDesk(engine.core), lambda _: True, has_login=False, read_waiting=read_inbox)
    told = _seen(board, {"jobs": [job_fields(record)]})
    assert ("secret in" in str(told), "'hidden': True" in str(told)) == (False, True)


async def test_what_hide_fails_on_is_hidden(
    engine: JobEngine[S], caplog: pytest.LogCaptureFixture
) -> None:
    def is_medical(job: dict[str, Any]) -> bool:
        return bool(job["kind"] == "medical")

    job = await engine.create(input="secret in")
    async with client_of(Dashboard(engine, authorize=as_said, hide=is_medical)) as client:
        started = await post(client, "start", "k", job_id=job.job_id)
        page = await Browser(client).get("/job", id=job.job_id)
    assert (started.status_code, started.json()["hidden"]) == (200, True)
    assert (page.status, "secret" in page.text, "are hidden" in page.text) == (200, False, True)
    assert (await engine.get(job.job_id)).status is S.RUNNING
    assert {line.name for line in caplog.records} == {"engine.web"}
    assert "KeyError: 'kind'" in caplog.text


async def test_a_client_waits_for_the_end_of_a_job(
    engine: JobEngine[S], client: httpx.AsyncClient
) -> None:
    job = await engine.create(start=True)
    async with anyio.create_task_group() as tasks:
        ended = list[str]()

        async def wait() -> None:
            answer = await client.get(
                f"{API}/job", params={"job_id": job.job_id}, headers={"Prefer": "wait=30"}
            )
            ended.append(answer.json()["job"]["status"])

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await engine.transition(job.job_id, S.COMPLETED)
    assert ended == ["completed"]
    waiting = await engine.create()
    late = await client.get(
        f"{API}/job", params={"job_id": waiting.job_id}, headers={"Prefer": "wait=0"}
    )
    assert late.json()["job"]["status"] == "awaiting_payment"


async def test_a_client_that_reads_old_lines_waits_for_the_end_as_well(
    engine: JobEngine[S],
) -> None:
    desk, job = CountingDesk(engine), await engine.create()
    await engine.start(job.job_id)
    first, second = await engine.history(job.job_id)
    async with client_of(Dashboard(desk, authorize=as_said)) as client:
        told = list[dict[str, Any]]()

        async def wait() -> None:
            asked = {"job_id": job.job_id, "before": str(second.sequence)}
            answer = await client.get(f"{API}/job", params=asked, headers={"Prefer": "wait=30"})
            told.append(answer.json())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert desk.asked.count("transitions") == 1
            await engine.transition(job.job_id, S.COMPLETED)
    assert told[0]["job"]["status"] == "completed"
    assert [line["sequence"] for line in told[0]["history"]] == [first.sequence]
    assert told[0]["older"] is None


async def test_a_job_that_ends_while_it_is_told_is_not_waited_for(
    engine: JobEngine[S], client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, ask = await engine.create(start=True), Core.ask

    async def end_and_ask(core: Core[Any], message: Any, **how: Any) -> Any:  # noqa: ANN401 - of any message
        if isinstance(message, ReadHistory):  # behind the read of the job
            monkeypatch.setattr(Core, "ask", ask)
            await engine.transition(job.job_id, S.COMPLETED)
        return await ask(core, message, **how)

    monkeypatch.setattr(Core, "ask", end_and_ask)
    query, preferring = {"job_id": job.job_id}, {"Prefer": "wait=30"}
    with anyio.fail_after(10):
        answer = await client.get(f"{API}/job", params=query, headers=preferring)
    assert answer.json()["job"]["status"] == "completed"


async def test_the_transitions_of_a_job_are_streamed_to_its_end(
    engine: JobEngine[S], dashboard: Dashboard, client: httpx.AsyncClient
) -> None:
    job = await engine.create(start=True)
    async with stream(dashboard, f"/api/events?job_id={job.job_id}") as events:
        first = await events.event()
        assert first["data"]["to_status"] == "running"
        await engine.transition(job.job_id, S.COMPLETED, by="ann")
        last = await events.event()
        assert (last["data"]["to_status"], last["data"]["by"]) == ("completed", "ann")
        await events.has_returned.wait()
    answer = await client.get(f"{API}/events", params={"job_id": job.job_id})
    assert [line for line in answer.text.splitlines() if line.startswith("id: ")] == [
        f"id: {first['id']}",
        f"id: {last['id']}",
    ]
    for last_id, status in ((last["id"], 204), ("nonsense", 422), ("00000000-1", 410)):
        answer = await client.get(
            f"{API}/events", params={"job_id": job.job_id}, headers={"Last-Event-ID": last_id}
        )
        assert answer.status_code == status, answer.text
    assert (await client.get(f"{API}/events?job_id=lost")).status_code == 404


async def test_all_transitions_are_streamed_from_now_on_or_behind_the_last_event(
    engine: JobEngine[S], dashboard: Dashboard
) -> None:
    await engine.create()
    async with stream(dashboard, "/api/events") as events:
        assert await events.part() == ": still here\n\n"  # it has begun
        job = await engine.create()
        first = await events.event()
        assert first["data"]["job_id"] == job.job_id
        await engine.start(job.job_id)
        second = await events.event()
    async with stream(dashboard, "/api/events", last_id=first["id"]) as events:
        assert await events.event() == second


async def test_a_stream_that_begins_far_behind_leaves_nothing_out(
    engine: JobEngine[S], dashboard: Dashboard
) -> None:
    first, *ids = [(await engine.create()).job_id for _ in range(251)]
    [line] = await engine.history(first)
    async with stream(dashboard, "/api/events", last_id=str(line.cursor)) as events:
        assert [(await events.event())["data"]["job_id"] for _ in ids] == ids


async def test_a_body_of_very_many_values_is_refused(client: httpx.AsyncClient) -> None:
    body = b'{"job_id": [' + b"[]," * 200_000 + b"0]}"
    headers = {"Content-Type": "application/json"}
    answer = await client.post(f"{API}/retry", content=body, headers=headers)
    assert (answer.status_code, "131,072 JSON values" in answer.text) == (422, True)


async def test_a_token_is_described(engine: JobEngine[S]) -> None:
    token = "correct horse battery"  # noqa: S105 - of the test
    async with client_of(Dashboard(engine, authorize=token_access(token)), None) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        described = await get(client, "openapi.json")
    assert described["security"] == [{"token": []}]
