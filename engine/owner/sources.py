"""Sources: give reads access to the jobs and the counters of the owner."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from engine.owner.state import State
from engine.portal.time import Clock
from engine.storage.protocol import Storage


@dataclass(slots=True)
class Counters:
    """Counts an engine's work since it started; `engine.Statistics` documents the fields."""

    answered: int = 0
    rounds: int = 0
    largest_round: int = 0
    removed: int = 0
    attempts: int = 0
    retried: int = 0
    expired: int = 0


@dataclass(frozen=True, slots=True)
class Sources:
    """Gives the reads of a round the jobs and counters of the owner.

    Attributes:
        state: The committed jobs that the owner holds.
        storage: All other jobs.
        clock: The engine's clock.
        settle: Finds out the outcome of an earlier commit, if it is unknown, and settles doubts.
        serve_claims: Lets a round decide the claims that wait, soon.
        counters: The work so far.
    """

    state: State
    storage: Storage
    clock: Clock
    settle: Callable[[], Awaitable[None]]
    serve_claims: Callable[[], object]
    counters: Counters
