"""Several engines on one PostgreSQL database, each a process, and the peers' workers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Final

import anyio
import psycopg

from tests.bench import postgres_peers
from tests.bench.crew import effort
from tests.bench.durable_floors import HASH
from tests.bench.rounds import Rounds
from tests.bench.server import Server
from tests.bench.working import BATCH

_WORK: Final = "tests.bench.postgres_work"
_PEERS: Final = "tests.bench.postgres_peers"
_LINES: Final = 3  # of the history of a job that is created, moved to running, and completed
_LOOK_AGAIN_SECONDS: Final = 0.005

ENGINES: Final = 4
"""As many run jobs together, and as many workers of a peer."""
WRITERS: Final = (1, 4, 8)
"""So many engines commit at the same time."""
CLAIMERS: Final = 8

_LOCK: Final = re.compile(r"PERFORM pg_advisory_xact_lock\([^;]*;")
_NO_ORDER: Final = (
    "CREATE SEQUENCE engine.sequence_blocks INCREMENT BY 1000 MINVALUE 0",
    "CREATE SEQUENCE engine.position_blocks INCREMENT BY 1000 MINVALUE 0",
    """
    CREATE OR REPLACE VIEW engine.numbers AS SELECT
        nextval('engine.sequence_blocks') AS last_sequence,
        nextval('engine.position_blocks') AS last_position,
        0::bigint AS rules_number
    """,
)
_READY: Final = (
    "INSERT INTO engine.jobs (position, job_id, revision, status, input_hash, created_at,"
    " updated_at, started_at, version, kind, ready, priority, attempt, failures)"
    " SELECT each, 'job ' || each, 1, 'running', %s, now(), now(), now(), 1, 'default', true,"
    " each %% 3, 0, 0 FROM generate_series(1, %s) AS each"
)


def measure_lives(rounds: Rounds, server: Server, jobs: int) -> None:
    """Add the rates of one engine and of several that run jobs, and the CPU that these took."""
    for task, engines in (("lives", 1), ("lives", ENGINES), ("started", 1), ("started", ENGINES)):
        with server.database() as url:
            _measure_engines(rounds, server, url, task, engines, jobs)


def _measure_engines(
    rounds: Rounds, server: Server, url: str, task: str, engines: int, jobs: int
) -> None:
    lines = jobs * (_LINES if task == "lives" else _LINES - 1)
    each = str(jobs // engines)
    before = server.cpu_seconds
    with psycopg.connect(url, autocommit=True) as connection:
        end = _until(connection, "SELECT max(sequence) >= %s FROM engine.transitions", lines)
        took = effort(engines, _WORK, task, url, each, until=end)
        _check(connection, "SELECT count(*) FROM engine.jobs WHERE result IS NOT NULL", jobs)
    name = f"{task} {engines}"
    rounds.add(name, jobs / took.seconds)
    rounds.add(f"{name} CPU", 1e6 * took.cpu_seconds / jobs)
    after = server.cpu_seconds
    if before is not None and after is not None:
        rounds.add(f"{name} server CPU", 1e6 * (after - before) / jobs)


def _until(connection: psycopg.Connection[Any], query: str, *values: object) -> Callable[[], None]:
    """Return a function that returns once a query gives true."""

    def wait() -> None:
        while connection.execute(query.encode(), values, prepare=True).fetchone() != (True,):
            time.sleep(_LOOK_AGAIN_SECONDS)

    return wait


def _check(connection: psycopg.Connection[Any], query: str, jobs: int) -> None:
    """Check that all jobs have ended well.

    Raises:
        RuntimeError: Some have not: the measurement is void.
    """
    [ended] = connection.execute(query.encode()).fetchone() or (0,)
    if ended != jobs:
        raise RuntimeError(f"{ended} of {jobs} jobs have ended well")


def measure_peer(rounds: Rounds, server: Server, name: str, workers: int, jobs: int) -> None:
    """Add the rate of a peer."""
    with server.database(empty=True) as url, psycopg.connect(url, autocommit=True) as connection:
        anyio.run(postgres_peers.install, name, url)
        end = _until(connection, postgres_peers.IS_OVER[name])
        took = effort(workers, _PEERS, name, url, str(jobs // workers), until=end)
        _check(connection, postgres_peers.ENDED[name], jobs)
    rounds.add(f"{name} {workers}", jobs / took.seconds)


def measure_order(rounds: Rounds, server: Server, jobs: int) -> None:
    """Add the rates of engines that commit new jobs, with the order and without one."""
    for writers in WRITERS:
        for order in ("order", "no order"):
            with server.database() as url:
                if order == "no order":
                    _leave_the_order_out(url)
                took = effort(writers, _WORK, "commits", url, str(jobs // writers))
                rounds.add(f"{order} {writers}", jobs / took.seconds)


def _leave_the_order_out(url: str) -> None:
    """Let batches take no lock, and their numbers from blocks that nobody else gets.

    Raises:
        RuntimeError: The function takes no lock.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        query = "SELECT pg_get_functiondef('engine.order_1'::regproc)"
        [function] = connection.execute(query).fetchone() or ("",)
        without, locks = _LOCK.subn("", function)
        if locks != 1:
            raise RuntimeError(f"the order takes {locks} locks instead of one")
        for statement in (without, *_NO_ORDER):
            connection.execute(statement.encode())


def fill(url: str, jobs: int) -> None:
    """Insert ready jobs of three priorities."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_READY, (HASH, jobs))
        connection.execute("VACUUM (ANALYZE)")


def measure_claims(rounds: Rounds, server: Server, filled: str, jobs: int) -> None:
    """Add the rates at which engines take jobs out of those of a filled database."""
    for engines in (1, CLAIMERS):
        with server.database(like=filled) as url:
            each = str(max(BATCH, jobs // engines))
            took = effort(engines, _WORK, "claims", url, each)
            rounds.add(f"claims {engines}", engines * int(each) / took.seconds)


def measure_idle(rounds: Rounds, server: Server, seconds: float) -> None:
    """Add how much of a core an engine takes that waits for jobs, in percent."""
    with server.database() as url:
        took = effort(1, _WORK, "idle", url, str(int(1e3 * seconds)))
        rounds.add("idle", 100 * took.cpu_seconds / took.seconds)
