"""How much the tests try, and from which seed.

``ENGINE_TESTS`` names the tier, and each tier has all of the one before it:

``quick``
    The default. Leaves out the tests that are marked ``thorough``; a harness tries a hundredth of
    its full count.
``thorough``
    Runs every test; a harness tries a twentieth of its full count. `.ci/run` runs this.
``full``
    Runs every test; a harness tries the full count, which the reliability table names.

The quick tier has three minutes on two cores, so it keeps one case of each kind of fault, on
asyncio; the tests of the worker run on trio too, in memory. Mark a test ``thorough`` when it takes
a second and a cheaper one sees the same kind of fault, or when it proves a harness by a planted
bug. The values of a parameter are marked by `thorough`, and those of the event loop by
`trio_later`. Each start of a Python that imports the engine takes a third of a second: let tests
share one.

``ENGINE_SEED=n`` starts at another seed than 1.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, Final, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., Any])
Value = TypeVar("Value")

_PARTS: Final = {"quick": 100, "thorough": 20, "full": 1}
MOST_ROUNDS: Final = 10


def tier() -> str:
    """Return the tier that is asked for.

    Raises:
        ValueError: There is no such tier.
    """
    name = os.environ.get("ENGINE_TESTS", "quick")
    if name not in _PARTS:
        raise ValueError(f"ENGINE_TESTS is {name!r}; set it to one of {', '.join(_PARTS)}")
    return name


def tries(full_count: int, least: int = 1) -> int:
    """Return how often to try in this tier: the tier's part of the full count, and ``least``."""
    return max(least, full_count // _PARTS[tier()])


def thorough(*values: object) -> list[Any]:
    """Return values of a parameter that the quick tier leaves out."""
    return [pytest.param(value, marks=pytest.mark.thorough) for value in values]


def thorough_cases(*cases: tuple[object, ...]) -> list[Any]:
    """Return values of several parameters that the quick tier leaves out."""
    return [pytest.param(*case, marks=pytest.mark.thorough) for case in cases]


def trio_later(test: Test) -> Test:
    """Run an async test on asyncio alone in the quick tier, though those beside it run on trio too.

    For a test that starts processes, which takes long on each.
    """
    backends = pytest.mark.parametrize("anyio_backend", ["asyncio", *thorough("trio")])
    marked: Test = pytest.mark.usefixtures("anyio_backend")(backends(test))
    return marked


def by_turns(values: Sequence[Value], turn: int) -> Sequence[Value]:
    """Return every fourth value, others each turn; in the full tier, all.

    For tests of all pairs with all values: each value still meets each member of the pairs, though
    not each pair.
    """
    return values if tier() == "full" else values[turn % 4 :: 4]


def first_seed() -> int:
    return int(os.environ.get("ENGINE_SEED", "1"))


def seeds(full_count: int, round_number: int = 0, least: int = 1) -> range:
    """Return the seeds of one round, each of which has others."""
    count = tries(full_count, least)
    start = first_seed() + round_number * count
    return range(start, start + count)


def rounds() -> Iterator[int]:
    """Yield the numbers of rounds, from 0 on; leave the loop when they have shown enough.

    How much happens within one round depends on how busy the machine is, and promises nothing.

    Raises:
        AssertionError: Ten rounds have not shown enough.
    """
    yield from range(MOST_ROUNDS)
    raise AssertionError(f"{MOST_ROUNDS} rounds have shown too little")


def seeded(what: str) -> Random:
    """Return the random numbers of one harness, and print its seed."""
    report(f"{what}: ENGINE_SEED={first_seed()}")
    return Random(f"{what} {first_seed()}")


def report(text: str) -> None:
    """Print what a harness has seen; pytest shows it with ``-s`` or when the test fails."""
    print(text)  # noqa: T201 - the counts are a part of the result


@contextmanager
def repeatable(seed: int, where: str) -> Iterator[None]:
    """Let a failure say which seed it comes from."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"{where}, seed {seed} (to try it first: ENGINE_SEED={seed})")
        raise
