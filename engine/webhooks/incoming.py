"""Callbacks of others: verify that they are genuine, and not old."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from typing import Any, Final

from pydantic_core import from_json

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.validation import MAX_IDENTIFIER_CHARACTERS, check_seconds, check_text
from engine.portal.time import Clock, read_clock, utc_now
from engine.webhooks.signing import ID, SIGNATURE, TIMESTAMP, checked_secrets, signature

_MAX_DIGITS: Final = 11  # of seconds, up to the year 5138
_MAX_HEADER_CHARACTERS: Final = 4_096


class InvalidWebhookError(InvalidValueError):
    """A callback is not genuine, or too old. Answer with a status of 400 or above.

    Attributes:
        field: The header, or ``body``, that is wrong.
    """


@dataclass(frozen=True, slots=True)
class Incoming:
    """A callback that is genuine.

    Attributes:
        message_id: Its ``webhook-id``: the same whenever the sender repeats it.
        sent_at: The time of this attempt of the sender.
        body: As it came.
    """

    message_id: str
    sent_at: datetime
    body: bytes = field(repr=False)

    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the body as JSON.

        Raises:
            InvalidWebhookError: It is none.
        """
        try:
            return from_json(self.body)
        except ValueError:
            raise InvalidWebhookError("body", "must be JSON") from None


def verify(
    headers: Mapping[str, str],
    body: bytes,
    secrets: str | Sequence[str],
    *,
    tolerance_seconds: float = 300,
    clock: Clock = utc_now,
) -> Incoming:
    """Verify a callback with the headers of Standard Webhooks.

    A genuine one may come again, from a sender who missed the answer or from somebody who has
    recorded it: until it is too old, this accepts it. So act on it by calls that happen once, such
    as `JobEngine.start`, or `JobEngine.create` with the ``message_id`` as ``idempotency_key``.

    Args:
        headers: Of the request, in any case.
        body: Of the request, as it came: JSON that was read and written again has another one.
        secrets: The sender's, or two while it replaces one by the other.
        tolerance_seconds: How far the sender's time may be off, to both sides: 0 or more.
        clock: Returns the time.

    Raises:
        InvalidWebhookError: A header is missing or wrong, the time is too far off, or no signature
            is by one of the secrets.
        InvalidValueError: An argument has the wrong type or form.
    """
    checked = checked_secrets(secrets)
    if not isinstance(body, bytes):
        raise InvalidValueError("body", f"must be bytes, not {shown(body)}")
    check_seconds("tolerance_seconds", tolerance_seconds)
    given = _by_name(headers)
    message_id = _text(given, ID, MAX_IDENTIFIER_CHARACTERS)
    sent_at = _sent_at(_text(given, TIMESTAMP, _MAX_DIGITS))
    signatures = _text(given, SIGNATURE, _MAX_HEADER_CHARACTERS).split(" ")
    off = abs(read_clock(clock) - sent_at)
    if off > timedelta(seconds=min(tolerance_seconds, timedelta.max.total_seconds() / 2)):
        raise InvalidWebhookError(
            TIMESTAMP, f"is {off.total_seconds():.0f} s off, and {tolerance_seconds:g} are allowed"
        )
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise InvalidWebhookError("body", "must be UTF-8") from None
    expected = [signature(secret, message_id, sent_at, text).encode() for secret in checked]
    # All are compared: the time it takes says nothing of the secrets.
    found = [compare_digest(each.encode(), one) for each in signatures for one in expected]
    if not any(found):
        raise InvalidWebhookError(SIGNATURE, "is by none of the secrets")
    return Incoming(message_id, sent_at, body)


def _by_name(headers: object) -> dict[str, str]:
    """Return headers by their names in small letters.

    Raises:
        InvalidValueError: They are no mapping, or one of its names is no text.
    """
    if isinstance(headers, Mapping) and all(isinstance(name, str) for name in headers):
        return {name.lower(): value for name, value in headers.items()}
    raise InvalidValueError("headers", f"must map names to texts, not {type(headers).__name__}")


def _text(headers: Mapping[str, str], name: str, longest: int) -> str:
    if name not in headers:
        raise InvalidWebhookError(name, "is missing")
    try:
        return check_text(name, headers[name], longest)
    except InvalidValueError as error:
        raise InvalidWebhookError(name, error.problem) from None


def _sent_at(seconds: str) -> datetime:
    if not (seconds.isascii() and seconds.isdigit()) or str(int(seconds)) != seconds:
        raise InvalidWebhookError(TIMESTAMP, f"must be seconds since 1970, not {shown(seconds)}")
    return datetime.fromtimestamp(int(seconds), UTC)
