"""The context: what a handler can know, say and ask while it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Generic

from pydantic import TypeAdapter, ValidationError

from engine.domain.deadlines import Deadline, check_deadline, check_expires
from engine.domain.exceptions import LifecycleError
from engine.domain.ids import new_job_id
from engine.domain.lifecycle import Event, Lifecycle
from engine.domain.models import Job, Progress, Status
from engine.domain.validation import check_number, check_optional_text
from engine.owner.prompts import Schema, prompt_text
from engine.storage.record import (
    Record,
)

MAX_NOTE_CHARACTERS = 1_024


class InputNeeded(BaseException):
    """Ends an attempt whose handler has asked for an input that is not there yet."""


class JobCancelled(BaseException):
    """Ends a handler in a thread that has been told to stop."""


class Context(Generic[Status]):
    """An attempt as its handler sees it. May be used from the handler's own thread or task.

    Attributes:
        job: The job as it was when the attempt began.
        attempt: The attempt's number: 1 for the first.
        token: Proves that the attempt has the job: `JobEngine.transition` takes it, from whoever
            works for the attempt. A handler that ends its job by it is cancelled, as it is done.
    """

    def __init__(
        self,
        job: Job[Status],
        record: Record,
        lifecycle: Lifecycle[Status],
        publish: Callable[[Progress], object],
    ) -> None:
        work = record.execution
        self.job = job
        self.attempt = work.attempt
        self.token = work.token or ""
        self.request: tuple[str, Deadline | None] | None = None
        """The prompt that ended the attempt; for the worker."""
        self.is_stopping = False
        """Whether the handler has been told to stop: the worker sets it, from the event loop."""
        self._job_id = record.job_id
        self._lifecycle = lifecycle
        self._publish = publish
        self._answers: dict[str, Any] = {} if work.answers is None else json.loads(work.answers)
        self._asked = 0

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Say how far the work is. Watchers and `get` show the newest; the history has none of it.

        Cheap, and never waits: where more is said than can be told, only the newest is.

        Args:
            done: How much is done: a finite number.
            total: Of how much.
            note: What is being done, up to 1,024 characters.

        Raises:
            InvalidValueError: A value is of the wrong type or size.
        """
        check_number("done", done)
        if total is not None:
            check_number("total", total)
        check_optional_text("note", note, MAX_NOTE_CHARACTERS, shortest=0)
        self._publish(
            Progress(job_id=self._job_id, attempt=self.attempt, done=done, total=total, note=note)
        )

    def check_cancelled(self) -> None:
        """End the handler here if it has been told to stop; else do nothing.

        For loops in threads. An async handler is cancelled where it awaits, and need not ask.
        """
        if self.is_stopping:
            raise JobCancelled

    def request_input(
        self,
        schema: Schema,
        deadline: Deadline | None = None,
        *,
        name: str | None = None,
        question: str | None = None,
    ) -> Any:  # noqa: ANN401 - of the type that is asked for
        """Return the answer to a question, if it has been given; else end this attempt and ask.

        Asking ends the attempt and leaves the job in the lifecycle's ``awaiting_input``, with a
        `Prompt` under an id that is never used again. `provide_input` answers it, now or in a month
        and after any number of restarts. Then the handler is run again, from its beginning, and
        this call returns. So a handler is to ask the same things in the same order, or to name
        them, and what it does before it asks should be cheap or safe to repeat.

        It is not awaited: it either has the answer or unwinds the handler, by an exception that is
        no `Exception`.

        Args:
            schema: What the answer has to look like: a pydantic model or another type that pydantic
                knows, which is returned; or a JSON Schema as a dict.
            deadline: How long to wait for the answer. Then the job goes where the lifecycle's
                ``expires_to`` says.
            name: What tells this question from others of the handler; by default its number.
            question: What to show to whoever answers: up to 65,536 characters.

        Raises:
            LifecycleError: The lifecycle has no ``awaiting_input``.
            InvalidValueError: An argument is not right.
            RuntimeError: The extra ``engine[input]`` is not installed.
        """
        self._asked += 1
        name = f"input {self._asked}" if name is None else name
        awaiting = self._lifecycle.target(self._lifecycle.running_value, Event.ASK)
        if awaiting is None:
            raise LifecycleError(
                f"{self._lifecycle!r} has no `awaiting_input`: AGENT_JOB_LIFECYCLE has one"
            )
        if name in self._answers:
            try:
                return _value_of(schema, self._answers[name])
            except ValidationError:
                pass  # it fits the JSON Schema, and not the model's own rules: ask again
        if deadline is not None:
            check_deadline("deadline", deadline)
            check_expires(self._lifecycle, awaiting)
        self.request = (prompt_text(new_job_id(), schema, name, question), deadline)
        raise InputNeeded


def _value_of(schema: Schema, answer: object) -> object:
    if isinstance(schema, dict):
        return answer
    return TypeAdapter(schema).validate_json(json.dumps(answer))
