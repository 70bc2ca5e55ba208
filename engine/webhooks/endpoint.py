"""The endpoint: where events go, which ones, and how."""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from ipaddress import ip_address
from typing import Any, Final, Generic, Literal, TypeAlias, get_args

import httpx

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.follow_ups import FollowUp
from engine.domain.labels import MAX_KIND_CHARACTERS, check_kind
from engine.domain.models import Status
from engine.domain.outcomes import Outcome
from engine.domain.retry import Retry
from engine.domain.validation import check_flag, check_integer, check_seconds, check_text
from engine.webhooks.addresses import is_public
from engine.webhooks.retry_after import MAX_RETRY_AFTER_SECONDS
from engine.webhooks.signing import checked_secrets

KIND_PREFIX: Final = "webhook."
MAX_NAME_CHARACTERS: Final = MAX_KIND_CHARACTERS - len(KIND_PREFIX)
MAX_URL_CHARACTERS: Final = 2_048
MAX_HEADERS: Final = 32
MAX_HEADER_CHARACTERS: Final = 4_096
MAX_CONCURRENCY: Final = 10_000
LARGEST_PORT: Final = 65_535

Payload: TypeAlias = Literal["event", "job"]

DELIVERY_RETRY: Final = Retry(
    18, first_delay_seconds=5, factor=2, max_delay_seconds=MAX_RETRY_AFTER_SECONDS
)
"""The rule of retries of deliveries: over three days, and a ``Retry-After`` of up to a day."""

_is_header_name: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}").fullmatch
_is_header_value: Final = re.compile(r"[\x20-\x7e\t]*").fullmatch
_OWN_HEADERS: Final = re.compile(
    r"webhook-.*|host|content-.*|transfer-encoding|accept-encoding|connection", re.IGNORECASE
)


@dataclass(frozen=True)
class Endpoint(Generic[Status]):
    """Takes the events of jobs, by POST, as Standard Webhooks has it.

    Each event is a job of the kind ``webhook.NAME``, a `FollowUp`, with attempts of its own. An
    event is delivered at least once; ``webhook-id`` is the same in all its attempts. A status of
    200 to 299 is a success, all others are failures, redirects too. 410 disables the endpoint, in
    the storage: it gets no events until `JobEngine.enable_rule` for the kind.

    Attributes:
        name: 1 to 56 of ``a-z 0-9 _ . -``. Endpoints with one name are one endpoint.
        url: By https or http, up to 2,048 characters, without a user name and password: give those
            as ``headers``.
        secrets: Those that sign: one, or two while the receiver replaces one by the other. See
            `new_secret`.
        to, of, outcomes, started, labels: Which transitions are events, as for `FollowUp`: to one
            of these statuses, by default of jobs of all kinds that are no follow-ups.
        payload: ``event``: the id, kind, status, outcome, version and labels of the job at the
            event. ``job``: all of the job, also its input, result and payment, as it is at the
            attempt.
        timeout_seconds: For an attempt, from the resolution of the name to the answer: above 0.
        allow_private: Whether the host may have addresses that are not public.
        headers: Up to 32 others, such as ``authorization``.
        concurrency: How many attempts may run at once in a worker, within its own concurrency: a
            slow endpoint must not take all places.
        retry: The rule of retries. A ``Retry-After`` is cut to its longest delay.
        ssl_context: Verifies the server; by default by the certificates of certifi.

    Raises:
        InvalidValueError: A value has the wrong type, size or form.
    """

    name: str
    url: str = field(repr=False)  # it may have a secret in its path
    secrets: str | Sequence[str] = field(repr=False)
    _: KW_ONLY
    to: Collection[Status]
    of: str | Collection[str] | None = None
    outcomes: Collection[Outcome] | None = None
    started: bool | None = None
    labels: Mapping[str, str] | None = None
    payload: Payload = "event"
    timeout_seconds: float = 15.0
    allow_private: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    concurrency: int = 4
    retry: Retry = DELIVERY_RETRY
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check the values."""
        _check_name(self.name)
        check_flag("allow_private", self.allow_private)
        _check_url(self.url, allow_private=self.allow_private)
        object.__setattr__(self, "secrets", checked_secrets(self.secrets))
        object.__setattr__(self, "headers", _checked_headers(self.headers))
        if self.payload not in get_args(Payload):
            raise InvalidValueError("payload", f"must be event or job, not {shown(self.payload)}")
        check_seconds("timeout_seconds", self.timeout_seconds, above_zero=True)
        check_integer("concurrency", self.concurrency, 1, MAX_CONCURRENCY)
        _check_is("retry", self.retry, Retry)
        _check_is("ssl_context", self.ssl_context, ssl.SSLContext | None)
        _ = self.rule

    @property
    def kind(self) -> str:
        """The kind of its deliveries."""
        return KIND_PREFIX + self.name

    @property
    def rule(self) -> FollowUp[Status]:
        """The rule that creates its deliveries."""
        return FollowUp(
            self.kind,
            to=self.to,
            of=self.of,
            outcomes=self.outcomes,
            started=self.started,
            labels=self.labels,
        )


def _check_name(name: object) -> None:
    try:
        check_kind(name)
        check_text("name", name, MAX_NAME_CHARACTERS)
    except InvalidValueError:
        raise InvalidValueError(
            "name",
            f"must be 1 to {MAX_NAME_CHARACTERS} of a-z, 0-9, `_`, `.` and `-`, not {shown(name)}",
        ) from None


def _check_url(given: object, *, allow_private: bool) -> None:
    """Check a URL as far as it says by itself where it leads."""
    try:
        url = httpx.URL(check_text("url", given, MAX_URL_CHARACTERS))
    except httpx.InvalidURL as error:
        raise InvalidValueError("url", f"is none: {error}") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise InvalidValueError("url", "must begin with https:// or http:// and a host")
    if url.port is not None and not 1 <= url.port <= LARGEST_PORT:
        raise InvalidValueError("url", f"has a port past {LARGEST_PORT:,}")
    if url.userinfo:
        raise InvalidValueError(
            "url", "has a user name: leave it out, and give an `authorization` by headers"
        )
    if not allow_private and _is_private(url.host):
        raise InvalidValueError(
            "url", f"leads to {url.host}, which is not public: allow_private=True allows that"
        )


def _is_private(host: str) -> bool:
    """Return whether a host is not public, as far as its text says it."""
    host = host.removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return not is_public(host)


def _checked_headers(given: object) -> dict[str, str]:
    if not isinstance(given, Mapping) or len(given) > MAX_HEADERS:
        raise InvalidValueError("headers", f"must map up to {MAX_HEADERS} names to texts")
    headers = {}
    for name, value in given.items():
        if not isinstance(name, str) or not _is_header_name(name):
            raise InvalidValueError("headers", f"has a name that is none: {shown(name)}")
        if _OWN_HEADERS.fullmatch(name):
            raise InvalidValueError("headers", f"has {name}, which the delivery sets itself")
        text = check_text(f"headers[{name!r}]", value, MAX_HEADER_CHARACTERS)
        if not _is_header_value(text):
            raise InvalidValueError(f"headers[{name!r}]", "must be printable ASCII, on one line")
        headers[name.lower()] = text
    return headers


def _check_is(name: str, value: object, kind: Any) -> None:  # noqa: ANN401 - a class or a union
    if not isinstance(value, kind):
        raise InvalidValueError(name, f"must be of {kind}, not {shown(value)}")
