"""Engines on a PostgreSQL server, beside bare psycopg and other packages.

Each measurement has a new database. All sides write to the same server, and run on its machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Final

from tests.bench.measure import repeated
from tests.bench.peers import why_left_out
from tests.bench.postgres_calls import WORK, measure_alone, measure_gets, measure_work
from tests.bench.postgres_crews import (
    CLAIMERS,
    ENGINES,
    WRITERS,
    fill,
    measure_claims,
    measure_idle,
    measure_lives,
    measure_order,
    measure_peer,
)
from tests.bench.postgres_peers import NAMES
from tests.bench.rounds import Rounds
from tests.bench.rows import Row, Stated
from tests.bench.server import Server, running_server
from tests.bench.working import BATCH

_LIVES: Final = 6_000
_COMMITTED: Final = 24_000
_READY: Final = 100_000
_CLAIMED: Final = 24_000
_GETS: Final = 10_000
_ALONE: Final = 200
_IDLE_SECONDS: Final = 20.0
_ORDER_TARGETS: Final = dict(zip(WRITERS, (0.9, 0.6, 0.5), strict=True))
_MS_BESIDE_COMMITS: Final = 2.0
_COMMITS: Final = 3
_BEST_PEER: Final = "pgqueuer"
_RUN: Final = "create → run → completed, with a worker"
_STARTED: Final = "create → completed, with a worker"


class Postgres:
    """The table of PostgreSQL."""

    def __init__(self) -> None:
        self._divisor = 1
        self._rounds = Rounds()
        self._peers = [name for name in NAMES if why_left_out(name) is None]
        self._server = ""

    def _jobs(self, count: int, engines: int = 1) -> int:
        """Return a number of jobs that so many engines can share, each in whole batches."""
        return max(1, count // self._divisor // BATCH // engines) * BATCH * engines

    @property
    def _ready(self) -> int:
        return max(_READY // self._divisor, self._jobs(_CLAIMED, CLAIMERS))

    def rows(self, divisor: int, turns: int) -> list[Row]:
        """Measure both sides of each row in turns.

        Args:
            divisor: Divides all counts; only those of 1 are reliable.
            turns: How often to measure all, at least.
        """
        self._divisor = divisor
        with running_server() as server, server.database() as filled:
            self._server = server.description
            fill(filled, self._ready)
            measure_idle(self._rounds, server, max(1.0, _IDLE_SECONDS / self._divisor))
            for _ in repeated("PostgreSQL", turns, self._table):
                self._measure(server, filled)
        return self._table()

    def _measure(self, server: Server, filled: str) -> None:
        rounds = self._rounds
        measure_work(rounds, server, self._divisor)
        measure_lives(rounds, server, self._jobs(_LIVES, ENGINES))
        for name in self._peers:
            measure_peer(rounds, server, name, 1, self._jobs(NAMES[name]))
        if _BEST_PEER in self._peers:
            its_jobs = self._jobs(NAMES[_BEST_PEER], ENGINES)
            measure_peer(rounds, server, _BEST_PEER, ENGINES, its_jobs)
        measure_order(rounds, server, self._jobs(_COMMITTED, max(WRITERS)))
        measure_claims(rounds, server, filled, self._jobs(_CLAIMED, CLAIMERS))
        measure_gets(rounds, server, self._jobs(_GETS))
        measure_alone(rounds, server, max(10, _ALONE // self._divisor))

    def _table(self) -> list[Row]:
        return [
            *self._work_rows(),
            *self._peer_rows(),
            *self._crew_rows(),
            *self._other_rows(),
        ]

    def _work_rows(self) -> Iterator[Row]:
        rounds = self._rounds
        for name, work in WORK.items():
            figure = rounds[f"engine {name}"]
            yield Row(name, figure, work.plain_name, rounds[f"floor {name}"], work.target)
            yield Stated(name, figure, "engine in a file", rounds[f"file {name}"])

    def _peer_rows(self) -> Iterator[Row]:
        one, several = self._rounds["lives 1"], self._rounds[f"lives {ENGINES}"]
        for name in self._peers:
            peer, floor = f"{name} {version(name)}", self._rounds[f"{name} 1"]
            if name != _BEST_PEER:
                yield Row(_RUN, one, peer, floor, 5.0)
                continue
            yield Row(_RUN, one, peer, floor, 0.5)
            yield Stated(_STARTED, self._rounds["started 1"], peer, floor)
            more = f"{peer}, {ENGINES} workers", self._rounds[f"{name} {ENGINES}"]
            yield Row(f"{_RUN}, {ENGINES} engines", several, *more, 1.0)
            started = self._rounds[f"started {ENGINES}"]
            yield Stated(f"{_STARTED}, {ENGINES} engines", started, *more)

    def _crew_rows(self) -> Iterator[Row]:
        rounds = self._rounds
        several = rounds[f"lives {ENGINES}"]
        yield Row(f"{_RUN}, {ENGINES} engines", several, "1 engine", rounds["lives 1"], 1.3)
        for writers, target in _ORDER_TARGETS.items():
            work = f"commits of 100 new jobs, {writers} engine{'s' * (writers > 1)}"
            floor = rounds[f"no order {writers}"]
            yield Row(work, rounds[f"order {writers}"], "without the order", floor, target)
        figure, floor = rounds[f"claims {CLAIMERS}"], rounds["claims 1"]
        work = f"claims of 100 from {self._ready:,} ready jobs, {CLAIMERS} engines"
        yield Row(work, figure, "1 engine", floor, 0.9)

    def _other_rows(self) -> Iterator[Row]:
        rounds = self._rounds
        yield Row(
            "get, 100 callers", rounds["engine gets"], "a SELECT each", rounds["floor gets"], 8.0
        )
        idle = "an idle engine with a worker, of a core"
        yield Row(idle, rounds["idle"], "limit", 0.5, 1.0, "%", at_most=True)
        limit = rounds["commit"].derived(lambda commit: _COMMITS * commit + _MS_BESIDE_COMMITS)
        name = f"{_COMMITS} commits and {_MS_BESIDE_COMMITS:g} ms"
        work = "one job alone, create, transition → result: p50"
        yield Row(work, rounds["alone"], name, limit, 1.0, "ms", at_most=True)

    def remarks(self) -> list[str]:
        """Describe the server, and say what it took."""
        commit = self._rounds["commit"].counts
        lines = [f"- {self._server}; a commit of one job: {commit:.2f} ms at the median"]
        lines += [
            f"- {name}: {self._cpu(f'lives {engines}')}"
            for engines, name in ((1, "1 engine"), (ENGINES, f"{ENGINES} engines"))
        ]
        return lines

    def _cpu(self, name: str) -> str:
        engine = f"{self._rounds[f'{name} CPU'].counts:.0f} µs of CPU a job with a worker"
        if f"{name} server CPU" not in self._rounds:
            return engine
        return f"{engine}, and {self._rounds[f'{name} server CPU'].counts:.0f} µs of the server"
