"""Answer a job's prompt and resume it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Self

from engine.domain.exceptions import InvalidValueError, StalePromptError
from engine.domain.json_text import json_text
from engine.domain.lifecycle import Event
from engine.domain.validation import (
    MAX_ANSWER_CHARACTERS,
    MAX_ANSWERS_CHARACTERS,
    MAX_IDENTIFIER_CHARACTERS,
    check_job_id,
    check_text,
)
from engine.owner.acts import Acted, acted, checked_act
from engine.owner.batch import Batch
from engine.owner.commands.command import WriteOne
from engine.owner.message import CHARACTERS_OF_WEIGHT
from engine.storage.record import NO_ACT, Act, Record


class AnswerPrompt(WriteOne):
    """Answer a job's prompt by JSON, and resume the job."""

    __slots__ = ("act", "prompt_id", "value")

    def __init__(
        self,
        job_id: str,
        prompt_id: str,
        value: str,
        act: Act = NO_ACT,
        acted: Acted | None = None,
    ) -> None:
        super().__init__(job_id, 1 + len(value) // CHARACTERS_OF_WEIGHT, acted)
        self.prompt_id = prompt_id
        self.value = value
        self.act = act

    @classmethod
    def checked(
        cls, job_id: str, prompt_id: str, value: object, by: str | None, reason: str | None
    ) -> Self:
        """Check the arguments; `engine.owner.prompts` checks that the answer fits the prompt.

        Raises:
            InvalidValueError: An argument has the wrong type, size or form.
        """
        job_id = check_job_id(job_id)
        prompt_id = check_text("prompt_id", prompt_id, MAX_IDENTIFIER_CHARACTERS)
        text, act = json_text("value", value, MAX_ANSWER_CHARACTERS), checked_act(by, reason)
        return cls(job_id, prompt_id, text, act, acted("answer", act, {"prompt_id": prompt_id}))

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`. A prompt takes one answer.

        Raises:
            JobNotFoundError: No job has this id.
            StalePromptError: The job doesn't wait for an answer to this prompt, or not any more.
            InvalidStateTransitionError: The lifecycle can't move the job back to running.
            InvalidValueError: All answers of the job together are too long.
        """
        record = batch.job(self.job_id)
        before = record.execution
        prompt = {} if before.prompt is None else json.loads(before.prompt)
        if prompt.get("prompt_id") != self.prompt_id:
            raise StalePromptError(self.job_id, self.prompt_id, prompt.get("prompt_id"))
        target = batch.lifecycle.after(record.status, Event.ANSWER, self.job_id)
        answers = _with_answer(before.answers, prompt["name"], self.value)
        execution = batch.entering(before, target).answered(answers)
        return [batch.move(record, target, execution=execution, act=self.act)]


def _with_answer(earlier: str | None, name: str, value: str) -> str:
    """Return the answers of a job with a new one, as JSON.

    Raises:
        InvalidValueError: They are too long together.
    """
    answers = {} if earlier is None else json.loads(earlier)
    answers[name] = json.loads(value)
    kept = json.dumps(answers, ensure_ascii=False, separators=(",", ":"))
    if len(kept) > MAX_ANSWERS_CHARACTERS:
        raise InvalidValueError(
            "value",
            f"is too long: all answers of a job have at most {MAX_ANSWERS_CHARACTERS} characters",
        )
    return kept
