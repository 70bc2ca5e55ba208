"""``python -m tests.bench.scenarios``: the table of scenarios, and the program that runs one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from inspect import signature
from typing import Final

import engine
from engine import SQLiteStorage
from tests.bench.scenarios import awaited, blocking, in_processes, process
from tests.bench.scenarios.awaited import Awaited
from tests.bench.scenarios.figure import Figure


@dataclass(frozen=True)
class Scenario:
    """A measurement and its number of operations, which take about a second."""

    operations: int
    measure: Callable[[int], Figure]


SCENARIOS: Final = {
    "memory_get_100": Scenario(100_000, Awaited(awaited.gets, callers=100)),
    "memory_create_100": Scenario(50_000, Awaited(awaited.creates, callers=100)),
    "memory_transition_100": Scenario(40_000, Awaited(awaited.moves, callers=100)),
    "memory_create_many": Scenario(100_000, Awaited(awaited.bulk_creates)),
    "memory_transition_many": Scenario(100_000, Awaited(awaited.bulk_moves)),
    "memory_list_1000": Scenario(300, Awaited(awaited.lists)),
    "trio_get_100": Scenario(60_000, Awaited(awaited.gets, callers=100, backend="trio")),
    "blocking_get_1": Scenario(15_000, partial(blocking.blocking_gets, 1)),
    "blocking_get_16": Scenario(20_000, partial(blocking.blocking_gets, 16)),
    "blocking_create_16": Scenario(16_000, partial(blocking.blocking_creates, 16)),
    "blocking_file_create_1": Scenario(1_000, partial(blocking.blocking_file_creates, 1)),
    "blocking_file_create_16": Scenario(6_000, partial(blocking.blocking_file_creates, 16)),
    "file_create_1": Scenario(1_000, Awaited(awaited.creates, in_file=True)),
    "file_create_100": Scenario(20_000, Awaited(awaited.creates, callers=100, in_file=True)),
    "file_create_many": Scenario(40_000, Awaited(awaited.bulk_creates, in_file=True)),
    "file_life_100": Scenario(6_000, Awaited(awaited.lives, callers=100, in_file=True)),
    "file_get_ended_1": Scenario(5_000, Awaited(awaited.gets_of_ended, in_file=True)),
    "file_get_ended_100": Scenario(
        20_000, Awaited(awaited.gets_of_ended, callers=100, in_file=True)
    ),
    "file_handled_bulks": Scenario(6_000, Awaited(awaited.handled_bulks, in_file=True, workers=1)),
    "file_handled_100": Scenario(
        4_000, Awaited(awaited.handled_lives, callers=100, in_file=True, workers=1)
    ),
    "file_handled_alone": Scenario(300, Awaited(awaited.handled_lives, in_file=True, workers=1)),
    "memory_handled_bulks": Scenario(10_000, Awaited(awaited.handled_bulks, workers=1)),
    "memory_processes_100": Scenario(800, partial(in_processes.handled_in_processes, 100)),
    "memory_processes_alone": Scenario(800, partial(in_processes.handled_in_processes, 1)),
    "idle_workers": Scenario(30_000, Awaited(awaited.bulk_creates, workers=100)),
    "import": Scenario(3, process.import_time),
    "job_bytes": Scenario(20_000, process.job_bytes),
    "longest_stop": Scenario(300_000, process.longest_stop),
}
if "inline_commits" in signature(SQLiteStorage).parameters:  # else it is an earlier engine
    SCENARIOS.update(
        {
            "file_create_1_inline": Scenario(
                1_000, Awaited(awaited.creates, in_file=True, inline=True)
            ),
            "file_get_ended_1_inline": Scenario(
                5_000, Awaited(awaited.gets_of_ended, in_file=True, inline=True)
            ),
            "file_handled_alone_inline": Scenario(
                300, Awaited(awaited.handled_lives, in_file=True, inline=True, workers=1)
            ),
        }
    )


def main(name: str | None = None, scale: str = "1") -> None:
    """Print the names of all scenarios, or the figure of one with the path of its engine."""
    if name is None:
        print(json.dumps([*SCENARIOS]))
        return
    scenario = SCENARIOS[name]
    figure = scenario.measure(max(1, int(scenario.operations * float(scale))))
    print(json.dumps({**asdict(figure), "engine": engine.__file__}))


if __name__ == "__main__":
    main(*sys.argv[1:])
