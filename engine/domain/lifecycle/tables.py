"""The tables of a lifecycle, as its checks and its drawing read them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Generic

from typing_extensions import TypeVar

from engine.domain.outcomes import Outcome

Status = TypeVar("Status", bound=Enum)


class Tables(Generic[Status]):
    """The statuses of a lifecycle, their moves and their meaning.

    `Lifecycle` documents and sets them, in this order; a check reads those that are set before it.
    """

    statuses: type[Status]
    moves: Mapping[Status, frozenset[Status]]
    initial: Status
    running: Status
    births: tuple[Status, ...]
    """The statuses in which a job may be born: the initial and the running one."""
    success: frozenset[Status]
    failure: frozenset[Status]
    retired: frozenset[Status]
    renamed: Mapping[str, Status]
    awaiting_input: Status | None
    exhausted_to: Status | None
    fails_to: Status | None
    """None: no failure follows running."""
    expires_to: Mapping[Status, Status]
    cancels_to: Mapping[Status, Status]
    outcomes: Mapping[Status, Outcome]


def text_of(status: Enum) -> str:
    """Return the value of a status as a plain string."""
    return str(status.value)
