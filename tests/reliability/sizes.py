"""How much a harness tries, and from which seed.

``ENGINE_FULL=1`` asks for the full counts of the reliability table, a tenth of which is the
default; ``ENGINE_SEED`` chooses the seed. Each harness prints both, so that a failure can be
repeated: run with ``-s`` to see them when nothing fails.
"""

import os
from random import Random

FULL = os.environ.get("ENGINE_FULL", "") not in {"", "0"}
SEED = int(os.environ.get("ENGINE_SEED", "20261122"))


def tries(full: int) -> int:
    """Return how often to try, when the full count is this."""
    return full if FULL else full // 10


def seeded(what: str) -> Random:
    """Return the random numbers of one harness, and print its seed."""
    print(f"\n{what}: ENGINE_SEED={SEED}")  # noqa: T201 - the seed of a failure is in its output
    return Random(f"{what} {SEED}")
