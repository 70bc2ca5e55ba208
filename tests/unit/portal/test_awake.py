"""Waiting without counting the time in which the process is suspended."""

import os
import signal
import time
from queue import Empty, SimpleQueue

import pytest

from engine.portal.awake import get_awake
from tests.systems import needs_interrupts
from tests.unit.portal.programs.waiting import SECONDS
from tests.unit.portal.starting import started


def test_what_comes_in_time_is_returned_and_else_the_wait_ends() -> None:
    queue: SimpleQueue[int] = SimpleQueue()
    queue.put(7)
    assert get_awake(queue, 20) == 7
    began = time.monotonic()
    with pytest.raises(Empty):
        get_awake(queue, 0.2)
    assert 0.2 <= time.monotonic() - began < 2


@needs_interrupts
def test_time_in_which_the_process_is_suspended_does_not_count() -> None:
    with started("waiting") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        time.sleep(SECONDS * 1.2)
        process.send_signal(signal.SIGCONT)
        began = time.monotonic()
        assert process.stdout.readline() == "nothing came\n"
    assert time.monotonic() - began > SECONDS * 0.4
