"""Which addresses are public: none of this machine or network. A name is resolved on its own."""

from __future__ import annotations

import socket
import threading
from typing import Any

import anyio
import pytest

from engine.webhooks.addresses import addresses_of, is_public
from tests.unit.webhooks.receiver import SECONDS_AGAINST_HANGS

PRIVATE = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3"),  # noqa: S104 - it is refused
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.0.8", "192.0.0.192", "198.18.0.1"),
    *("192.0.2.1", "198.51.100.1", "203.0.113.1"),
    *("224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254"),
    *("ff02::1", "2001:db8::1", "100::1", "4000::1", "64:ff9b:1::808:808"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1", "2002:a00:1::1"),
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
]
PUBLIC = [
    *("8.8.8.8", "93.184.215.14", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1"),
    *("2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8", "64:ff9b::808:808"),
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_these_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_these_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.anyio
async def test_a_resolver_that_hangs_holds_up_no_other_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There are more of these than shared threads: 32 at most on asyncio, 40 on trio."""
    real, answering = socket.getaddrinfo, threading.Event()

    def resolve(host: Any, *arguments: Any, **others: Any) -> list[Any]:  # noqa: ANN401
        if host == b"slow.example":
            answering.wait(SECONDS_AGAINST_HANGS)
        return real("127.0.0.1", *arguments, **others)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(41):
                tasks.start_soon(addresses_of, "slow.example", 80)
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(SECONDS_AGAINST_HANGS / 6):
                assert await addresses_of("fast.example", 80) == ["127.0.0.1"]
            tasks.cancel_scope.cancel()
    finally:
        answering.set()
