"""Secrets and signatures, as Standard Webhooks has them.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: a
secret has 24 to 64 random bytes; a signature is the HMAC-SHA256 of id, timestamp and body.
"""

from __future__ import annotations

import base64
import binascii
import secrets as random
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from standardwebhooks import Webhook

from engine.domain.exceptions import InvalidValueError

ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"

MAX_SECRETS: Final = 2
_PREFIX: Final = "whsec_"
_NEW_BYTES: Final = 32
_SHORTEST_BYTES, _LONGEST_BYTES = 24, 64


def new_secret() -> str:
    """Return a new secret to share with the other side: ``whsec_`` and 32 random bytes."""
    return _PREFIX + base64.b64encode(random.token_bytes(_NEW_BYTES)).decode()


def checked_secrets(given: object) -> tuple[str, ...]:
    """Return one or two secrets.

    Raises:
        InvalidValueError: They are none. The error doesn't show them.
    """
    secrets = (given,) if isinstance(given, str) else given
    if not isinstance(secrets, Sequence) or not 1 <= len(secrets) <= MAX_SECRETS:
        raise InvalidValueError(
            "secrets", "must be one, or a list of two while you replace one by the other"
        )
    return tuple(map(_checked_secret, secrets))


def _checked_secret(given: object) -> str:
    if isinstance(given, str) and given.startswith(_PREFIX):
        try:
            text = given.removeprefix(_PREFIX).rstrip("=")
            key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):  # no base64; not even ASCII
            key = b""
        if _SHORTEST_BYTES <= len(key) <= _LONGEST_BYTES:
            return given
    raise InvalidValueError(
        "secrets",
        f"must be {_PREFIX} and the base64 of {_SHORTEST_BYTES} to {_LONGEST_BYTES} bytes: "
        "`new_secret()` returns one",
    )


def signature(secret: str, message_id: str, at: datetime, body: str) -> str:
    """Return the signature of a message by one secret, such as ``v1,…``."""
    return Webhook(secret).sign(message_id, at, body)


def signed_headers(
    secrets: Sequence[str], message_id: str, at: datetime, body: str
) -> dict[str, str]:
    """Return the headers of a message, signed by each of the secrets."""
    return {
        ID: message_id,
        TIMESTAMP: str(int(at.timestamp())),
        SIGNATURE: " ".join(signature(secret, message_id, at, body) for secret in secrets),
    }
