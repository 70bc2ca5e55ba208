"""Linearizability: is there one order of all operations that explains every answer?

The checker is Wing and Gong's search (Journal of Parallel and Distributed Computing 17, 1993) with
Lowe's memory of visited configurations (Concurrency and Computation 29, 2017). An operation takes
effect at some moment between its call and its return. An operation of unknown outcome may take
effect at any moment after its call, or never.

Linearizability is local (Herlihy and Wing, 1990): a history is linearizable if the history of each
job is. So each job is searched alone; bulk calls join the jobs that they name.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from engine import (
    CallTimeoutError,
    EngineError,
    EngineUnavailableError,
    OutcomeUnknownError,
    OverloadedError,
    StorageError,
)

from .specification import NOTHING, Answer, Request, State, step

UNKNOWN: Answer = ("outcome unknown",)
REFUSED: Answer = ("refused, nothing applied",)


@dataclass
class Operation:
    """A call in a recorded history; its marks come from the one counter of the history."""

    request: Request
    called: float
    returned: float = math.inf
    answer: Answer = UNKNOWN


def is_linearizable(operations: Sequence[Operation], initial: State = NOTHING) -> bool:
    """Search for an order that explains every answer, from the given state on."""
    must_happen = sum(1 << i for i, each in enumerate(operations) if each.answer is not UNKNOWN)
    waiting = [(0, initial)]  # which operations have happened, as bits; and the state then
    seen = set(waiting)
    while waiting:
        happened, state = waiting.pop()
        if happened & must_happen == must_happen:
            return True
        for configuration in _next(operations, happened, state):
            if configuration not in seen:
                seen.add(configuration)
                waiting.append(configuration)
    return False


def _next(operations: Sequence[Operation], happened: int, state: State) -> list[tuple[int, State]]:
    """Return the configurations after one more operation."""
    left = [(i, each) for i, each in enumerate(operations) if not happened >> i & 1]
    first_return = min(each.returned for _, each in left)
    found: list[tuple[int, State]] = []
    for i, operation in left:
        if operation.called > first_return:
            continue  # one that had returned before this was called has not happened yet
        after, answer = step(state, operation.request)
        if operation.answer is UNKNOWN:
            if after != state:
                found.append((happened | 1 << i, after))
        elif answer == operation.answer:
            if after == state:
                # It changes nothing and fits here: if any order works, an order with it here works.
                return [(happened | 1 << i, after)]
            found.append((happened | 1 << i, after))
    return found


def histories(operations: Iterable[Operation]) -> list[list[Operation]]:
    """Split a history into those of single jobs, or of jobs that bulk calls have joined."""
    parts: list[tuple[set[str], list[Operation]]] = []
    for operation in operations:
        jobs, together = set(operation.request.jobs), [operation]
        for part in [part for part in parts if part[0] & jobs]:
            parts.remove(part)
            jobs |= part[0]
            together = part[1] + together
        parts.append((jobs, together))
    return [together for _, together in parts]


@dataclass
class Recorder:
    """Records a history, of any number of tasks or threads.

    Attributes:
        operations: Every call, in their order. Calls that were refused as "not applied" are not
            part of the history: it must make sense without them.
    """

    operations: list[Operation] = field(default_factory=list)
    # In CPython, `next` of a counter and `append` of a list are one step for every thread.
    _marks: Iterator[int] = field(default_factory=itertools.count)

    @contextmanager
    def operation(self, request: Request) -> Iterator[Operation]:
        """Record a call: its body makes it and sets the answer.

        A typed error is an answer, too. Any other exception leaves the outcome unknown, and is
        raised again.
        """
        operation = Operation(request, next(self._marks))
        self.operations.append(operation)
        try:
            yield operation
        except (OutcomeUnknownError, CallTimeoutError):
            return
        except (EngineUnavailableError, OverloadedError, StorageError):
            operation.answer = REFUSED
        except EngineError as error:
            operation.answer = (type(error).__name__, error.item or 0)
        operation.returned = next(self._marks)

    def count(self, answer: Answer) -> int:
        """Return the number of calls with this answer: `UNKNOWN` or `REFUSED`."""
        return sum(operation.answer is answer for operation in self.operations)

    def check(self) -> None:
        """Fail if no order explains the history of a job, and print that history."""
        happened = (each for each in self.operations if each.answer is not REFUSED)
        for history in histories(happened):
            if not is_linearizable(history):
                lines = "\n".join(str(operation) for operation in history)
                raise AssertionError(f"no order explains this history:\n{lines}")
