"""A delivery: sends one event to one endpoint, and judges the answer."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import anyio
import httpx

from engine.domain.exceptions import EngineError
from engine.domain.visible_text import is_visible
from engine.webhooks.endpoint import Endpoint
from engine.webhooks.payload import payload_text
from engine.webhooks.retry_after import retry_after_seconds
from engine.webhooks.signing import signed_headers
from engine.webhooks.transport import CheckedTransport
from engine.worker import Handler
from engine.worker.context import Context

_MAX_BODY_BYTES: Final = 4_096
_BODY_SECONDS: Final = 2.0
_SHOWN_CHARACTERS: Final = 200
_MAX_CAUSES: Final = 8
_NOT_NOW: Final = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


class DeliveryError(EngineError):
    """An endpoint has not taken an event. No call raises it: it stands in the delivery's attempts.

    Attributes:
        status_code: The HTTP status of the answer; None without one.
        retry_after_seconds: When to send it again, as the answer says, a day at most; None if it
            doesn't say it.
        disables_rule: Whether the endpoint is gone (410), and gets no more events.
        retryable: Whether it is sent again: not to an endpoint that is gone.
    """

    def __init__(
        self, problem: str, status_code: int | None = None, delay: float | None = None
    ) -> None:
        super().__init__(f"the endpoint {problem}")
        self.status_code = status_code
        self.retry_after_seconds = delay
        self.disables_rule = status_code == HTTPStatus.GONE
        self.retryable = not self.disables_rule


def delivering(endpoint: Endpoint[Any]) -> Handler[Any, dict[str, int]]:
    """Return the handler of the deliveries to an endpoint. It runs on the event loop."""
    return Handler(
        _Delivery(endpoint).deliver,
        concurrency=endpoint.concurrency,
        retry=endpoint.retry,
        timeout_seconds=endpoint.timeout_seconds,
        idempotent=True,
        processes=False,
    )


class _Delivery:
    """Delivers to one endpoint."""

    def __init__(self, endpoint: Endpoint[Any]) -> None:
        self._endpoint = endpoint

    async def deliver(self, context: Context[Any]) -> dict[str, int]:
        """Send the event of a follow-up once.

        A client of its own costs a connection for each delivery, and keeps none that the next one
        could find broken, or open on another event loop.

        Raises:
            DeliveryError: There is no answer, or it is no success.
        """
        try:
            with context.at_work():
                return await self._send(context)
        except (OSError, httpx.TransportError) as error:
            raise DeliveryError(f"did not answer: {_reason(error)}") from error

    async def _send(self, context: Context[Any]) -> dict[str, int]:
        endpoint = self._endpoint
        transport = CheckedTransport(
            endpoint.ssl_context,
            allow_private=endpoint.allow_private,
            connect_seconds=endpoint.timeout_seconds,
        )
        body = payload_text(context, with_job=endpoint.payload == "job")
        headers = self._headers(context.key, body)
        async with (
            httpx.AsyncClient(transport=transport, timeout=None, trust_env=False) as client,  # noqa: S113 - the attempt has a limit for all of it
            client.stream("POST", endpoint.url, content=body, headers=headers) as answer,
        ):
            if not answer.is_success:
                raise await _refusal(answer)
            return {"status_code": answer.status_code}

    def _headers(self, message_id: str, body: str) -> dict[str, str]:
        """Return the headers of an attempt. The receiver's clock judges their time: a real one."""
        endpoint = self._endpoint
        return {
            "user-agent": "engine-webhooks",
            **endpoint.headers,
            "accept-encoding": "identity",
            "content-type": "application/json",
            **signed_headers(endpoint.secrets, message_id, datetime.now(UTC), body),
        }


async def _refusal(answer: httpx.Response) -> DeliveryError:
    """Return the error of an answer that is no success."""
    status, phrase = answer.status_code, _shown(answer.reason_phrase)
    delay = None
    if status in _NOT_NOW:
        delay = retry_after_seconds(answer.headers.get("retry-after"), datetime.now(UTC))
    body = await _beginning(answer)
    said = f": {body}" if body else ""
    return DeliveryError(f"answered {status} {phrase}".rstrip() + said, status, delay)


def _reason(error: BaseException) -> str:
    """Return why there is no answer. On trio, httpx leaves the text to the causes of its error."""
    each: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if each is None:
            break
        if str(each):
            return f"{type(each).__name__}: {each}"
        each = each.__cause__ or each.__context__
    return type(error).__name__


async def _beginning(answer: httpx.Response) -> str:
    """Return the first characters of a body: as many as come soon."""
    body = b""
    with suppress(httpx.TransportError), anyio.move_on_after(_BODY_SECONDS) as scope:
        async for piece in answer.aiter_raw():
            body += piece[:_MAX_BODY_BYTES]
            if len(body) >= _MAX_BODY_BYTES:
                scope.cancel()  # ends the generators inside httpx, too, as `break` does not
    return _shown(body.decode(errors="replace"))


def _shown(text: str) -> str:
    """Return the first characters of a foreign text, on one line, all of which is seen."""
    return "".join(filter(is_visible, " ".join(text.split())))[:_SHOWN_CHARACTERS]
