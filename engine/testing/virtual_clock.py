"""A clock for tests, and the time that belongs to it: an hour passes as soon as nothing else can.

It never waits for real seconds to let its own pass. Time moves from one moment at which something
falls due to the next one, and only while all tasks of the event loop are blocked: so what a test
sees doesn't depend on how fast a machine is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel

from engine.domain.exceptions import InvalidValueError, shown
from engine.portal.time import read_clock

Answer = TypeVar("Answer")
Span: TypeAlias = float | timedelta  # seconds, or a timedelta
Due: TypeAlias = timedelta | datetime  # after so much of this time; or at a time of the calendar

_ZERO: Final = timedelta(0)
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_LAST_TIME: Final = datetime.max.replace(tzinfo=UTC)

# On asyncio, anyio looks for tasks that can run, and if it finds one, again after 0.1 s. A chain
# of tasks that wake each other has nearly always come to its end after so many turns of the loop.
_TURNS: Final = 50
_LOOK_AGAIN_SECONDS: Final = 0.002  # real ones


class StandstillError(AssertionError):
    """All tasks are blocked and nothing falls due: what a test waits for will never be done."""


class VirtualClock:
    """A clock that a test moves; given to an engine as its clock, it moves all of its waiting.

    It is called as any clock is, and has the calls of `engine.portal.time.Time`. It belongs to one
    event loop, of asyncio or trio. One task at a time may move it, by `advance` or `run_until`.

    Time moves only while all tasks are blocked: beside one that never blocks, such as a loop of
    ``anyio.sleep(0)``, it stands still for ever. ``anyio.sleep`` and sockets wait for real seconds
    as always, and count as blocked; so tests are at their best without them.

    Args:
        start: The time that it tells first, aware.
        patience_seconds: How many real seconds time stands still for each piece of work that is
            marked by `at_work` (a plain handler in its thread, a commit) before it moves on without
            it: a thread that never returns costs a test that much, and doesn't hang it. Also how
            long `run_until` looks on in real time while nothing falls due.

    Raises:
        InvalidValueError: The start is no aware datetime.
    """

    def __init__(self, start: datetime = _START, *, patience_seconds: float = 0.5) -> None:
        self._calendar = read_clock(lambda: start)  # what it would tell if no time had passed
        self._passed = _ZERO
        self._due: WeakKeyDictionary[anyio.CancelScope, Due] = WeakKeyDictionary()
        self._patience_seconds = patience_seconds
        self._patient_until: dict[object, float] = {}  # for each piece of work, in real time
        self._moving = anyio.ResourceGuard("moving this clock")

    def __call__(self) -> datetime:
        return self._calendar + self._passed

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return self()

    async def sleep(self, seconds: float) -> None:
        """Wait until so many seconds have passed; a jump doesn't touch that."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        with anyio.CancelScope() as scope, self._removed_at_the_end(scope):
            self.limit(scope, seconds)
            await anyio.sleep_forever()

    async def wait_until(self, at: datetime | None, earlier: anyio.Event) -> None:
        """Wait until this time has come, by time that passes or by a jump, or the event is set."""
        if at is not None and at <= self():
            await anyio.lowlevel.checkpoint()
            return
        with anyio.CancelScope() as scope, self._removed_at_the_end(scope):
            if at is not None:
                self._due[scope] = at
            await earlier.wait()

    def limit(self, scope: anyio.CancelScope, seconds: float) -> None:
        """Have a scope cancelled when so many seconds have passed; 0 or less: at once.

        A later limit takes the place of an earlier one; ``math.inf`` takes it away. It also goes
        with the scope, when nothing refers to that any longer.
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
        """Let time stand still for work outside the event loop; see ``patience_seconds``.

        It is entered and left by a task of the event loop, around the wait for such work.
        """
        mark = object()
        self._patient_until[mark] = anyio.current_time() + self._patience_seconds
        try:
            yield
        finally:
            del self._patient_until[mark]

    async def advance(self, by: Span) -> None:
        """Let time pass, from one moment at which something falls due to the next.

        At each of them all that falls due is woken, and the next one comes when all tasks are
        blocked again. So they are when it returns. A cancellation leaves time where it has come to.

        Args:
            by: Seconds or a timedelta, 0 or more.

        Raises:
            InvalidValueError: It is less than 0.
            anyio.BusyResourceError: Another task is moving the clock; within `run_until`, sleep.
        """
        goal = self._passed + _span(by)
        if goal < self._passed:
            raise InvalidValueError("by", f"must be 0 or more, and is {shown(by)}: use jump()")
        with self._moving:
            await self._rest()
            while (due := self._next_due()) is not None and due <= goal:
                self._pass_to(due)
                await self._rest()
            self._pass_to(goal)

    def jump(self, by: Span) -> None:
        """Set the calendar forth or back, as when somebody sets a computer's clock.

        Seconds pass as before: sleeps and limits are not touched. Waits for a time that has come
        by this are over at once.

        Args:
            by: Seconds or a timedelta; less than 0: back.
        """
        self._calendar += _span(by)
        self._cancel_due()

    async def run_until(self, work: Awaitable[Answer] | Callable[[], Awaitable[Answer]]) -> Answer:
        """Await something, with time moving on whenever all tasks are blocked; return its answer.

        Whatever else waits by this clock goes on, too, as long as it takes. Cancelling it cancels
        the work.

        Args:
            work: A coroutine or another awaitable, or a function that returns one.

        Raises:
            StandstillError: Everything has stood still for ``patience_seconds``, and nothing falls
                due. The work was cancelled.
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
                f"all tasks are blocked at {self()}, {self._passed} after the start, nothing falls "
                "due, and what is waited for is not done"
            )
        return answers[0]

    async def _move_on(self, scope: anyio.CancelScope) -> None:
        """Pass from one due moment to the next; cancel the scope when there is none."""
        looks = 0  # one after another at which nothing was due; each takes a little longer
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
        """Wait until all tasks are blocked, and not by work that time stands still for."""
        await _until_all_are_blocked()
        while self._is_patient():
            await anyio.sleep(_LOOK_AGAIN_SECONDS)
            await _until_all_are_blocked()

    def _is_patient(self) -> bool:
        """Tell whether time has to stand still for some work."""
        return max(self._patient_until.values(), default=0.0) > anyio.current_time()

    def _next_due(self) -> timedelta | None:
        """Return when the next thing falls due; None if nothing does before the end of all time."""
        moments = [self._moment(due) for scope, due in self._due.items() if not scope.cancel_called]
        first = min(moments, default=None)
        return None if first is None or first > _LAST_TIME - self._calendar else first

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


def _span(by: Span) -> timedelta:
    return by if isinstance(by, timedelta) else timedelta(seconds=by)


async def _until_all_are_blocked() -> None:
    for _ in range(_TURNS):
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()
