"""Repeats: a request that comes again with its key gets the answer that it got, and does nothing.

By the IETF's draft of the header ``Idempotency-Key``. The answers are kept in memory, for clients
that repeat a call whose answer they have lost. An act that is repeated after the program has
restarted is decided anew: give it the state that was seen, ``expected_version``
and ``expected_attempt``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from msgspec.json import encode
from starlette.responses import Response

from engine.domain.exceptions import EngineError, OutcomeUnknownError
from engine.domain.validation import MAX_IDENTIFIER_CHARACTERS, check_text
from engine.web.errors import problem_of, problem_response

_MOST_ANSWERS: Final = 1_000
_MOST_BYTES: Final = 16 * 1024 * 1024


class Call(NamedTuple):
    """What a request asks for."""

    operation: str
    digest: bytes
    """The SHA-256 of the arguments, whatever their order."""

    @classmethod
    def of(cls, operation: str, arguments: Mapping[str, Any]) -> Call:
        """Return the call of an operation with a JSON object of arguments."""
        return cls(operation, sha256(encode(arguments, order="deterministic")).digest())


class _Kept(NamedTuple):
    """A call, and its answer; None while it is at work."""

    call: Call
    answer: Response | None


class Repeats:
    """Keeps the newest answers, each under its caller's key."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._bytes = 0

    async def once(
        self, who: str, key: str, call: Call, act: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Return the answer to a call: the one that is kept, or else that of ``act``.

        Raises:
            InvalidValueError: The key is no text of 1 to 256 characters.
            EngineError: The act's, if it may be tried again; or if its outcome is unknown, and then
                the answer that tells so is kept.
        """
        name = who, check_text("Idempotency-Key", key, MAX_IDENTIFIER_CHARACTERS)
        kept = self._kept.get(name)
        if kept is not None:
            return _repeated(kept, call)
        self._kept[name] = _Kept(call, None)
        answer = None
        try:
            answer = await act()
        except OutcomeUnknownError as error:
            answer = problem_of(error)
            raise
        except EngineError as error:
            told = problem_of(error)
            if told.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            answer = told
        finally:
            del self._kept[name]
            if answer is not None:
                self._keep(name, _Kept(call, answer), len(answer.body))
        return answer

    def _keep(self, name: tuple[str, str], kept: _Kept, size: int) -> None:
        self._kept[name] = kept
        self._bytes += size
        while len(self._kept) > _MOST_ANSWERS or self._bytes > _MOST_BYTES:
            oldest = next((each for each in self._kept if self._kept[each].answer), None)
            if oldest is None:
                break
            answer = self._kept.pop(oldest).answer
            self._bytes -= 0 if answer is None else len(answer.body)


def _repeated(kept: _Kept, call: Call) -> Response:
    if kept.call != call:
        detail = "the idempotency key was used for another request; use a new one"
        return problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, detail, code="key-used")
    if kept.answer is None:
        detail = "the request with this key is at work; repeat it later"
        return problem_response(
            HTTPStatus.CONFLICT, detail, code="at-work", headers={"Retry-After": "1"}
        )
    return kept.answer
