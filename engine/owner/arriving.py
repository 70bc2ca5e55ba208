"""Arriving: create jobs in transactions of callers, on their own connections.

That needs no round of the owner: the storage alone decides, when such a transaction commits. What
can be decided before is decided here, by the same code, for the jobs as the transaction sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from engine.domain.exceptions import EngineError, InvalidValueError
from engine.domain.follow_up_rules import Rules, StoredRules
from engine.owner.batch import Batch
from engine.owner.commands.create import CreateJobs
from engine.owner.state import State
from engine.portal.time import Clock, read_clock
from engine.storage.answers import CheckedOut, Names
from engine.storage.record import Change
from engine.storage.shared import Shared

_BEFORE_UNKNOWN: Final = -1  # so a new job has the number 0 until its transaction commits


class Arriving:
    """Creates jobs in transactions of callers, and answers their messages.

    Args:
        state: Has the lifecycle, and the shared part of the storage.
        clock: Read once for each message.
    """

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def create(self, message: CreateJobs, connection: object) -> None:
        """Create jobs in the transaction of a connection whose calls are awaited.

        Raises:
            InvalidValueError: The storage can't do that, or not with this connection.
        """
        await self._shared().arrive(connection, _names_of(message), partial(self._decide, message))

    def create_blocking(self, message: CreateJobs, connection: object) -> None:
        """Do as `create`, with a connection whose calls block."""
        self._shared().arrive_blocking(
            connection, _names_of(message), partial(self._decide, message)
        )

    def _shared(self) -> Shared:
        if (shared := self._state.shared) is None:
            raise InvalidValueError(
                "connection",
                "needs an engine whose jobs are in PostgreSQL: leave it out, and create the job "
                "after your transaction, with an idempotency_key",
            )
        return shared

    def _decide(
        self, message: CreateJobs, named: CheckedOut, rules: StoredRules
    ) -> Sequence[Change]:
        state = self._state
        batch = Batch(
            state.lifecycle,
            now=state.time_of(read_clock(self._clock)),
            last_sequence=_BEFORE_UNKNOWN,
            last_position=0,
            named=named,
            find=lambda _: None,
            is_orphan=lambda _: False,
            strays=(),
            rules=Rules.read(rules),
        )
        try:
            message.answer(message.decide(batch))
        except EngineError as error:
            message.answer(error.with_traceback(None))
        return batch.changes


def _names_of(message: CreateJobs) -> Names:
    return Names([job.job_id for job in message.jobs], message.keys, message.payments)
