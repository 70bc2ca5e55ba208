"""The context: a handler's job, its progress, its questions and its cancellation."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any, Generic, NamedTuple, overload

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypeVar

from engine.domain.deadlines import Deadline, check_deadline, check_expires
from engine.domain.exceptions import InvalidValueError, LifecycleError, message_of
from engine.domain.ids import new_job_id
from engine.domain.lifecycle import Event, Lifecycle
from engine.domain.models import Job, Progress, Status
from engine.domain.past_status import PastStatus
from engine.domain.typed_values import problem_of, read
from engine.domain.validation import check_number, check_optional_text, kept_text
from engine.owner.prompts import MAX_REFUSAL_CHARACTERS, Schema, prompt_text
from engine.owner.views import Views
from engine.portal.logs import TaskLogger
from engine.storage.record import Record
from engine.worker.parent import Parent

Kind = TypeVar("Kind")

logger = TaskLogger("engine.worker")

MAX_NOTE_CHARACTERS = 1_024


class InputNeeded(BaseException):
    """Ends an attempt whose handler asks for an input that has not been provided yet."""


def asks_for_input(error: BaseException) -> bool:
    """Return whether an exception is an `InputNeeded`, or wraps one: as cause, context or group."""
    seen: set[int] = set()  # an error may have any `__hash__`
    found: list[BaseException | None] = [error]
    while found:
        each = found.pop()
        if isinstance(each, InputNeeded):
            return True
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        found += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            found += each.exceptions
    return False


class JobCancelled(BaseException):
    """Ends a handler in a thread that was asked to stop."""


class _Parent(NamedTuple, Generic[Status]):
    """A `Parent`, as callers see it."""

    job: Job[Status]
    status: Status | PastStatus
    at: datetime


class Context(Generic[Status]):
    """Gives a handler its view of the attempt. For the handler's own thread or task.

    Attributes:
        job: The job as it was when the attempt began.
        attempt: The attempt's number: 1 for the first.
        token: Proves that the attempt has the job; pass it to `JobEngine.transition` in anything
            that works for the attempt. A handler that ends its job that way is then cancelled.
        key: Names the work: the job's id, or that of the first job which it repeats. It is the same
            in all attempts and repeats. Pass it on as the idempotency key of whatever must happen
            once elsewhere, such as a refund: a handler may run again.
    """

    def __init__(
        self,
        job: Job[Status],
        record: Record,
        lifecycle: Lifecycle[Status],
        publish: Callable[[Progress], object],
        at_work: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        work = record.execution
        self.job = job
        self.attempt: int = work.attempt
        self.token: str = work.token or ""
        self.key: str = record.key
        self._parent: _Parent[Status] | None = None
        self.request: tuple[str, Deadline | None] | None = None
        """The prompt that ended the attempt; for the worker."""
        self.is_stopping = False
        """Whether the handler was asked to stop. The worker sets it, on the event loop."""
        self._job_id = record.job_id
        self._lifecycle = lifecycle
        self._publish = publish
        self._at_work = at_work
        self._answers: dict[str, Any] = {} if work.answers is None else json.loads(work.answers)
        self._asked = 0
        self._has_complained = False

    @property
    def parent(self) -> Job[Status]:
        """The job whose follow-up this is, as it was when the attempt began.

        Raises:
            InvalidValueError: The job is no follow-up.
        """
        return self._of_follow_up("parent").job

    @property
    def parent_status(self) -> Status | PastStatus:
        """The status that the parent entered when it made this follow-up.

        That of `parent` may be another one, unless this one is final: it is the present one.

        Raises:
            InvalidValueError: The job is no follow-up.
        """
        return self._of_follow_up("parent_status").status

    @property
    def parent_entered_at(self) -> datetime:
        """The time at which the parent entered `parent_status`.

        Raises:
            InvalidValueError: The job is no follow-up.
        """
        return self._of_follow_up("parent_entered_at").at

    def _of_follow_up(self, name: str) -> _Parent[Status]:
        if self._parent is None:
            raise InvalidValueError(f"context.{name}", "is there for follow-ups alone")
        return self._parent

    def set_parent(self, parent: Parent, views: Views[Status]) -> None:
        """Set the job whose follow-up this is; for the worker."""
        status = views.status(parent.status)
        self._parent = _Parent(views.job(parent.record), status, parent.at)

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Report progress. Watchers and `get` show the newest; the history does not keep it.

        Cheap, never waits and never raises. Reports that come faster than they can be published
        replace each other: only the newest remains. The work is worth more than a report of it: a
        wrong value is left out, and the log ``engine.worker`` names the first one of each attempt.

        Args:
            done: The work done so far: a finite number, or anything that `float` takes, such as a
                Decimal or a number of numpy. Without it there is no report.
            total: The whole work: such a number.
            note: The current step; its first 1,024 characters are shown.
        """
        finished, whole = self._number("done", done), self._number("total", total)
        if finished is None:
            return
        text = self._note(note)
        self._publish(
            Progress(
                job_id=self._job_id, attempt=self.attempt, done=finished, total=whole, note=text
            )
        )

    def _number(self, field: str, value: Any) -> float | None:  # noqa: ANN401 - as it is given
        """Return a value as a finite number; None for None, and for what is none."""
        if value is None and field == "total":
            return None
        try:
            number = value if isinstance(value, int | float) else float(value)
            return check_number(field, number)
        except Exception as error:  # noqa: BLE001 - a foreign number may raise anything
            self._complain(error)
            return None

    def _note(self, note: Any) -> str | None:  # noqa: ANN401 - as it is given
        """Return the beginning of a note; None for what is no text."""
        try:
            note = note[:MAX_NOTE_CHARACTERS] if isinstance(note, str) else note
            return check_optional_text("note", note, MAX_NOTE_CHARACTERS, shortest=0)
        except InvalidValueError as error:
            self._complain(error)
            return None

    def _complain(self, error: Exception) -> None:
        """Log the first wrong value of the attempt."""
        if not self._has_complained:
            self._has_complained = True
            logger.warning(
                "attempt %s of job %s reports progress with a wrong value, which is left out: %s",
                *(self.attempt, self._job_id, message_of(error)),
                extra={"job_id": self._job_id, "attempt": self.attempt},
            )

    def at_work(self) -> AbstractContextManager[None]:
        """Mark a wait of an async handler for something real, such as the answer of a server.

        ::

            with context.at_work():
                answer = await client.post(url)

        It does nothing but in tests: a virtual clock sees a socket as a task that is blocked, and
        gives it real time only while this is open; see `engine.testing.VirtualClock`.
        """
        return self._at_work()

    def check_cancelled(self) -> None:
        """End the handler here if it was asked to stop.

        For loops in threads. An async handler is cancelled where it awaits, and needs no check.
        """
        if self.is_stopping:
            raise JobCancelled

    @overload
    def request_input(
        self,
        schema: type[Kind],
        deadline: Deadline | None = None,
        *,
        name: str | None = None,
        question: str | None = None,
    ) -> Kind: ...
    @overload
    def request_input(
        self,
        schema: Schema,
        deadline: Deadline | None = None,
        *,
        name: str | None = None,
        question: str | None = None,
    ) -> Any: ...  # noqa: ANN401 - of a JSON Schema, or of a type that is no class
    def request_input(
        self,
        schema: Schema,
        deadline: Deadline | None = None,
        *,
        name: str | None = None,
        question: str | None = None,
    ) -> Any:
        """Return the answer to a question if there is one; otherwise end this attempt and ask.

        Asking ends the attempt and leaves the job in the lifecycle's ``awaiting_input``, with a
        `Prompt` under an id that is never used again. `provide_input` answers it, now or in a month
        and after any number of restarts. The handler then runs again, from its beginning, and this
        call returns the answer. If the type's own rules, such as a validator's, refuse an answer
        that fits the JSON Schema, this asks again: the new prompt has the reason as its
        ``refusal``. So a handler has to ask the same questions in the same order, or to
        name them, and its work before a question should be cheap or safe to repeat.

        It is not awaited: it either returns the answer or unwinds the handler, by an exception that
        is no `Exception`.

        Args:
            schema: The form of the answer: a pydantic model or another type that pydantic knows,
                and this returns a value of it; or a JSON Schema as a dict.
            deadline: How long to wait for the answer. After that the job moves as the lifecycle's
                ``expires_to`` says.
            name: Distinguishes this question from the handler's others; by default its number.
            question: The text to show to the person who answers: up to 65,536 characters.

        Raises:
            LifecycleError: The lifecycle has no ``awaiting_input``.
            InvalidValueError: An argument has the wrong type, size or form; or answers can't be
                judged safely by the schema: it refers to itself without end or to another document,
                has a pattern with look-around or back-references, or takes more than 10,000 steps
                for a value; or the type is a recursive union that needs a discriminator.
            RuntimeError: The extra ``engine[input]`` is not installed.
        """
        self._asked += 1
        name = f"input {self._asked}" if name is None else name
        awaiting = self._lifecycle.target(self._lifecycle.running_value, Event.ASK)
        if awaiting is None:
            raise LifecycleError(
                f"{self._lifecycle!r} has no `awaiting_input`: ORDER_LIFECYCLE and "
                "AGENT_JOB_LIFECYCLE have one"
            )
        refusal = None
        if name in self._answers:
            try:
                return _value_of(schema, self._answers[name])
            except (InvalidValueError, ValidationError) as error:  # the type's own rules refuse it
                refusal = kept_text(problem_of(error), MAX_REFUSAL_CHARACTERS)
        if deadline is not None:
            deadline = check_deadline("deadline", deadline)
            check_expires(self._lifecycle, awaiting, "deadline")
        self.request = (prompt_text(new_job_id(), schema, name, question, refusal), deadline)
        raise InputNeeded


def _value_of(schema: Schema, answer: object) -> object:
    if isinstance(schema, dict):
        return answer
    return read(TypeAdapter(schema), json.dumps(answer))
