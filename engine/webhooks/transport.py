"""The transport: connects to an address that was checked, and to no other.

The name is resolved once, here, and the connection gets the address in its place. If httpx resolved
it again, a resolver of the customer's could give a public address to the check and a private one to
the connection (DNS rebinding). TLS and the header ``Host`` still have the name.
"""

from __future__ import annotations

import ssl
from functools import cache
from typing import Final

import httpx

from engine.domain.exceptions import EngineError
from engine.webhooks.addresses import addresses_of, is_public

_PORTS: Final = {"http": 80, "https": 443}


class PrivateAddressError(EngineError):
    """A host name leads to an address that is not public.

    The text doesn't say which: a customer who sees the attempts would learn addresses of networks
    that he can't see.
    """

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} has an address that is not public: if it is meant, give the endpoint "
            "allow_private=True"
        )


class CheckedTransport(httpx.AsyncBaseTransport):
    """Sends one request over a connection of its own. Takes no proxy from the environment.

    Args:
        context: Verifies the server; None for the certificates of certifi.
        allow_private: Whether any address will do.
        connect_seconds: The time to connect, for all addresses of the host together.
    """

    def __init__(
        self, context: ssl.SSLContext | None, *, allow_private: bool, connect_seconds: float
    ) -> None:
        self._transport = httpx.AsyncHTTPTransport(
            verify=_default_context() if context is None else context, trust_env=False
        )
        self._allow_private = allow_private
        self._connect_seconds = connect_seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the first address that takes the connection.

        Raises:
            PrivateAddressError: One of the addresses is not public.
            OSError: The host has no address.
            httpx.TransportError: The connection fails.
        """
        host = request.url.raw_host.decode("ascii")
        addresses = await addresses_of(host, request.url.port or _PORTS[request.url.scheme])
        for address in addresses:
            if not self._allow_private and not is_public(address):
                raise PrivateAddressError(host)
        seconds = self._connect_seconds / len(addresses)
        for address in addresses[:-1]:
            try:
                return await self._send(request, host, address, seconds)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue  # nothing was sent
        return await self._send(request, host, addresses[-1], seconds)

    async def _send(
        self, request: httpx.Request, host: str, address: str, seconds: float
    ) -> httpx.Response:
        limits = {**request.extensions["timeout"], "connect": seconds}
        to_address = httpx.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,  # with the `Host`
            stream=request.stream,
            extensions={**request.extensions, "timeout": limits, "sni_hostname": host},
        )
        return await self._transport.handle_async_request(to_address)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._transport.aclose()


@cache
def _default_context() -> ssl.SSLContext:
    """Return the context of all endpoints without one: it takes long to read the certificates."""
    return httpx.create_ssl_context(trust_env=False)
