"""The machine: an engine and the model, called in the same way.

Hypothesis draws the calls, which `proof.comparison` and `proof.following` say.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, TypeAlias

from anyio.from_thread import BlockingPortal
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from pydantic import BaseModel

from engine import (
    EngineError,
    FollowUp,
    JobEngine,
    Lifecycle,
    Move,
    Started,
    Storage,
    SyncJobEngine,
)

from .model import Model
from .model_rules import Fields

START = datetime(2025, 1, 1, tzinfo=UTC)
BY = st.sampled_from([None, "Ada"])

Call: TypeAlias = Callable[..., Any]
Plain: TypeAlias = Fields | list["Plain"]
Line: TypeAlias = tuple[str, str, str | None]
"""Of the audit: the action, who acts, and the job."""

ACTIONS = {"transition": "move", "follow_up": "follow-up"}
"""What the audit calls a call that has another name."""


@contextmanager
def opened(portal: BlockingPortal | None, **how: Any) -> Iterator[Call]:  # noqa: ANN401 - an engine's
    """Open an engine, awaited in the portal's event loop or blocking, and yield its caller."""
    if portal is None:
        with SyncJobEngine(**how) as blocking:
            yield lambda name, *items, **named: getattr(blocking, name)(*items, **named)
    else:
        with portal.wrap_async_context_manager(JobEngine(**how)) as awaited:
            yield lambda name, *items, **named: portal.call(
                partial(getattr(awaited, name), *items, **named)
            )


class Machine(RuleBasedStateMachine):
    """An engine and the model, called in the same way."""

    portal: ClassVar[BlockingPortal | None]
    lifecycle: ClassVar[Lifecycle[Any]]
    seen: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(self.lifecycle)
        self.now = START
        self.given: list[str] = []
        self.forced: list[str] = []
        self.held: tuple[str, int] | None = None
        self.audited = 0
        self._fresh = map("job-{}".format, itertools.count())
        self.open(self.new_storage())

    def new_storage(self) -> Storage:
        raise NotImplementedError

    def another(self) -> Storage:
        """Return the storage for the next engine."""
        return self._storage

    def open(self, storage: Storage, follow_ups: Sequence[FollowUp[Any]] = ()) -> None:
        """Open an engine on this storage for the next calls."""
        self._storage = storage
        self._opened = opened(
            self.portal,
            storage=storage,
            lifecycle=self.lifecycle,
            clock=lambda: self.now,
            new_id=self._new_id,
            follow_ups=follow_ups,
        )
        self.call = self._opened.__enter__()

    def close(self) -> None:
        """Close the current engine."""
        self._opened.__exit__(None, None, None)

    def _new_id(self) -> str:
        self.given.append(self.forced.pop() if self.forced else next(self._fresh))
        return self.given[-1]

    def compare(self, kind: str, asked: Callable[[], Any], expected: Callable[[], Any]) -> Plain:
        """Call both, and fail if their answers or errors differ."""
        self.given.clear()
        followed = self.model.state.followed
        real, right = outcome(asked), outcome(expected)
        assert real == right, f"{kind}: {real} instead of {right}"
        self.seen[kind] += 1
        self.seen["followed"] += self.model.state.followed - followed
        if isinstance(right, dict) and "raised" in right:
            self.seen[right["raised"]] += 1
            self.seen["bulk refused behind its first item"] += bool(right["item"])
        return right

    def compare_act(
        self, kind: str, by: str | None, asked: Callable[[], Any], expected: Callable[[], Any]
    ) -> Plain:
        """Compare a call that leaves a line of the audit for each job that it changes.

        If it says who acts; and none for the follow-ups that rules create.
        """
        before = self.model.state
        answer = self.compare(kind, asked, expected)
        if by is not None:
            action = ACTIONS.get(kind, kind)
            self.compare_audit([(action, by, each) for each in self.model.state.acted_on(before)])
        return answer

    def compare_audit(self, lines: Sequence[Line]) -> None:
        """Check that the audit has got these lines, in any order, and no others before them."""
        self.audited += len(lines)
        newest = self.call("audit", limit=len(lines) or 1)
        told = [(each.action, each.by, each.job_id) for each in newest[: len(lines)]]
        assert Counter(told) == Counter(lines), f"{told} instead of {lines}"
        assert max((each.number for each in newest), default=0) == self.audited
        self.seen["audited"] += len(lines)

    def job_id(self, number: int) -> str:
        jobs = list(self.model.state.jobs)
        return jobs[number % len(jobs)] if jobs and number >= 0 else "nobody"

    def make(self, move: Move[Any]) -> None:
        how = {
            "result": move.result,
            "error": move.error,
            "expected_version": move.expected_version,
            "expected_status": move.expected_status,
            "by": move.by,
            "reason": move.reason,
        }
        self.compare_act(
            "transition",
            move.by,
            lambda: self.call("transition", move.job_id, move.target, **how),
            lambda: single(lambda: self.model.transition_many([move], self.now)),
        )

    @rule(number=st.integers(0, 3), well=st.booleans())
    def run_to_its_end(self, number: int, well: bool) -> None:  # noqa: FBT001 - Hypothesis's
        job_id = self.job_id(number)
        ends = self.lifecycle.success if well else self.lifecycle.failure
        self.make(Move(job_id, self.lifecycle.running))
        self.make(Move(job_id, min(ends), result="done" if well else None))


def outcome(function: Callable[[], Any]) -> Plain:
    """Return the outcome of a call, an error included, as plain data."""
    try:
        return plain(function())
    except EngineError as error:
        told = {name: value for name, value in vars(error).items() if name != "problem"}
        return {**told, "raised": type(error).__name__, "item": error.item}


def plain(answer: BaseModel | Started | Fields | Sequence[BaseModel | Fields]) -> Plain:
    if isinstance(answer, Started):
        return {"job": plain(answer.job), "first": answer.first}
    if isinstance(answer, BaseModel):
        # Without a random name, and without values that follow from others.
        return answer.model_dump(exclude={"epoch"}, round_trip=True)
    return answer if isinstance(answer, dict) else [plain(each) for each in answer]


def single(function: Callable[[], list[Fields]]) -> Fields:
    """Make the model's bulk call for one job, and drop the item from its error."""
    try:
        return function()[0]
    except EngineError as error:
        error.item = None
        raise
