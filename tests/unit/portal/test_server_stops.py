"""The stop of a server: long answers hear of it, and the server's own handlers still get it."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from types import FrameType

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from engine.portal.server_stops import until_server_stops
from tests.systems import needs_interrupts

pytestmark = [pytest.mark.anyio, needs_interrupts]


class Server:
    """Handles a signal as servers do."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.should_exit = False

    def handle(self, number: int, _frame: FrameType | None) -> None:
        self.seen.append(number)


@pytest.fixture
def server() -> Iterator[Server]:
    """Run a server; the next one begins with handlers of its own."""
    server = Server()
    former = {each: signal.signal(each, server.handle) for each in (signal.SIGTERM, signal.SIGINT)}
    yield server
    for number, handler in former.items():
        signal.signal(number, handler)


def handler() -> object:
    return signal.getsignal(signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_block_ends_and_the_server_gets_its_signal(
    server: Server, number: signal.Signals
) -> None:
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                with until_server_stops():
                    await anyio.sleep_forever()

            for _ in range(3):
                tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            signal.raise_signal(number)
    assert server.seen == [number]


async def test_after_the_stop_no_block_goes_on(server: Server) -> None:
    with until_server_stops():
        signal.raise_signal(signal.SIGTERM)
        await anyio.sleep_forever()
    for _ in range(2):
        with anyio.fail_after(60), until_server_stops():
            await anyio.sleep_forever()
    assert server.seen == [signal.SIGTERM]


async def test_the_next_server_has_not_been_stopped(server: Server) -> None:
    with until_server_stops():
        signal.raise_signal(signal.SIGTERM)
        await anyio.sleep_forever()
    following = Server()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, following.handle)
    with until_server_stops():
        await anyio.lowlevel.checkpoint()
        signal.raise_signal(signal.SIGTERM)
        await anyio.sleep_forever()
    assert (len(server.seen), len(following.seen)) == (1, 1)


async def test_a_server_that_was_told_before_the_first_block_is_stopping(server: Server) -> None:
    server.should_exit = True
    with anyio.fail_after(60), until_server_stops():
        await anyio.sleep_forever()


@pytest.mark.usefixtures("server")
async def test_after_the_last_block_the_handlers_are_as_before() -> None:
    before = handler()
    with ExitStack() as outer:
        outer.enter_context(until_server_stops())
        with until_server_stops():
            assert handler() != before
        assert handler() != before
    assert handler() == before


async def test_handlers_that_came_later_stay_and_may_pass_the_signal_on(server: Server) -> None:
    with until_server_stops():
        ours = handler()
        assert callable(ours)

        def later(number: int, frame: FrameType | None) -> None:
            ours(number, frame)

        signal.signal(signal.SIGTERM, later)
        with until_server_stops():
            signal.raise_signal(signal.SIGTERM)
            await anyio.sleep_forever()
    assert server.seen == [signal.SIGTERM]
    signal.signal(signal.SIGTERM, server.handle)


@pytest.mark.usefixtures("server")
async def test_signals_that_nobody_handles_are_left_alone() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with until_server_stops():
        assert handler() is signal.SIG_DFL


@pytest.mark.usefixtures("server")
async def test_in_another_thread_nothing_is_heard(anyio_backend: str) -> None:
    async def enter() -> object:
        with until_server_stops():
            return handler()

    before = handler()
    found = await to_thread.run_sync(lambda: anyio.run(enter, backend=anyio_backend))
    assert found == before
