"""Child processes: a session and a channel of their own; they end with the process around them."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.portal import ChildProcess
from engine.portal.channel import ChannelEndedError
from tests.reliability.alive import is_alive, wait_until
from tests.systems import needs_fork, needs_proc
from tests.tries import thorough

pytestmark = needs_fork
SECONDS = 60

SOURCE = """
import os, sys
from engine.portal import ParentProcess
parent = ParentProcess(int(sys.argv[1]))
parent.send(b"ready")
while True:
    exec(parent.receive().decode())
"""


@contextmanager
def _child() -> Iterator[ChildProcess]:
    child = ChildProcess(SOURCE, ["an argument"])
    try:
        assert child.channel.receive(SECONDS) == b"ready"
        yield child
    finally:
        child.end()


def _asked(child: ChildProcess, expression: str) -> str:
    child.channel.send(f"parent.send(str({expression}).encode())".encode())
    return child.channel.receive(SECONDS).decode()


def _program(child: ChildProcess) -> int:
    """Let a child start a program that sleeps; return its process id."""
    return int(_asked(child, "os.spawnlp(os.P_NOWAIT, 'sleep', 'sleep', '1000')"))


@pytest.mark.thorough
def test_it_has_a_session_of_its_own_and_no_input() -> None:
    with _child() as child:
        assert _asked(child, "os.getsid(0)") == str(child.process_id)
        assert _asked(child, "os.getpgrp()") == str(child.process_id)
        assert _asked(child, "repr(sys.stdin.read())") == "''"
        assert _asked(child, "sys.argv[2:]") == "['an argument']"


def test_it_leaves_the_signals_to_the_parent_and_its_programs_do_not() -> None:
    with _child() as child:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(child.process_id, number)
            assert _asked(child, "'alive'") == "alive"
        call = "__import__('subprocess').run(['sh', '-c', 'kill -TERM $$']).returncode"
        assert _asked(child, call) == str(-signal.SIGTERM)


@pytest.mark.thorough
def test_a_signal_at_any_moment_of_its_start_does_nothing() -> None:
    for delay in (0.0, 0.005, 0.02, 0.05):
        child = ChildProcess(SOURCE, [])
        until = time.monotonic() + delay
        while time.monotonic() <= until:
            os.kill(child.process_id, signal.SIGINT)
            os.kill(child.process_id, signal.SIGTERM)
        assert child.channel.receive(SECONDS) == b"ready"
        child.end()


@pytest.mark.thorough
def test_this_thread_still_has_its_signals() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with _child():
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


GROUPED = "__import__('subprocess').Popen(['timeout', '900', 'sleep', '900'], process_group=0)"


@pytest.mark.thorough
@needs_proc
def test_killing_it_kills_its_programs() -> None:
    with _child() as child:
        child.channel.send(f"kept = {GROUPED}".encode())
        grouped = int(_asked(child, "kept.pid"))
        program = _program(child)
        child.kill()
        child.kill()  # again
        assert child.end() == -signal.SIGKILL
        for each in (program, grouped):
            wait_until(lambda each=each: not is_alive(each))  # type: ignore[misc]
    assert not Path(f"/proc/{child.process_id}").exists()


@needs_proc
@pytest.mark.parametrize(
    "end", ["os._exit(3)", *thorough("os.kill(os.getpid(), 9)", "os.kill(0, 11)")]
)
def test_its_end_ends_its_programs_and_is_told(end: str) -> None:
    with _child() as child:
        program = _program(child)
        child.channel.send(end.encode())
        with pytest.raises(ChannelEndedError):
            child.channel.receive(SECONDS)
        told = child.ended()
        assert told in {
            "ended with exit code 3",
            "was killed by signal 9 (SIGKILL), perhaps out of memory",
            "was killed by signal 11 (SIGSEGV)",
        }
        wait_until(lambda: not is_alive(program))


@pytest.mark.thorough
def test_a_child_that_closes_its_channel_is_ended() -> None:
    child = ChildProcess("import os, sys, time; os.close(int(sys.argv[1])); time.sleep(1000)", [])
    with pytest.raises(ChannelEndedError):
        child.channel.receive(SECONDS)
    assert child.ended() == "closed its channel to the engine"
    assert child.has_ended()


@needs_proc
def test_no_program_inherits_an_end_of_the_channel() -> None:
    look = "__import__('subprocess').check_output(['ls', '/proc/self/fd'], close_fds=False)"
    with _child() as child, _child() as other:
        theirs = int(_asked(child, "sys.argv[1]"))
        assert str(theirs) not in _asked(child, look)
        held = subprocess.check_output(["ls", "-l", "/proc/self/fd"], close_fds=False)  # noqa: S607
        assert b"socket" not in held
        assert _asked(other, "'alive'") == "alive"


@pytest.mark.thorough
@needs_proc
def test_a_fork_of_it_has_no_part_in_the_channel() -> None:
    with _child() as child:
        fork = "os.fork() or __import__('time').sleep(1000)"
        assert int(_asked(child, fork))
        child.channel.send(b"os._exit(0)")
        with pytest.raises(ChannelEndedError):
            child.channel.receive(SECONDS)
        assert child.ended() == "ended with exit code 0"


PARENT = f"""
import os, sys, time
from engine.portal import ChildProcess
child = ChildProcess({SOURCE!r}, [])
assert child.channel.receive() == b"ready"
child.channel.send(b"p = os.spawnlp(os.P_NOWAIT, 'sleep', 'sleep', '1000'); "
                   b"parent.send(str(p).encode())")
print(child.process_id, child.channel.receive().decode(), flush=True)
{{end}}
"""
ENDS = {
    "killed": "os.kill(os.getpid(), 9)",
    "exited at once": "os._exit(0)",
    "exited": "sys.exit(0)",
    "exited with it as garbage": "del child",
    "killed with a fork of it left": "os.fork() and os.kill(os.getpid(), 9); time.sleep(10)",
    "killed with a program of it left": (
        "__import__('subprocess').Popen(['sleep', '10'], close_fds=False); os.kill(os.getpid(), 9)"
    ),
}


@needs_proc
@pytest.mark.parametrize("end", ["killed", *thorough(*list(ENDS)[1:])])
def test_it_ends_with_the_process_that_started_it_and_so_do_its_programs(end: str) -> None:
    command = [sys.executable, "-W", "error", "-c", PARENT.format(end=ENDS[end])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        ids = [int(each) for each in parent.stdout.readline().split()]
        assert len(ids) == 2, parent.stderr.read()
        for each in ids:
            wait_until(lambda each=each: not is_alive(each))  # type: ignore[misc]
        parent.wait(SECONDS)
        if "killed" not in end:
            assert parent.stderr.read() == b""


@pytest.mark.thorough
@needs_proc
def test_one_that_is_garbage_is_ended_without_a_warning() -> None:
    child = ChildProcess(SOURCE, [])
    process_id = child.process_id
    del child
    gc.collect()
    wait_until(lambda: not Path(f"/proc/{process_id}").exists())


def test_a_forked_process_leaves_it_to_its_parent() -> None:
    with _child() as child:
        fork = os.fork()
        if not fork:
            child.kill()
            os._exit(0)
        assert os.waitpid(fork, 0)[1] == 0
        assert _asked(child, "'alive'") == "alive"


CLOSED = f"""
import os, sys
from engine.portal import ChildProcess
for number in (0, 1, 2):
    os.close(number)
child = ChildProcess({SOURCE!r}, [])
child.channel.receive()
child.channel.send(b"print('noise'); parent.send(b'sent')")
os._exit(child.channel.receive() == b"sent" and 7)
"""


@pytest.mark.thorough
def test_a_program_without_standard_streams_has_none_for_its_child() -> None:
    done = subprocess.run([sys.executable, "-c", CLOSED], timeout=SECONDS, check=False)
    assert done.returncode == 7


@pytest.mark.thorough
def test_a_program_whose_children_the_system_reaps_hears_of_their_end() -> None:
    source = f"""
import signal
from engine.portal import ChildProcess
from engine.portal.channel import ChannelEndedError
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
child = ChildProcess({SOURCE!r}, [])
child.channel.receive()
child.channel.send(b"os._exit(3)")
try:
    child.channel.receive()
except ChannelEndedError:
    print(child.ended())
"""
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.stdout.startswith("ended, nobody knows how"), done.stderr
