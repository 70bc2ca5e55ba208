"""Addresses: those that a host name has, and whether they are public.

An endpoint's URL often comes from a customer. It must not lead a service to its own neighbours,
such as a database, or the metadata of a cloud's machine at 169.254.169.254.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from engine.portal import Threads

_MAX_ADDRESSES: Final = 8
_IETF: Final = IPv4Network("192.0.0.0/24")  # old releases of Python take a part of it for public
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")


async def addresses_of(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host, the preferred one first: 8 at most.

    On a thread of its own, which a cancellation leaves behind until the resolver answers: a name
    whose servers are silent must not take the few shared threads from all others.

    Args:
        host: Its name, in ASCII, or its address.
        port: The port.

    Raises:
        OSError: It has none, or the resolver doesn't answer.
    """
    threads = Threads("engine resolver")
    resolve = partial(socket.getaddrinfo, host.encode("ascii"), port, type=socket.SOCK_STREAM)
    try:
        found = await threads.start(resolve).wait()
    finally:
        threads.close()
    return [*dict.fromkeys(str(place[0]) for *_, place in found)][:_MAX_ADDRESSES]


def is_public(address: str) -> bool:
    """Return whether anybody on the internet has an address, and not this machine or network."""
    found = _reached(ip_address(address))
    if isinstance(found, IPv6Address):
        return found in _GLOBAL_UNICAST and found.is_global
    return found.is_global and not (found.is_multicast or found.is_reserved or found in _IETF)


def _reached(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address leads to: mapped, by 6to4 or by NAT64."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address
