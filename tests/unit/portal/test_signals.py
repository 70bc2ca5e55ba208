"""Signals to stop and Ctrl-C: the first signal is a request, the second one an order."""

import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future

import anyio
import pytest

from engine.domain.exceptions import WrongLoopError
from engine.domain.interrupts import raised_by_signal
from engine.portal.signals import EXIT_CODE, blocking_stop_signals, stop_signals
from tests.systems import needs_fork, needs_interrupts
from tests.tries import thorough
from tests.unit.portal.starting import started

pytestmark = needs_interrupts

SECONDS = 60
CUT = "the attempt was interrupted: True\n"
MAIN = "the main task was interrupted\n"
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, *thorough(signal.SIGINT)])


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


def _rest(process: "subprocess.Popen[str]") -> tuple[str, str, int]:
    """Return the rest of the program's output, its errors, and its exit code."""
    output, complaints = process.communicate(timeout=SECONDS)
    return output, complaints, process.returncode


@BOTH
def test_the_first_signal_is_told_and_the_program_ends_as_it_likes(
    anyio_backend: str, number: signal.Signals
) -> None:
    with started("stopping", anyio_backend, "returns") as process:
        assert _line(process) == "ready"
        process.send_signal(number)
        assert _rest(process) == ("told\nthe end\n", "", 0)


@BOTH
@pytest.mark.parametrize("how", ["closes_for_ever", *thorough("blocks")])
def test_the_second_signal_ends_the_process_at_once(
    anyio_backend: str, how: str, number: signal.Signals
) -> None:
    with started("stopping", anyio_backend, how) as process:
        assert _line(process) == "ready"
        process.send_signal(signal.SIGTERM)
        assert _line(process) == "told"
        process.send_signal(number)
        assert _rest(process) == ("", "", -number)


@BOTH
def test_a_blocked_program_is_ended_and_says_where_it_hangs(
    anyio_backend: str, number: signal.Signals
) -> None:
    with started("stopping", anyio_backend, "blocks_and_is_ended") as process:
        assert _line(process) == "ready"
        process.send_signal(number)
        output, complaints, code = _rest(process)
    assert (output, code) == ("", EXIT_CODE)
    assert re.search(
        r"CRITICAL:engine:.*within 0.5 s.*MainThread.*_hang_for_good", complaints, re.DOTALL
    )


@pytest.mark.thorough
def test_a_program_that_closes_in_time_is_not_ended(anyio_backend: str) -> None:
    with started("stopping", anyio_backend, "closes_in_time") as process:
        assert _line(process) == "ready"
        process.send_signal(signal.SIGTERM)
        assert _rest(process) == ("told\nthe end\n", "", 0)


@pytest.mark.thorough
def test_a_program_is_ended_without_a_signal_and_without_a_log(anyio_backend: str) -> None:
    with started("stopping", anyio_backend, "is_ended") as process:
        assert _line(process) == "ready"
        assert _rest(process) == ("", "", EXIT_CODE)


@pytest.mark.thorough
def test_all_that_wait_are_told_in_whatever_order_they_come_and_leave(anyio_backend: str) -> None:
    with started("stopping", anyio_backend, "twice") as process:
        assert _line(process) == "ready"
        process.send_signal(signal.SIGINT)
        assert _rest(process) == ("told\n" * 2 + "the end\n", "", 0)


@pytest.mark.thorough
@needs_fork
def test_a_forked_child_has_the_default_action() -> None:
    with started("stopping", "asyncio", "forks") as process:
        assert _line(process) == f"child {-signal.SIGTERM}"
        assert _line(process) == "ready"
        process.send_signal(signal.SIGINT)
        assert _rest(process) == ("told\nthe end\n", "", 0)


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="needs epoll, and the C library's raise")
def test_a_signal_that_comes_as_the_loop_begins_to_wait_is_noticed() -> None:
    """trio has a wake-up of its own for it; asyncio has none."""
    with started("stopping", "asyncio", "gets_one_as_the_wait_begins") as process:
        assert _rest(process) == ("told\nthe end\n", "", 0)


def test_a_signal_that_was_ignored_stays_ignored(anyio_backend: str) -> None:
    with started("stopping", anyio_backend, "ignores_interrupts") as process:
        assert _line(process) == "ready"
        process.send_signal(signal.SIGTERM)
        assert _rest(process) == ("told\nthe end\n", "", 0)


def test_handlers_that_another_thread_took_away_are_restored_at_the_next_signal() -> None:
    got: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
    try:
        stop = blocking_stop_signals(SECONDS)
        stop.__enter__()
        leaving = threading.Thread(target=stop.__exit__, args=(None, None, None))
        leaving.start()
        leaving.join(SECONDS)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert got == [signal.SIGTERM] * 2
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, former)


def test_other_threads_are_refused(anyio_backend: str) -> None:
    async def main() -> None:
        with pytest.raises(WrongLoopError, match="main thread"):
            async with stop_signals():
                pass

    ended: Future[None] = Future()

    def run() -> None:
        try:
            ended.set_result(anyio.run(main, backend=anyio_backend))
        except BaseException as error:  # noqa: BLE001 - it is raised in the test
            ended.set_exception(error)

    threading.Thread(target=run).start()
    ended.result(SECONDS)


@pytest.mark.parametrize(
    ("backend", "where", "protected", "output"),
    [
        # The runner cancels the main task at the first interrupt, and raises the second.
        ("asyncio", "task", "", CUT + MAIN),
        pytest.param("asyncio", "task", "protected", CUT + MAIN, marks=pytest.mark.thorough),
        pytest.param("asyncio", "child", "", CUT + MAIN, marks=pytest.mark.thorough),
        # A swallowed cancellation is gone.
        pytest.param("trio", "task", "", CUT, marks=pytest.mark.thorough),
        pytest.param(
            "trio", "task", "protected", "the attempt went on\n" + MAIN, marks=pytest.mark.thorough
        ),
        pytest.param("trio", "child", "protected", CUT, marks=pytest.mark.thorough),
    ],
)
def test_a_ctrl_c_is_known_wherever_it_is_raised(
    backend: str, where: str, protected: str, output: str
) -> None:
    arguments = filter(None, [backend, where, protected])
    with started("interrupted_task", *arguments) as process:
        assert process.communicate(timeout=SECONDS) == (output, "")


def test_what_a_task_raises_by_itself_is_no_ctrl_c() -> None:
    for kind in (KeyboardInterrupt, ValueError):
        assert not raised_by_signal(kind())
        with pytest.raises(kind) as raised:
            raise kind
        assert not raised_by_signal(raised.value)
        assert not raised_by_signal(BaseExceptionGroup("two", [ValueError(), raised.value]))
