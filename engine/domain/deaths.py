"""Deaths: whose fault it was that an engine died, and what becomes of the jobs that it ran.

An engine that dies (a kill, a crash of the interpreter, a power cut) leaves attempts without an
end. One of these jobs may have killed it; or none, as in a deployment that lost its patience. If
each death counted against all of them, one bad job would fail all jobs beside it. So:

1. All jobs that had an attempt when their engine died are suspects. Each rests before its next
   attempt, for the delay of a failed one, so that a crash does not follow a crash at once.
2. Suspects run one at a time an engine, beside all other jobs. If the engine dies again, then of
   all suspects only the one at work can be its cause.
3. A death counts against the suspect that was at work, or else against a job that was the only one
   at work. If others were at work and no suspect was, it counts against nobody.
4. The end of a suspect's attempt clears it, whatever the end is. The deaths that count against it
   stay, as its failures do: a job that dies every second time has to end, too.
5. A job fails, or waits in the lifecycle's ``exhausted_to``, when `max_deaths` count against it, or
   at its first death if it must not be repeated.

The death of a handler's own process is nobody else's: it counts against its job, which is no
suspect, because the engine lives.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import random
from typing import Final

from engine.domain.retry import Retry

NOT_REPEATED: Final = "its handler must not be repeated: it is not idempotent"


@dataclass(frozen=True, slots=True)
class DeathRule:
    """A handler's rule for the jobs whose attempts died.

    Attributes:
        max_deaths: A job fails when this many deaths count against it.
        idempotent: Whether a job may run again after an attempt that may have had effects.
        retry: Has the delays before the next attempt.
    """

    max_deaths: int
    idempotent: bool
    retry: Retry

    def allows_another(self, deaths: int) -> bool:
        """Return whether another attempt follows a death.

        Args:
            deaths: How many count against the job.
        """
        return self.idempotent and deaths < self.max_deaths

    def rest_seconds(self, deaths: int) -> float:
        """Return the time of rest before the next attempt."""
        return self.retry.delay_seconds(max(deaths, 1), random())  # noqa: S311 - it spreads load
