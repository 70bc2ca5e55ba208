"""Schedules from a seed: the same seed always gives the same order of steps.

A *step* is a callback of asyncio, or a run of a trio task up to its next checkpoint. Time is
virtual on both: it stands still while any task can run, and else jumps to the next timer. So
nothing sleeps, and a hang shows as a timeout at once.

* asyncio: `SeededLoop` draws a priority for every step, and runs the ready step with the lowest.
  The priority depends on the task and the number of its steps, not on the place in the queue,
  because anyio keeps tasks and scopes in sets, whose order differs from run to run.
* trio: its hook for deterministic scheduling sorts every batch of ready tasks by age and shuffles
  it with a replaceable generator; `trio.testing.MockClock` jumps.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio
import trio
from trio._core import _run as trio_scheduler
from trio.testing import MockClock

Answer = TypeVar("Answer")


class Schedule:
    """An order of steps, and its trace.

    Attributes:
        seed: The source of the order.
        trace: The number of the task that made each step; -1 for a step without a task.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.trace: list[int] = []
        self._interruptions: dict[int, Callable[[], object]] = {}

    def before(self, step: int, interrupt: Callable[[], object]) -> None:
        """Call this right before the given step, counted from 0."""
        self._interruptions[step] = interrupt

    def next_step(self, task: int) -> None:
        """Record the next step."""
        if interrupt := self._interruptions.pop(len(self.trace), None):
            interrupt()
        self.trace.append(task)

    def run(
        self, backend: str, function: Callable[..., Awaitable[Answer]], *arguments: object
    ) -> Answer:
        """Run an event loop in this order until the function returns."""
        if backend == "asyncio":
            options: dict[str, Any] = {"loop_factory": lambda: SeededLoop(self)}
            return anyio.run(function, *arguments, backend=backend, backend_options=options)
        options = {"clock": MockClock(autojump_threshold=0), "instruments": [_Steps(self)]}
        with _seeded_trio(self.seed):
            return anyio.run(function, *arguments, backend=backend, backend_options=options)


class SeededLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop that makes its steps in the order of a schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self.now = 0.0
        super().__init__(_JumpingSelector(self))
        self._ready = _ReadySteps(schedule)  # where the base class queues callbacks
        self._clock_resolution = 0.001  # more than a float's own, after some virtual years

    def time(self) -> float:
        return self.now


class _JumpingSelector(selectors.SelectSelector):
    """Lets time jump instead of waiting."""

    def __init__(self, loop: SeededLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing can run, and nothing ever will: a deadlock")
        self._loop.now += timeout
        return super().select(0)


class _ReadySteps(deque[asyncio.Handle]):
    """The queue of ready callbacks; the loop takes the one with the lowest priority."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self._schedule = schedule
        self._numbers: dict[object, int] = {}  # of tasks, in the order of their first step
        self._steps: dict[int, int] = {}  # how many steps a task has been given
        self._priorities: list[tuple[int, int]] = []  # in the order of the queue

    def append(self, handle: asyncio.Handle) -> None:
        owner = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]  # noqa: SLF001 - the only way to learn whose step it is
        number = -1
        if isinstance(owner, asyncio.Task):
            number = self._numbers.setdefault(owner, len(self._numbers))
        step = self._steps[number] = self._steps.get(number, 0) + 1
        # The hash of a tuple of integers is the same in every process.
        self._priorities.append((hash((self._schedule.seed, number, step)), number))
        super().append(handle)  # at last: a thread may append while the loop takes one

    def popleft(self) -> asyncio.Handle:
        place = min(range(len(self)), key=self._priorities.__getitem__)
        handle = self[place]
        del self[place]
        _, number = self._priorities.pop(place)
        if not handle.cancelled():
            self._schedule.next_step(number)
        return handle


class _Steps(trio.abc.Instrument):
    """Reports trio's steps to a schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._numbers: dict[object, int] = {}

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._schedule.next_step(self._numbers.setdefault(task, len(self._numbers)))


@contextmanager
def _seeded_trio(seed: int) -> Iterator[None]:
    before = trio_scheduler._ALLOW_DETERMINISTIC_SCHEDULING, trio_scheduler._r  # noqa: SLF001 - trio's own hook
    _set_trio(deterministic=True, generator=random.Random(seed))
    try:
        yield
    finally:
        _set_trio(deterministic=before[0], generator=before[1])


def _set_trio(*, deterministic: bool, generator: random.Random) -> None:
    scheduler: Any = trio_scheduler
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = deterministic  # noqa: SLF001 - trio's own hook
    scheduler._r = generator  # noqa: SLF001 - trio's own hook
