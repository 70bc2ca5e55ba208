"""Messages: carry commands to the owner and answers back.

A message takes plain, checked values to the owner, and holds the slot of the answer. A single call
is a bulk call of one item, so every rule is written once. The owner, or the part that refuses the
message, sets the answer exactly once; the caller reads it after the wake-up. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, ClassVar, Final, Generic

from typing_extensions import TypeVar

from engine.domain.exceptions import EngineClosedError, EngineError

Answer = TypeVar("Answer")

CHARACTERS_OF_WEIGHT: Final = 4_096
UNANSWERED: Final = EngineClosedError()


class Message(Generic[Answer]):
    """Carries one request, and has the slot of its answer.

    Attributes:
        job_ids: The jobs that the message names.
        keys: The idempotency keys that the message names.
        payments: The given payments that the message names.
        weight: The number of its jobs, at least 1, and 1 more for each 4,096 characters of inputs,
            answers, results and errors. The limits of inbox and round count weights.
        is_abandoned: Whether the caller has stopped waiting.
        writes: Whether the message may change jobs.
        by_attempt: Whether an attempt of this engine sends it, about its own job. So a stale record
            of that job will do: the message changes the job, or fails by its token.
    """

    __slots__ = ("_outcome", "is_abandoned", "weight")
    writes: ClassVar[bool] = False
    by_attempt: ClassVar[bool] = False
    job_ids: Sequence[str] = ()
    keys: Sequence[str] = ()
    payments: Sequence[str] = ()

    _outcome: Answer | EngineError

    def __init__(self, weight: int = 1) -> None:
        self.weight = weight
        self.is_abandoned = False
        self._outcome = UNANSWERED

    @property
    def answered(self) -> bool:
        """Whether the message has its answer."""
        return self._outcome is not UNANSWERED

    def answer(self, value: Answer | EngineError) -> None:
        """Set the answer. An error must belong to this caller alone; others get copies."""
        self._outcome = value

    def outcome(self) -> Answer:
        """Return the answer, or raise it if it is an error. Call this once."""
        outcome = self._outcome
        if isinstance(outcome, EngineError):
            # The error's traceback holds this frame and so the message: neither may hold the error.
            self._outcome = UNANSWERED
            try:
                raise outcome
            finally:
                del outcome
        return outcome


def refuse(messages: Sequence[Message[Any]], error: EngineError) -> None:
    """Answer each message with its own copy of an error."""
    for message in messages:
        message.answer(copy(error))
