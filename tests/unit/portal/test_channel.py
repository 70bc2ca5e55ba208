"""Channels: whole messages in order, whatever the sizes; every fault is one of three errors."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from engine.portal.channel import (
    MAX_MESSAGE_BYTES,
    Channel,
    ChannelDamagedError,
    ChannelEndedError,
)

SECONDS = 60
SIZES = [0, 1, 3, 4, 65_532, 65_536, 65_537, 3_000_000, 5]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    pair = socket.socketpair()
    yield pair
    for end in pair:
        end.close()


def _sent(end: Channel, message: bytes) -> threading.Thread:
    thread = threading.Thread(target=end.send, args=(message, SECONDS))
    thread.start()
    return thread


def test_messages_of_any_size_arrive_whole_and_in_order(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    left, right = map(Channel, ends)
    messages = [bytes([number]) * size for number, size in enumerate(SIZES)]

    def send() -> None:
        for message in messages:
            left.send(message, SECONDS)

    thread = threading.Thread(target=send)
    thread.start()
    assert [right.receive(SECONDS) for _ in messages] == messages
    thread.join()


def test_threads_may_send_at_once(ends: tuple[socket.socket, socket.socket]) -> None:
    left, right = map(Channel, ends)
    threads = [_sent(left, bytes([number]) * 300_000) for number in range(8)]
    received = {right.receive(SECONDS) for _ in threads}
    for thread in threads:
        thread.join()
    assert received == {bytes([number]) * 300_000 for number in range(8)}


def test_a_part_of_a_message_waits_for_the_rest(ends: tuple[socket.socket, socket.socket]) -> None:
    channel = Channel(ends[1])
    for part in (b"\0", b"\0\0", b"\3a", b"b"):
        ends[0].sendall(part)
        with pytest.raises(TimeoutError):
            channel.receive(0)
    ends[0].sendall(b"c\0\0\0\1d")
    assert [channel.receive(SECONDS), channel.receive(SECONDS)] == [b"abc", b"d"]


def test_a_full_channel_stops_a_sender_in_time(ends: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(TimeoutError):
        Channel(ends[0]).send(b"x" * 10_000_000, 0)


def test_an_impossible_length_is_damage(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].sendall((MAX_MESSAGE_BYTES + 1).to_bytes(4))
    with pytest.raises(ChannelDamagedError, match=str(MAX_MESSAGE_BYTES + 1)):
        Channel(ends[1]).receive(SECONDS)


@pytest.mark.parametrize("rest", [b"", b"\0\0", b"\0\0\0\7abc"])
def test_a_closed_channel_has_ended(ends: tuple[socket.socket, socket.socket], rest: bytes) -> None:
    left, right = map(Channel, ends)
    ends[0].sendall(rest)
    left.close()
    left.close()  # again
    for channel in (left, right):
        with pytest.raises(ChannelEndedError):
            channel.receive(SECONDS)
    for channel in (left, right):
        with pytest.raises(ChannelEndedError):
            for _ in range(2):  # the system may take the first one
                channel.send(b"x", SECONDS)


def test_closing_the_other_end_ends_a_waiting_receiver(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    left, right = map(Channel, ends)
    timer = threading.Timer(0, left.close)
    timer.start()
    with pytest.raises(ChannelEndedError):
        right.receive(SECONDS)
    timer.join()


WRITER = """
import signal, socket
from engine.portal.channel import Channel, ChannelEndedError
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as many tools for the terminal do
left, right = socket.socketpair()
right.close()
try:
    Channel(left).send(b"x" * 1_000_000)
except ChannelEndedError:
    print("ended")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="this system has no such signal")
def test_a_write_to_a_closed_channel_does_not_end_the_program() -> None:
    command = [sys.executable, "-c", WRITER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.stdout, done.returncode) == ("ended\n", 0), done.stderr
