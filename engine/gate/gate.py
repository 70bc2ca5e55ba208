"""The gate: the public class, its arguments and their checks."""

from __future__ import annotations

from engine.domain.exceptions import InvalidStateTransitionError, LifecycleError
from engine.domain.models import Status
from engine.domain.validation import MAX_IDENTIFIER_CHARACTERS, check_optional_text, check_seconds
from engine.gate.check import Check
from engine.gate.keeper import GateKeeper
from engine.gate.waiting_jobs import GateCheck
from engine.owner.attachment import Attachment
from engine.owner.base import EngineBase


class Gate(Attachment):
    """Moves waiting jobs on as soon as your check chooses them.

    ::

        async def paid(jobs: WaitingJobs) -> list[str]:
            return [each.job_id for each in await payments.since(yesterday)]

        async with JobEngine("jobs.db") as engine, Gate(engine, paid):
            ...

    While jobs wait, the gate calls the check at every interval with all of them, and moves the
    chosen ones, each by itself. It passes over jobs that don't wait, or not any more, so the check
    may return more than it was given. It does not see the context (`contextvars`) of whoever opens
    the engine. With a `SyncJobEngine` it is a plain context manager::

        def paid(jobs: WaitingJobs) -> list[str]:
            return [each.job_id for each in payments.since(yesterday)]

        with SyncJobEngine("jobs.db") as engine, Gate(engine, paid):
            ...

    Args:
        engine: The engine. Enter it before the gate, and leave it after.
        check: Takes the waiting jobs, and returns those that may move on, as jobs or ids. With
            either engine, an async function runs on the event loop, a plain one in a thread. If it
            raises, or takes longer than ``timeout_seconds``, the gate logs that and calls it again
            after a pause that doubles each time, from the interval up to 300 s.
        status: The status in which the jobs wait; by default the lifecycle's initial status.
        target: The status to move them to; by default the lifecycle's running status.
        interval_seconds: The pause between two checks: above 0, by default 5. Each pause is up to
            10 % shorter or longer, so that many gates don't call at the same time.
        timeout_seconds: How long a check may take: above 0, by default 60. After that it is
            cancelled. A thread can't be: it runs on, and is called again only when it has ended.
        name: Of the engines that share a database, one at a time runs the gates of a name: 1 to 256
            characters. If it ends or dies, another one follows at its next interval. By its name
            an operator stops a gate, with any storage; see `JobEngine.pause`. By default a gate has
            no name, runs on each engine that opens one, and can't be paused; the job moves once all
            the same.

    Raises:
        InvalidValueError: An argument is of the wrong type or out of its range; or the check
            yields, or does not take the jobs.
        LifecycleError: The lifecycle has no move from the one status to the other.
    """

    _name = "gate"

    def __init__(
        self,
        engine: EngineBase[Status],
        check: GateCheck,
        *,
        status: Status | None = None,
        target: Status | None = None,
        interval_seconds: float = 5.0,
        timeout_seconds: float = 60.0,
        name: str | None = None,
    ) -> None:
        super().__init__(engine)
        checked = Check(check, engine.core.time)
        check_seconds("interval_seconds", interval_seconds, above_zero=True)
        check_seconds("timeout_seconds", timeout_seconds, above_zero=True)
        core = engine.core
        lifecycle = core.lifecycle
        start = lifecycle.value(lifecycle.initial if status is None else status)
        end = lifecycle.value(lifecycle.running if target is None else target)
        try:
            lifecycle.validate(start, end)
        except InvalidStateTransitionError as error:
            raise LifecycleError(f"a gate needs a legal move: {error}") from None
        self._part = GateKeeper(
            core,
            checked,
            status=start,
            target=end,
            interval_seconds=interval_seconds,
            timeout_seconds=timeout_seconds,
            name=check_optional_text("name", name, MAX_IDENTIFIER_CHARACTERS),
        )
