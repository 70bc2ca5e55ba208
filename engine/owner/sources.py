"""Sources: all that reads are answered from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from engine.owner.state import State
from engine.portal.time import Clock
from engine.storage.protocol import Storage


@dataclass(slots=True)
class Counters:
    """What an engine has done since it started; see `engine.Statistics` for the fields."""

    answered: int = 0
    rounds: int = 0
    largest_round: int = 0
    removed: int = 0
    attempts: int = 0
    retried: int = 0
    expired: int = 0


@dataclass(frozen=True, slots=True)
class Sources:
    """What the owner holds, for the reads of a round.

    Attributes:
        state: The committed jobs that are held.
        storage: All others.
        counters: What has been done.
        clock: The engine's.
        settle: Finds out the outcome of an earlier commit, if it is not known.
    """

    state: State
    storage: Storage
    clock: Clock
    settle: Callable[[], Awaitable[None]]
    counters: Counters = field(default_factory=Counters)
