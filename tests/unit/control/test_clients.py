"""Clients of the control socket that are slow, full or hostile: they are cut, and nothing else."""

from __future__ import annotations

import os
import resource
import signal
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from pwd import getpwuid
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus

from engine import (
    EngineError,
    JobEngine,
    JobStatus,
    OutcomeUnknownError,
    SQLiteStorage,
    SyncJobEngine,
)
from engine.control import connection, server
from engine.control.client import SocketDesk
from engine.control.peer import Peer, peer_of, this_operator
from engine.domain.validation import MAX_BY_CHARACTERS, check_text
from engine.storage.audit import AuditLine
from engine.storage.record import Change
from engine.testing.facades import opened_engine
from tests.systems import needs_fork, needs_superuser
from tests.tries import thorough
from tests.unit.control.clients import (
    SECONDS_AGAINST_HANGS,
    Client,
    ask,
    connected,
    control,
    until,
)
from tests.unit.storage.sqlite.privileges import in_child

pytestmark = pytest.mark.anyio

OWNER, MEMBER, STRANGER, TEAM = 20_001, 20_002, 20_003, 20_500

ABOUT = {"id": 1, "operation": "about"}
REFUSED = b'{"id": 1, "operation": "about", "by": "root"}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture(params=[JobEngine, *thorough(SyncJobEngine)])
async def engine(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Any]:
    async with opened_engine(request.param, path) as engine:
        yield engine
        assert (await engine.create("hash")).version == 1, "the engine works on"
        async with SocketDesk(path) as desk:
            assert (await desk.do("jobs", {"limit": 1}))["jobs"]


@pytest.fixture
async def client(engine: object, path: Path) -> AsyncIterator[Client]:  # noqa: ARG001
    client = await connected(path)
    async with client.stream:
        yield client


async def test_requests_are_answered_by_their_ids(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_ENDING_SECONDS", 1.0)
    await client.send({"id": 7, "operation": "transitions", "arguments": {"wait": 30}})
    await client.send({"id": -8, "operation": "rules"}, b' {"operation":"rules","id":9} \r\n')
    await client.stream.send_eof()
    assert {(await client.read())["id"] for _ in range(2)} == {-8, 9}
    assert await client.is_cut(), "the client has waited for too long"


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\n",
        b"\n",
        b"null\n",
        b"[" * 100_000 + b"\n",
        b"\xff\n",
        b'{"id": null, "operation": "about"}\n',
        b'{"id": 1, "operation": "about", "arguments": []}\n',
        REFUSED,
        b"x" * 3_000,
        b"x" * 3_000 + b"\n",
    ],
)
async def test_what_is_no_request_ends_the_connection(
    client: Client, line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_REQUEST_BYTES", 2_000)
    await client.send(ABOUT, line)
    told = {each["id"]: each for each in [await client.read(), await client.read()]}
    assert told[1]["answer"]["process"] == os.getpid()
    assert told[None]["error"]["name"] == "InvalidValueError"
    assert told[None]["error"]["text"].startswith("line ")
    assert await client.is_cut()


@pytest.mark.parametrize("line", [b"", b'{"id": 1'])
async def test_an_idle_client_is_cut_within_a_line_too(
    engine: object,  # noqa: ARG001
    path: Path,
    line: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "_IDLE_SECONDS", 0.5)
    monkeypatch.setattr(connection, "_ENDING_SECONDS", 0.01)
    client = await connected(path)
    async with client.stream:
        await client.send({"id": 1, "operation": "transitions", "arguments": {"wait": 0.8}}, line)
        assert (await client.read())["id"] == 1, "it is not idle while it waits"
        assert await client.is_cut()


async def test_a_line_of_very_many_values_is_refused_before_it_is_read(
    engine: Any,  # noqa: ANN401 - either engine
    client: Client,
) -> None:
    job = await engine.create("hash", start=True)
    asked = {"job_id": job.job_id, "status": "completed", "result": ",[" * 500_000}
    await client.send({"id": 1, "operation": "move", "arguments": asked})
    assert (await client.read())["answer"]["status"] == "completed"
    await client.send(b'{"id": 2, "operation": ' + b"[]," * 1_700_000 + b"\n")
    refused = await client.read()
    assert refused["id"] is None
    assert refused["error"]["text"] == "line may have 131,072 JSON values, and has more"
    assert await client.is_cut()


async def test_a_client_that_does_not_read_is_cut(
    engine: Any,  # noqa: ANN401 - either engine
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(connection, "_SENDING_SECONDS", 0.05)
    job = await engine.create("hash", start=True)
    await engine.transition(job.job_id, JobStatus.COMPLETED, result="x" * 1_000_000)
    for number in range(8):
        await client.send({"id": number, "operation": "job", "arguments": {"job_id": job.job_id}})
    await until(lambda: "has not read its answers" in caplog.text)
    assert await _is_left_alone(engine)


async def _is_left_alone(engine: Any) -> bool:  # noqa: ANN401 - either engine
    return bool((await engine.create("hash")).version == 1)


async def test_more_than_eight_wait_for_their_turn(engine: Any, client: Client) -> None:  # noqa: ANN401
    for number in range(20):
        await client.send(
            {"id": number, "operation": "transitions", "arguments": {"after": "0", "wait": 30}}
        )
    for _ in range(100):
        await anyio.lowlevel.checkpoint()
    await engine.create("hash")
    assert sorted([(await client.read())["id"] for _ in range(20)]) == [*range(20)]


@pytest.mark.parametrize("last", [REFUSED, b"half a line", b""])
async def test_callers_who_come_in_masses_are_refused(
    engine: Any,  # noqa: ANN401 - either engine
    path: Path,
    last: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "_REFUSAL_SECONDS", 0.001)
    clients = [await connected(path) for _ in range(16)]
    for _ in range(40):
        extra = Client(await anyio.connect_unix(control(path)))
        assert "has 16 clients" in (await extra.read())["error"]["text"]
        assert await extra.is_cut()
        await extra.stream.aclose()
    assert await _is_left_alone(engine)
    for each in clients:
        if last:
            await each.stream.send(last)
        await each.stream.aclose()
    with anyio.fail_after(SECONDS_AGAINST_HANGS):
        while not await _is_taken_in(path):  # until the engine has seen that one has gone
            pass


async def _is_taken_in(path: Path) -> bool:
    client = Client(await anyio.connect_unix(control(path)))
    async with client.stream:
        return "protocol" in await client.read()


async def test_callers_who_hang_up_at_once_leave_nothing(
    engine: Any,  # noqa: ANN401 - either engine
    path: Path,
) -> None:
    for number in range(60):  # fewer than may wait
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(os.fspath(control(path)))
            if number % 2:
                caller.sendall(b'{"id": 1, "operation": "jobs"}\n')
    assert await _is_left_alone(engine)


@contextmanager
def _few_descriptors(number: int) -> Iterator[None]:
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_without_a_free_descriptor_callers_wait(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "_LOOK_AGAIN_SECONDS", 0.01)
    async with JobEngine(path) as engine:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(0)
            with _few_descriptors(0):
                caller.connect(os.fspath(control(path)))
                while "no client is taken in for a while" not in caplog.text:
                    await anyio.lowlevel.checkpoint()  # a thread would need a descriptor
                assert await _is_left_alone(engine)
            await anyio.wait_readable(caller)
            assert caller.recv(100).startswith(b'{"protocol":1')


def test_a_start_with_few_descriptors_left_keeps_no_lock_and_no_socket(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with SyncJobEngine(path) as engine:  # whose imports need no descriptors any more
        engine.create("hash")
    went_without = set[bool]()
    for number in range(16):
        caplog.clear()
        with suppress(OSError), _few_descriptors(number), SyncJobEngine(path):
            is_there = control(path).exists()
            assert is_there is ("goes without its control socket" not in caplog.text)
            went_without.add(not is_there)
        assert not control(path).exists()
        with SyncJobEngine(path, control=False) as engine:
            assert engine.count() == 1
    assert went_without == {True, False}


def test_without_another_thread_callers_wait(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "_LOOK_AGAIN_SECONDS", 0.01)
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "engine control" and "taken in" not in caplog.text:
            raise RuntimeError("can't start new thread")  # as at the limit of the system
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with SyncJobEngine(path):
        assert ask(path, "about")["answer"]["process"] == os.getpid()
    assert "no client is taken in for a while: can't start new thread" in caplog.text


async def test_a_bug_of_an_operation_is_told_and_logged(
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("engine.operations.reads.utc_now", broken)
    await client.send({"id": 1, "operation": "jobs", "arguments": {"due": True}})
    assert (await client.read())["error"]["name"] == "OutcomeUnknownError"
    assert "the operation jobs met a bug" in caplog.text
    await client.send(ABOUT)
    assert (await client.read())["answer"]["process"] == os.getpid()


# The engine closes.


class HeldStorage(SQLiteStorage):
    """Commits when a test lets it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.begun, self.go_on = anyio.Event(), anyio.Event()

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        self.begun.set()
        await self.go_on.wait()
        await super().commit(changes, lines)


async def _closed_at_a_commit(path: Path, may_go_on: Callable[[list[Any]], bool]) -> Any:  # noqa: ANN401
    """Close an engine that commits a client's act; return what the client is told.

    Args:
        path: The engine's file.
        may_go_on: Lets the commit go on, once it is true of what the client was told.
    """
    storage, told = HeldStorage(path), list[Any]()

    async def cancel() -> None:
        try:
            told.append(await desk.do("cancel", {"job_id": job.job_id}))
        except EngineError as error:
            told.append(error)

    async def let_go_on() -> None:
        await until(lambda: not control(path).exists() and may_go_on(told))
        storage.go_on.set()

    async def keep_open(*, task_status: TaskStatus[None]) -> None:
        async with JobEngine(storage):
            task_status.started()
            tasks.start_soon(cancel)
            await storage.begun.wait()
            tasks.start_soon(let_go_on)

    async with JobEngine(path) as before:
        job = await before.create("hash", start=True)
    with anyio.fail_after(SECONDS_AGAINST_HANGS):
        async with SocketDesk(path) as desk, anyio.create_task_group() as tasks:
            await tasks.start(keep_open)
    [outcome] = told
    return outcome


async def test_a_read_at_work_is_told_that_the_engine_closes(path: Path) -> None:
    async with JobEngine(path) as engine:
        client = await connected(path)
        await client.send({"id": 1, "operation": "transitions", "arguments": {"wait": 30}})
        await until(lambda: len(engine.core.state.events))
    async with client.stream:
        assert (await client.read())["error"]["name"] == "EngineClosedError"
        assert await client.is_cut()


async def test_an_act_at_work_is_answered_before_the_engine_closes(path: Path) -> None:
    told = await _closed_at_a_commit(path, lambda _: True)
    assert told["outcome"] == "cancelled"


async def test_an_act_that_takes_too_long_for_a_closing_engine_is_of_unknown_outcome(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_CLOSING_SECONDS", 0.05)
    assert type(await _closed_at_a_commit(path, bool)) is OutcomeUnknownError
    async with JobEngine(path) as engine:
        assert await engine.count(JobStatus.FAILED) == 1, "it was applied"


@pytest.mark.parametrize("steps", range(4))
async def test_a_client_that_comes_as_the_engine_closes_delays_nothing(
    path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_CLOSING_SECONDS", SECONDS_AGAINST_HANGS)
    monkeypatch.setattr(connection, "_IDLE_SECONDS", SECONDS_AGAINST_HANGS)
    with socket.socket(socket.AF_UNIX) as client:
        with anyio.fail_after(SECONDS_AGAINST_HANGS / 2, shield=True) as limit:
            async with JobEngine(path):
                client.connect(os.fspath(control(path)))
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
        assert not limit.cancel_called, "it was taken in, and not told to finish"


@needs_fork
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_a_child_that_is_forked_as_the_engine_closes_keeps_no_connection(
    path: Path,
) -> None:
    async with JobEngine(path) as before:
        job = await before.create("hash", start=True)
    storage, name, children = HeldStorage(path), path.with_name("second name"), list[int]()

    async def fork_and_go_on() -> None:
        await until(lambda: not _listens(name))
        children.append(os.fork())
        if not children[0]:
            with suppress(BaseException):
                signal.pause()
            os._exit(0)
        storage.go_on.set()

    try:
        async with anyio.create_task_group() as tasks, JobEngine(storage):
            os.link(control(path), name)
            client = await connected(path)
            await client.send({"id": 1, "operation": "cancel", "arguments": {"job_id": job.job_id}})
            await storage.begun.wait()
            tasks.start_soon(fork_and_go_on)
        async with client.stream:
            assert (await client.read())["answer"]["outcome"] == "cancelled"
            assert await client.is_cut(), "the child holds the connection"
    finally:
        for child in children:
            _end(child)


def _end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _listens(name: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as caller, suppress(ConnectionRefusedError):
        caller.connect(os.fspath(name))
        return True
    return False


# Who they are.


@pytest.mark.parametrize(
    ("whom", "told"),
    [
        ("eve", "eve"),
        ("user root (uid 0, pid 1)", "user root (uid 0, pid 1)"),
        ("e" * 256, "eee"),
        ("", None),
        ("e" * 257, None),
        ("\0", None),
        (7, None),
    ],
)
async def test_who_acts_for_another_is_named_first_and_passes_for_nobody(
    engine: Any,  # noqa: ANN401 - either
    client: Client,
    whom: object,
    told: str | None,
) -> None:
    job = await engine.create("hash", start=True)
    request = {"id": 1, "operation": "cancel", "arguments": {"job_id": job.job_id}}
    await client.send({**request, "for_whom": whom})
    reply = await client.read()
    acts = await engine.audit(job_id=job.job_id)
    if told is None:
        assert reply["error"]["name"] == "InvalidValueError"
        assert not acts
    else:
        [act] = acts
        assert act.by.startswith(f"{this_operator()} for {told}")
        assert len(act.by) <= 256


@needs_superuser
def test_the_highest_numbers_of_users_are_told() -> None:
    highest = 2**32 - 2

    def check() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        with ours, theirs:
            peer = peer_of(ours)
            assert peer is not None
            assert peer.user_id == highest

    with in_child(check, highest, highest):
        pass


@needs_superuser
def test_another_member_of_the_group_acts_under_the_own_name() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "jobs.db"
        Path(name).chmod(0o755)
        with SyncJobEngine(SQLiteStorage(path, group_access="write")) as engine:
            job = engine.create("hash")
        os.chown(path, OWNER, TEAM)
        for each in Path(name).iterdir():
            each.unlink() if each != path else None
        with SyncJobEngine(path) as engine:
            assert control(path).stat().st_gid == TEAM
            start = partial(ask, path, "start", job_id=job.job_id)
            with in_child(lambda: _refused(start), STRANGER, STRANGER):
                assert engine.get(job.job_id).version == 1
            with in_child(start, MEMBER, MEMBER, TEAM):
                [_, started] = engine.history(job.job_id)
    assert str(started.by).startswith(f"user unknown (uid {MEMBER}, pid ")


def _refused(call: Callable[[], object]) -> None:
    with pytest.raises(PermissionError):
        call()


def test_a_text_of_a_user_fits_the_history() -> None:
    for peer in (Peer(0, 1), Peer(2**32 - 2, 2**31 - 1)):
        assert check_text("by", peer.described(), MAX_BY_CHARACTERS)
        assert check_text("by", peer.without_name(), MAX_BY_CHARACTERS)
    assert Peer(os.getuid(), 5).described().startswith(f"user {getpwuid(os.getuid()).pw_name} (")
