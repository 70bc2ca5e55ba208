"""A virtual clock for tests: an hour passes as soon as all tasks are blocked.

Its time passes without real time. It moves from one due moment to the next, and only while all
tasks of the event loop are blocked. So a test doesn't depend on the speed of the machine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel

from engine.domain.deadlines import LAST_TIME
from engine.domain.exceptions import InvalidValueError, shown
from engine.portal.time import Begin, is_over, read_clock

Answer = TypeVar("Answer")
Span: TypeAlias = float | timedelta  # seconds, or a timedelta
Due: TypeAlias = timedelta | datetime  # since the start of this clock; or a time of its calendar

_ZERO: Final = timedelta(0)
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)

# On asyncio, anyio looks for runnable tasks, and if it finds one, again after 0.1 s. A chain of
# tasks that wake each other has nearly always ended after this many turns of the loop.
_TURNS: Final = 50
_LOOK_AGAIN_SECONDS: Final = 0.002  # in real time


class StandstillError(AssertionError):
    """All tasks are blocked and nothing falls due: the test waits for an event that can't happen.

    Move the job on, answer its prompt, or give it a deadline. If a handler waits in real time for
    longer than ``patience_seconds``, raise that, or let the handler wait by the clock.
    """


class VirtualClock:
    """A clock that a test moves. As the ``clock`` of an engine it moves all waiting of that engine.

    Call it for the time, like any clock; it also has the calls of `engine.portal.time.Time`. It
    belongs to one event loop, of asyncio or trio. One task at a time may move it, by `advance` or
    `run_until`.

    Time moves only while all tasks are blocked. A task that never blocks, such as a loop of
    ``anyio.sleep(0)``, stops it for ever. ``anyio.sleep`` and sockets wait in real time and count
    as blocked: avoid them in tests.

    Args:
        start: The first time of the clock: an aware datetime, 2026-01-01 UTC by default.
        patience_seconds: The real seconds for which time stands still, for each piece of work that
            is marked by `at_work` (a plain handler in its thread, a commit); 0.5 by default. Then
            time moves on without it: a thread that never returns delays a test, and does not hang
            it. `run_until` also waits this long for something to fall due.

    Raises:
        InvalidValueError: The start is not an aware datetime.
    """

    def __init__(self, start: datetime = _START, *, patience_seconds: float = 0.5) -> None:
        self._calendar = read_clock(lambda: start)  # the time of the calendar minus `_passed`
        self._passed = _ZERO
        self._due: WeakKeyDictionary[anyio.CancelScope, Due] = WeakKeyDictionary()
        self._begins: WeakKeyDictionary[anyio.CancelScope, Begin] = WeakKeyDictionary()
        self._patience_seconds = patience_seconds
        self._patient_until: dict[object, float] = {}  # for each piece of work, in real time
        self._moving = anyio.ResourceGuard("moving this clock")

    def __call__(self) -> datetime:
        return self._calendar + self._passed

    def now(self) -> datetime:
        """Return the current time, in UTC."""
        return self()

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of this clock; a jump does not change them."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        with anyio.CancelScope() as scope, self._removed_at_the_end(scope):
            self.limit(scope, seconds)
            await anyio.sleep_forever()

    async def wait_until(
        self, at: datetime | None, earlier: anyio.Event, begin: Begin = lambda: None
    ) -> None:
        """Wait for a time of the calendar or for an event; a jump may bring the time about.

        A jump back to before the time that ``begin`` returns ends the wait, too.
        """
        if at is not None and is_over(at, begin, self()):
            await anyio.lowlevel.checkpoint()
            return
        with anyio.CancelScope() as scope, self._removed_at_the_end(scope):
            if at is not None:
                self._due[scope] = at
                self._begins[scope] = begin
            await earlier.wait()

    def limit(self, scope: anyio.CancelScope, seconds: float) -> None:
        """Cancel a scope after so many seconds of this clock; 0 or less: at once.

        A later limit replaces an earlier one; ``math.inf`` removes it. The clock forgets a limit
        when its scope is garbage.
        """
        self._due.pop(scope, None)
        try:
            self._due[scope] = self._passed + timedelta(seconds=seconds)
        except OverflowError:
            return  # never
        if seconds <= 0:
            self._cancel_due()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Stop time during work outside the event loop; see ``patience_seconds``.

        A task of the event loop enters and leaves it, around its wait for that work.
        """
        mark = object()
        self._patient_until[mark] = anyio.current_time() + self._patience_seconds
        try:
            yield
        finally:
            del self._patient_until[mark]

    async def advance(self, by: Span) -> None:
        """Let time pass, from one due moment to the next.

        Each moment wakes everything that falls due then, and the next one comes when all tasks are
        blocked again. All tasks are blocked when the call returns. A cancellation leaves time at
        the moment that it has reached.

        Args:
            by: Seconds or a timedelta, 0 or more.

        Raises:
            InvalidValueError: It is less than 0: use `jump`.
            anyio.BusyResourceError: Another task is moving the clock. Within `run_until`, use
                `sleep` instead.
        """
        goal = self._passed + _span(by)
        if goal < self._passed:
            raise InvalidValueError(
                "by", f"must be 0 or more, not {shown(by)}: use jump() for that"
            )
        with self._moving:
            await self._rest()
            while (due := self._next_due()) is not None and due <= goal:
                self._pass_to(due)
                await self._rest()
            self._pass_to(goal)

    def jump(self, by: Span) -> None:
        """Set the calendar forward or back, as when the clock of a computer is set.

        Sleeps and limits in seconds do not change. A wait for a time that the jump has passed ends
        at once. An engine's relative times keep their length when the jump sets the calendar back
        to before they began.

        Args:
            by: Seconds or a timedelta; below 0 sets the calendar back.
        """
        self._calendar += _span(by)
        self._cancel_due()
        for scope, begin in list(self._begins.items()):
            if (since := begin()) is not None and since > self():
                scope.cancel()

    async def run_until(self, work: Awaitable[Answer] | Callable[[], Awaitable[Answer]]) -> Answer:
        """Await some work and return its answer; move time on whenever all tasks are blocked.

        All other waits by this clock advance, too. Cancelling the call cancels the work.

        Args:
            work: A coroutine or another awaitable, or a function that returns one.

        Raises:
            StandstillError: All tasks have been blocked for ``patience_seconds``, and nothing falls
                due. The work is cancelled.
            anyio.BusyResourceError: Another task is moving the clock.
        """
        answers: list[Answer] = []
        failure: BaseException | None = None
        with self._moving:
            async with anyio.create_task_group() as group:
                with anyio.CancelScope() as scope:
                    group.start_soon(self._move_on, scope)
                    try:
                        answers.append(await (work() if callable(work) else work))
                    except anyio.get_cancelled_exc_class():
                        raise
                    except BaseException as error:  # noqa: BLE001 - raised below, out of the group
                        failure = error
                group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if not answers:
            raise StandstillError(
                f"all tasks are blocked at {self()}, {self._passed} after the start, and nothing "
                "falls due: the test waits for an event that can't happen"
            )
        return answers[0]

    async def _move_on(self, scope: anyio.CancelScope) -> None:
        """Pass from one due moment to the next; cancel the scope when there is none."""
        looks = 0  # in a row without anything due; each takes a little over the pause
        while looks * _LOOK_AGAIN_SECONDS <= self._patience_seconds:
            await self._rest()
            if (due := self._next_due()) is not None:
                looks = 0
                self._pass_to(due)
            else:
                looks += 1
                await anyio.sleep(_LOOK_AGAIN_SECONDS)
        scope.cancel()

    async def _rest(self) -> None:
        """Wait until all tasks are blocked and no work stops time."""
        await _until_all_are_blocked()
        while self._is_patient():
            await anyio.sleep(_LOOK_AGAIN_SECONDS)
            await _until_all_are_blocked()

    def _is_patient(self) -> bool:
        """Return whether some work stops time."""
        return max(self._patient_until.values(), default=0.0) > anyio.current_time()

    def _next_due(self) -> timedelta | None:
        """Return the next due moment; None if there is none before the end of the calendar."""
        moments = [self._moment(due) for scope, due in self._due.items() if not scope.cancel_called]
        first = min(moments, default=None)
        return None if first is None or first > LAST_TIME - self._calendar else first

    def _moment(self, due: Due) -> timedelta:
        return due if isinstance(due, timedelta) else due - self._calendar

    def _pass_to(self, moment: timedelta) -> None:
        self._passed = max(self._passed, moment)
        self._cancel_due()

    def _cancel_due(self) -> None:
        """Cancel the scopes whose moment has come, the earliest first."""
        due = [(self._moment(due), scope) for scope, due in self._due.items()]
        for moment, scope in sorted(due, key=lambda pair: pair[0]):
            if moment <= self._passed:
                del self._due[scope]
                scope.cancel()

    @contextmanager
    def _removed_at_the_end(self, scope: anyio.CancelScope) -> Iterator[None]:
        try:
            yield
        finally:
            self._due.pop(scope, None)
            self._begins.pop(scope, None)


def _span(by: Span) -> timedelta:
    return by if isinstance(by, timedelta) else timedelta(seconds=by)


async def _until_all_are_blocked() -> None:
    for _ in range(_TURNS):
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()
