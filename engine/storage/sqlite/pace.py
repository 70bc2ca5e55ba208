"""The pace of a disk: calls that have been so short lately that the event loop may wait for them.

To the storage's thread and back takes about 60 µs, and a commit to a fast disk 180 µs. So a short
call is made on the event loop itself, while a row of such calls has taken 1 ms at most each. One
longer call ends that: the next ones go to the thread, until as many have been short again. A disk
that stalls stops the loop for as long as that one call takes.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Final, TypeVar, TypeVarTuple, Unpack

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

SHORT_SECONDS: Final = 0.001
SHORT_IN_A_ROW: Final = 16


class Pace:
    """Measures calls of one kind.

    Attributes:
        is_fast: Whether the newest 16 calls took 1 ms at most, each, and none failed.
    """

    def __init__(self) -> None:
        self.is_fast = False
        self._short_in_a_row = 0

    def measure(self, function: Callable[[Unpack[Arguments]], Result], *args: *Arguments) -> Result:
        """Make a call, and return its result."""
        start = perf_counter()
        try:
            result = function(*args)
        except BaseException:  # what follows may take long, such as opening the file again
            self._short_in_a_row, self.is_fast = 0, False
            raise
        if perf_counter() - start > SHORT_SECONDS:
            self._short_in_a_row, self.is_fast = 0, False
        elif not self.is_fast:
            self._short_in_a_row += 1
            self.is_fast = self._short_in_a_row >= SHORT_IN_A_ROW
        return result
