"""Messages: commands on their way to the owner, each with the slot of its answer.

A message carries plain, checked values in and one answer out. A single call is a bulk call of one
item, so every rule is written once. The answer is set exactly once, by the owner or by the part
that refuses the message, and read by the caller after it has been woken; nothing here waits.
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
    """One request, with the slot that its answer goes to.

    Attributes:
        job_ids: The jobs that it names.
        keys: The idempotency keys that it names.
        weight: How many jobs it is about, 1 at least, and 1 more for each 4,096 characters of
            inputs, answers, results and errors. The limits of inbox and round count it.
        is_abandoned: Whether its caller has stopped waiting.
        writes: Whether it may change jobs.
    """

    __slots__ = ("_outcome", "is_abandoned", "weight")
    writes: ClassVar[bool] = False
    job_ids: Sequence[str] = ()
    keys: Sequence[str] = ()

    _outcome: Answer | EngineError

    def __init__(self, weight: int = 1) -> None:
        self.weight = weight
        self.is_abandoned = False
        self._outcome = UNANSWERED

    @property
    def answered(self) -> bool:
        """Whether the answer is there."""
        return self._outcome is not UNANSWERED

    def answer(self, value: Answer | EngineError) -> None:
        """Give the answer. An error is this caller's own, and shared with no other."""
        self._outcome = value

    def outcome(self) -> Answer:
        """Return the answer, or raise the error that stands for it. Called once."""
        outcome = self._outcome
        if isinstance(outcome, EngineError):
            # The error's traceback holds its frames: let neither them nor the message hold it.
            self._outcome = UNANSWERED
            try:
                raise outcome
            finally:
                del outcome
        return outcome


def refuse(messages: Sequence[Message[Any]], error: EngineError) -> None:
    """Answer messages with an error, each with one of its own."""
    for message in messages:
        message.answer(copy(error))
