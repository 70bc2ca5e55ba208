"""The doorbell: what wakes a waiting thread, and that a fork waits for a busy one."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engine.domain.exceptions import EngineForkedError
from engine.portal import Doorbell
from tests.systems import needs_fork

SECONDS = 60
LONG = 1000.0


@contextmanager
def waiting(bell: Doorbell, file: int | None = None) -> Iterator[threading.Event]:
    """Let a thread wait; yield what is set at the end of its wait, which has to come."""
    ended = threading.Event()

    def wait() -> None:
        with bell.at_work():
            bell.wait(LONG, file)
            ended.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    yield ended
    assert ended.wait(SECONDS)
    thread.join(SECONDS)


def test_a_ring_ends_the_wait_whether_it_comes_before_or_after_its_beginning() -> None:
    bell = Doorbell()
    bell.ring()
    with waiting(bell):
        pass
    bell = Doorbell()
    with waiting(bell):
        bell.ring()


def test_many_rings_end_one_wait() -> None:
    bell = Doorbell()
    for _ in range(1000):
        bell.ring()
    with bell.at_work():
        bell.wait(LONG)
        begun = time.monotonic()
        timer = threading.Timer(0.05, bell.ring)
        timer.start()
        bell.wait(LONG)
        assert time.monotonic() - begun >= 0.05  # so the ring of the timer has ended it
        timer.join(SECONDS)


def test_rings_that_nobody_answers_do_not_block() -> None:
    bell = Doorbell()
    for _ in range(100_000):
        bell.ring()
    with bell.at_work():
        bell.wait(LONG)
    bell.ring()  # nobody is at work any more


def test_the_wait_ends_by_its_time() -> None:
    with (bell := Doorbell()).at_work():
        bell.wait(0.01)
        bell.wait(-1)


def test_a_socket_that_can_be_read_or_written_ends_the_wait() -> None:
    here, there = socket.socketpair()
    with here, there:
        with waiting(Doorbell(), here.fileno()):
            there.send(b"word")
        with (bell := Doorbell()).at_work():
            bell.wait(LONG, there.fileno(), writing=True)


@needs_fork
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_waits_for_the_thread_to_wait_and_the_child_may_not_ring() -> None:
    bell, begun, let_go = Doorbell(), threading.Event(), threading.Event()
    waits: list[bool] = []

    def work() -> None:
        with bell.at_work():
            begun.set()
            let_go.wait(SECONDS)
            waits.append(True)
            bell.wait(LONG)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    begun.wait(SECONDS)
    os.register_at_fork(before=let_go.set)  # the newest is called first, before the fork waits
    if (child := os.fork()) == 0:
        try:
            bell.ring()
        except EngineForkedError:
            os._exit(7 if waits else 8)  # as it was at the fork
        os._exit(1)
    _, status = os.waitpid(child, 0)
    bell.ring()
    thread.join(SECONDS)
    assert os.waitstatus_to_exitcode(status) == 7
