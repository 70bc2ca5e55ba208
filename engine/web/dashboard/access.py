"""Access: who may see the dashboard, and who may act.

A service decides that by a function of its own. `token_access` is a ready one for a service that
has no users: a token opens the dashboard, by a form in a browser or as ``Authorization: Bearer`` in
a program.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeAlias

from starlette.requests import Request

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.validation import MAX_BY_CHARACTERS, check_flag, check_text
from engine.portal.time import utc_now

SESSION_SECONDS: Final = 12 * 3_600
_SHORTEST_TOKEN_CHARACTERS: Final = 16
_LONGEST_TOKEN_CHARACTERS: Final = 1_024


@dataclass(frozen=True, slots=True)
class Access:
    """The access of one caller.

    Attributes:
        who: Names the caller, in the history of each job that the caller acts on and in the audit:
            1 to 256 characters.
        may_act: Whether the caller may also act, and not only look.

    Raises:
        InvalidValueError: One of them is of the wrong type or size.
    """

    who: str
    may_act: bool

    def __post_init__(self) -> None:
        """Check both: an unnamed caller leaves acts that nobody has made."""
        check_text("who", self.who, MAX_BY_CHARACTERS)
        check_flag("may_act", self.may_act)


Authorize: TypeAlias = Callable[[Request], Access | Awaitable[Access | None] | None]
"""Returns the access of a request's caller, or None for none. It may be async."""


def token_access(token: str, who: str = "operator", *, may_act: bool = True) -> TokenAccess:
    """Return an `Authorize` for those who have a token.

    A browser gets a form for it, and then has a cookie for 12 hours that no script can read and no
    other site can send. A program sends ``Authorization: Bearer TOKEN``. Serve both by TLS.

    Args:
        token: A secret of 16 to 1,024 printable ASCII characters, such as
            ``secrets.token_urlsafe()`` makes, without white space around them. A new one ends all
            sessions of the old one.
        who: The name of its owners; see `Access`.
        may_act: Whether they may also act.

    Raises:
        InvalidValueError: An argument is of the wrong type or size, or the token of others.
    """
    return TokenAccess(token, Access(who, may_act))


class TokenAccess:
    """Gives access to those who have a token; see `token_access`.

    Attributes:
        cookie: The name of the cookie of a session. It is the token's: a browser sends the cookie
            of a dashboard at ``/`` also to one at ``/ops``.
    """

    def __init__(self, token: str, access: Access) -> None:
        if not isinstance(token, str):
            raise InvalidValueError("token", f"must be a text, not {type(token).__name__}")
        if not _SHORTEST_TOKEN_CHARACTERS <= len(token) <= _LONGEST_TOKEN_CHARACTERS:
            size = f"{_SHORTEST_TOKEN_CHARACTERS} to {_LONGEST_TOKEN_CHARACTERS:,} characters"
            raise InvalidValueError("token", f"must have {size}, not {shown(len(token))}")
        if not (token.isascii() and token.isprintable()) or token != token.strip():
            problem = "must be printable ASCII, without white space around it: no header has others"
            raise InvalidValueError("token", problem)
        self._digest = sha256(token.encode()).digest()
        name = hmac.new(self._digest, b"engine dashboard cookie", sha256).hexdigest()
        self.cookie: str = f"engine_dashboard_{name[:8]}"
        self._access = access

    def __call__(self, request: Request) -> Access | None:
        """See `Authorize`."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._access if self.knows(given.strip()) else None
        session = request.cookies.get(self.cookie, "")
        return self._access if self._is_session(session) else None

    def knows(self, given: str) -> bool:
        """Return whether a text is the token; takes as long for each text of its length."""
        digest = sha256(given.encode("utf-8", "surrogateescape")).digest()
        return hmac.compare_digest(digest, self._digest)

    def new_session(self) -> str:
        """Return the cookie's value of a session that begins now. It holds no token."""
        return self._session(int(utc_now().timestamp()) + SESSION_SECONDS)

    def _session(self, ends: int) -> str:
        text = f"engine dashboard {ends}".encode()
        return f"{ends}.{hmac.new(self._digest, text, sha256).hexdigest()}"

    def _is_session(self, given: str) -> bool:
        ends, _, _ = given.partition(".")
        if not (ends.isascii() and ends.isdecimal() and len(ends) < len("1000000000000")):
            return False
        is_ours = hmac.compare_digest(self._session(int(ends)).encode(), given.encode())
        return is_ours and utc_now().timestamp() < int(ends)
