"""How often a harness tries, and from which seed.

``ENGINE_FULL=1`` takes the full counts of the reliability table instead of a tenth of them.
``ENGINE_SEED=n`` starts at another seed than 1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random


def is_full() -> bool:
    """Tell whether the full counts are asked for."""
    return os.environ.get("ENGINE_FULL") == "1"


def tries(full_count: int) -> int:
    """Return how often to try: a tenth of the full count, unless the full one is asked for."""
    return full_count if is_full() else full_count // 10


def first_seed() -> int:
    return int(os.environ.get("ENGINE_SEED", "1"))


def seeds(full_count: int) -> range:
    return range(first_seed(), first_seed() + tries(full_count))


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
