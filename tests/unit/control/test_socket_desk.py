"""The client of the control socket: the operations of an engine in another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import anyio
import pytest

from engine import (
    CallTimeoutError,
    EngineClosedError,
    EngineError,
    EngineUnavailableError,
    InvalidValueError,
    JobEndedError,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    Outcome,
    OutcomeUnknownError,
    SyncJobEngine,
    WriteTimeoutError,
)
from engine.control import wire
from engine.control.client import SocketDesk, engine_listening_at
from engine.control.peer import this_operator
from engine.control.protocol import MAX_REQUEST_BYTES, ErrorFields, Hello, error_fields, error_of
from engine.domain import exceptions
from engine.operations import Desk, EngineDesk
from engine.testing.facades import FACADES, opened_engine
from tests.tries import trio_later
from tests.unit.control.clients import SECONDS_AGAINST_HANGS, control, pretending, until

pytestmark = pytest.mark.anyio

_ENGINE = """
import sys
from engine import SyncJobEngine
with SyncJobEngine(sys.argv[1]) as engine:
    print(engine.create("hash").job_id, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@contextmanager
def _process(path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run an engine in a process of its own; yield it and a job's id."""
    command = [sys.executable, "-W", "error", "-c", _ENGINE, os.fspath(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        if process.poll() is None:
            assert process.communicate(timeout=SECONDS_AGAINST_HANGS)[1] == ""
            assert process.returncode == 0


@trio_later
async def test_an_engine_of_another_process_is_asked_killed_and_replaced(path: Path) -> None:
    assert await engine_listening_at(path) is None
    async with SocketDesk(path) as desk:
        with _process(path) as (process, job_id):
            hello = await engine_listening_at(path)
            assert hello == Hello(1, "0.1.0", os.path.realpath(path), process.pid)
            about = await desk.do("about", {})
            assert (about["process"], about["place"]) == (process.pid, "file")
            arguments = {"job_id": job_id, "reason": "paid by hand"}
            started = await desk.do("start", arguments, by="somebody else")
            assert started["status"] == "running"
            told = await desk.do("job", {"job_id": job_id})
            [_, line] = told["history"]
            assert line["by"] == f"{this_operator()} for somebody else"
            assert line["by"].startswith("user ")
            assert f"(uid {os.geteuid()}, pid {os.getpid()})" in line["by"]
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert control(path).is_socket(), "it is stale"
        assert await engine_listening_at(path) is None
        with pytest.raises(EngineClosedError, match=r"no engine listens at .*jobs\.db-control"):
            await desk.do("about", {})
        async with JobEngine(path) as engine:
            assert (await desk.do("about", {}))["process"] == os.getpid()
            assert (await desk.do("find", {"payment": f"mock_bc_{job_id}"}))["job_id"] == job_id
            assert (await engine.get(job_id)).status is JobStatus.RUNNING
    assert not control(path).exists()


@pytest.mark.parametrize("facade", FACADES)
async def test_either_engine_answers_many_tasks_at_once(path: Path, facade: Any) -> None:  # noqa: ANN401
    async with opened_engine(facade, path) as engine, SocketDesk(path) as desk:
        made: list[str] = [
            (await engine.create(str(number), start=True)).job_id for number in range(20)
        ]
        got = dict[str, Any]()

        async def cancel(job_id: str) -> None:
            got[job_id] = await desk.do("cancel", {"job_id": job_id})

        async with anyio.create_task_group() as tasks:
            for job_id in made:
                tasks.start_soon(cancel, job_id)
        assert {job_id: job["job_id"] for job_id, job in got.items()} == {
            each: each for each in made
        }
        assert await engine.count(JobStatus.FAILED) == 20


async def test_reads_that_wait_hold_up_nothing_else(path: Path) -> None:
    async with JobEngine(path) as engine, SocketDesk(path) as desk:
        job = await engine.create("hash", start=True)
        arguments = {"job_id": job.job_id, "after": str(job.sequence), "wait": 30}
        seen = list[str]()

        async def watch() -> None:
            for each in (await desk.do("transitions", arguments))["transitions"]:
                seen.append(each["to_status"])

        async with anyio.create_task_group() as tasks:
            for _ in range(12):
                tasks.start_soon(watch)
            await until(lambda: len(engine.core.state.events) >= 4)
            await desk.do("about", {})
            await desk.do("cancel", {"job_id": job.job_id})
    assert seen == ["failed"] * 12, "the act came before the waits were over"


async def test_desks_with_many_waits_leave_room_for_others(path: Path) -> None:
    async with JobEngine(path) as engine, SocketDesk(path) as one, SocketDesk(path) as other:
        job = await engine.create("hash", start=True)
        arguments = {"job_id": job.job_id, "after": str(job.sequence), "wait": 30}
        news = list[str]()

        async def follow(desk: Desk) -> None:
            told = await desk.do("transitions", {"after": str(job.sequence), "wait": 30})
            news.extend(each["job_id"] for each in told["transitions"])

        async with anyio.create_task_group() as tasks:
            for desk in (one, other):
                for _ in range(12):
                    tasks.start_soon(desk.do, "transitions", arguments)
                for _ in range(4):
                    tasks.start_soon(desk.do, "about", {})
            await until(lambda: len(engine.core.state.events) >= 8)
            await anyio.wait_all_tasks_blocked()
            for desk in (one, other):
                tasks.start_soon(follow, desk.apart())
            await until(lambda: len(engine.core.state.events) >= 10)
            assert await engine_listening_at(path) is not None
            created = await engine.create("hash")
            with anyio.fail_after(SECONDS_AGAINST_HANGS / 2):  # less than others wait
                await until(lambda: len(news) == 2)
            assert news == [created.job_id] * 2
            await engine.cancel(job.job_id)
        assert [len(desk._idle) for desk in (one, other)] == [2, 2]  # noqa: SLF001


async def test_errors_are_those_of_a_desk_in_the_engine_s_process(path: Path) -> None:
    async with JobEngine(path) as engine, SocketDesk(path) as desk:
        job = await engine.create("hash", start=True)
        await engine.transition(job.job_id, JobStatus.COMPLETED)
        asked: list[tuple[str, dict[str, Any]]] = [
            ("get", {}),
            ("cancel", {"job_id": "none"}),
            ("cancel", {"job_id": job.job_id}),
            ("move", {"job_id": job.job_id, "status": "running"}),
            ("start", {"job_id": job.job_id, "by": "me"}),
            ("transitions", {"after": "99"}),
        ]
        for operation, arguments in asked:
            with pytest.raises(EngineError) as near:
                await EngineDesk(engine.core).do(operation, arguments)
            with pytest.raises(EngineError) as far:
                await desk.do(operation, arguments)
            assert type(far.value) is type(near.value)
            assert (str(far.value), vars(far.value)) == (str(near.value), vars(near.value))
        with pytest.raises(JobEndedError) as ended:
            await desk.do("cancel", {"job_id": job.job_id})
        assert ended.value.outcome is Outcome.SUCCEEDED


def test_every_error_has_its_class_on_the_wire() -> None:
    kinds = {kind for kind in vars(exceptions).values() if isinstance(kind, type)}
    for kind in kinds:
        if issubclass(kind, EngineError):
            error = kind.__new__(kind)
            error.args, error.item = ("broke",), 3
            again = error_of(ErrorFields(**error_fields(error)))
            assert (type(again), again.item, again.args) == (kind, 3, ("broke",))
    assert type(error_of(ErrorFields("NewError", "broke"))) is EngineError
    assert type(error_of(ErrorFields("Exception", "broke"))) is EngineError


async def test_what_can_not_be_asked_is_refused_here(path: Path) -> None:
    async with SocketDesk(path) as desk:
        with pytest.raises(InvalidValueError, match="arguments must be a JSON object"):
            await desk.do("move", {"job_id": object()})
        with pytest.raises(InvalidValueError, match=r"arguments may have 5,242,880 bytes"):
            await desk.do("move", {"result": "x" * MAX_REQUEST_BYTES})
    with pytest.raises(InvalidValueError, match="timeout must be seconds, above 0"):
        SocketDesk(path, timeout=0)


async def test_the_longest_texts_get_through(path: Path) -> None:
    longest = "\N{GRINNING FACE}" * 2**20
    async with JobEngine(path) as engine, SocketDesk(path) as desk:
        job = await engine.create("hash", start=True)
        arguments = {"job_id": job.job_id, "status": "completed", "result": longest}
        assert (await desk.do("move", arguments))["result"] == longest


# Lost engines.


async def test_a_read_that_waits_is_told_that_the_engine_closes(path: Path) -> None:
    errors = list[Exception]()

    async def watch(desk: SocketDesk) -> None:
        try:
            await desk.do("transitions", {"wait": 30})
        except EngineClosedError as error:
            errors.append(error)

    async with (
        SocketDesk(path) as desk,
        anyio.create_task_group() as tasks,
        JobEngine(path) as engine,
    ):
        for _ in range(3):
            tasks.start_soon(watch, desk)
        await until(lambda: len(engine.core.state.events) == 3)
    assert len(errors) == 3


async def test_an_engine_that_was_restarted_is_found_again(path: Path) -> None:
    async with SocketDesk(path) as desk:
        for number in range(3):
            async with JobEngine(path) as engine:
                job = await engine.create("hash", start=True)
                cancelled = await desk.do("cancel", {"job_id": job.job_id})
                assert cancelled["outcome"] == "cancelled"
                assert (await desk.do("statistics", {}))["jobs"]["failed"] == number + 1


class _Hangs:
    """Greets callers in the place of an engine, and hangs up on what they ask."""

    def __init__(self, path: Path, hello: bytes = b"") -> None:
        self._path = path
        self._hello = hello or b'{"protocol":1,"engine":"0","place":"","process":1,"more":2}\n'
        self.asked = list[bytes]()

    def __enter__(self) -> Self:
        self._pretending = pretending(self._path)
        self._listener = self._pretending.__enter__()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, suppress(OSError):
                    client.sendall(self._hello)
                    self.asked.append(client.recv(1_000))

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(2)
        self._thread.join()
        self._pretending.__exit__(None, None, None)


async def test_a_lost_act_is_of_unknown_outcome_and_a_lost_read_is_asked_once_more(
    path: Path,
) -> None:
    with _Hangs(path) as engine:
        async with SocketDesk(path) as desk:
            with pytest.raises(OutcomeUnknownError, match=r"was lost: outcome unknown") as lost:
                await desk.do("cancel", {"job_id": "a"})
            assert type(lost.value) is OutcomeUnknownError
            with pytest.raises(EngineUnavailableError, match="hung up twice"):
                await desk.do("job", {"job_id": "b"})
    assert [b'"b"' in line for line in engine.asked] == [False, True, True]


@pytest.mark.thorough  # it waits for three seconds, within which the act is surely sent
async def test_no_answer_in_time_says_whether_the_act_was_sent(path: Path) -> None:
    with pretending(path) as listener:
        async with SocketDesk(path, timeout=0.05) as desk:
            with pytest.raises(CallTimeoutError) as unsent:  # there was no hello
                await desk.do("cancel", {"job_id": "a"})
            assert type(unsent.value) is CallTimeoutError
        client, _ = listener.accept()
        client.close()
        accepting = threading.Thread(target=lambda: clients.append(_greeted(listener)))
        clients = list[Any]()
        accepting.start()
        async with SocketDesk(path, timeout=3) as desk:
            with pytest.raises(WriteTimeoutError) as sent:
                await desk.do("cancel", {"job_id": "a"})
            assert sent.value.timeout == 3
        accepting.join()
        clients.pop().close()


def _greeted(listener: Any) -> Any:  # noqa: ANN401 - a socket
    client, _ = listener.accept()
    client.sendall(b'{"protocol":1,"engine":"0","place":"","process":1}\n')
    return client


@pytest.mark.parametrize(
    ("hello", "problem"),
    [
        (b'{"protocol":2,"engine":"9","place":"","process":1}\n', "speaks protocol 2, not 1"),
        (b"HTTP/1.1 400 Bad Request\n", "is not the socket of an engine"),
        (b'{"id":null}\n', "is not the socket of an engine"),
        (b"x" * 100_000, "no engine listens"),
    ],
)
async def test_what_is_no_engine_of_this_version_is_not_asked(
    path: Path, hello: bytes, problem: str
) -> None:
    with _Hangs(path, hello) as other:
        async with SocketDesk(path) as desk:
            with pytest.raises(EngineUnavailableError, match=problem):
                await desk.do("cancel", {"job_id": "a"})
        if problem == "no engine listens":
            assert await engine_listening_at(path) is None
        else:
            with pytest.raises(EngineUnavailableError, match=problem):
                await engine_listening_at(path)
    assert {*other.asked} <= {b""}


async def test_a_connection_that_was_idle_is_not_used_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine may hang up just then, and nobody could tell whether it has got an act."""
    async with JobEngine(path), SocketDesk(path) as desk:
        await desk.do("about", {})
        [first] = desk._idle  # noqa: SLF001 - nothing else shows it
        await desk.do("about", {})
        assert desk._idle == [first]  # noqa: SLF001
        monkeypatch.setattr(wire, "_FRESH_SECONDS", 0)
        await desk.do("about", {})
        assert first not in desk._idle  # noqa: SLF001


async def test_an_act_that_was_not_sent_is_sent_again(path: Path) -> None:
    """The engine was restarted since the last answer, and nobody has noticed."""
    async with SocketDesk(path) as desk:
        for _ in range(2):
            with SyncJobEngine(path, may_block_event_loop=True) as engine:
                job = engine.create("hash", start=True)
                await desk.do("cancel", {"job_id": job.job_id})
        with pytest.raises(EngineClosedError):
            await desk.do("cancel", {"job_id": job.job_id})


async def test_a_restart_is_no_matter_for_a_desk_with_several_connections(path: Path) -> None:
    async with SocketDesk(path) as desk:
        async with JobEngine(path) as engine, anyio.create_task_group() as tasks:
            job = await engine.create("hash", start=True)
            for _ in range(4):
                tasks.start_soon(desk.do, "about", {})
        async with JobEngine(path):
            cancelled = await desk.do("cancel", {"job_id": job.job_id})
            assert cancelled["outcome"] == "cancelled"


async def test_a_job_that_is_not_there_is_not_found(path: Path) -> None:
    async with JobEngine(path), SocketDesk(path) as desk:
        with pytest.raises(JobNotFoundError) as missing:
            await desk.do("job", {"job_id": "none"})
        assert missing.value.job_id == "none"
        assert isinstance(missing.value, LookupError)
