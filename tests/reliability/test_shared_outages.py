"""Outages of the server that engines share: restarts, and failovers to a standby.

What was acknowledged stays, also when the server stops without a checkpoint or its standby takes
over; nothing refused is there; no engine dies of the outage. A standby that lacks acknowledged
commits is noticed by every engine.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import anyio
import psycopg
import pytest
from anyio import to_thread

from engine import JobEngine
from tests.postgres import Cluster, Databases, started_cluster
from tests.proxy import proxied
from tests.reliability.shared_jobs import SharedJobs
from tests.reliability.shared_load import Doubts, Load, storages
from tests.reliability.shared_writers import Writers
from tests.systems import needs_proc
from tests.tries import seeded, tries

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]

FULL_RESTARTS = 20
"""In each mode."""
FULL_FAILOVERS = 20
ENGINES = 3
ACKNOWLEDGED = 200
SECONDS = 60
MOST_SECONDS_BETWEEN = 1.0
DATABASE = "jobs"
SYNCHRONOUS = "synchronous_standby_names=walreceiver"
"""A standby, and not the program that copies its folder."""
DURABLE = ("synchronous_commit=on",)
"""The log is written before an answer. It is not synced: only a power cut could lose it."""


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_server_that_is_restarted(
    mode: Literal["fast", "immediate"], doubts: Doubts, anyio_backend: str
) -> None:
    random = seeded(f"restarts, {mode}, {anyio_backend}")
    with started_cluster(options=DURABLE) as cluster:
        url = Databases(cluster.url).new()
        load = Load(SharedJobs(url), random)

        async def restart() -> None:
            while load.seen["restarts"] < tries(FULL_RESTARTS) or not load.seen["told"]:
                await anyio.sleep(random.uniform(0, MOST_SECONDS_BETWEEN))
                await to_thread.run_sync(cluster.restart, mode)
                load.seen["restarts"] += 1
            load.jobs.reconnect()

        await load.run(storages(url, ENGINES), restart)
        load.report(f"{mode} restarts, {doubts.count} commits in doubt")
        assert load.problems == []
        assert load.jobs.engines() == {}
        load.jobs.close()


class Pair:
    """A primary and its standby, which take each other's places.

    Args:
        is_synchronous: Whether the primary answers when the standby has the commit, too.
    """

    def __init__(self, *, is_synchronous: bool) -> None:
        options = (*DURABLE, *((SYNCHRONOUS,) if is_synchronous else ()))
        self.primary, self.standby = Cluster(options=options), Cluster(options=options)

    @property
    def url(self) -> str:
        """The URL of both, in which libpq looks for the one that can be written."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in (self.primary, self.standby))
        return f"postgresql://postgres@{hosts}/{DATABASE}"

    def make(self) -> None:
        """Start the primary, with an empty database."""
        self.primary.make()
        self.primary.start()
        with psycopg.connect(self.primary.url, autocommit=True) as connection:
            connection.execute("SET synchronous_commit = local")  # there is no standby yet
            connection.execute(f"CREATE DATABASE {DATABASE}".encode())

    def follow(self, port: int | None = None) -> None:
        """Make a standby of the primary, which it reaches at a port, and start it."""
        standby = self.standby
        shutil.rmtree(standby.data, ignore_errors=True)
        connection = (
            f"--port={port or self.primary.port}",
            "--host=127.0.0.1",
            "--username=postgres",
        )
        how = (
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
            f"--pgdata={standby.data}",
        )
        standby.run("pg_basebackup", *connection, *how)
        standby.start()

    def fail_over(self) -> None:
        """Kill the primary, and let the standby take its place."""
        self.primary.kill()
        self.promote()

    def promote(self) -> None:
        """Let the standby take the place of the primary."""
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary

    def remove(self) -> None:
        for each in (self.primary, self.standby):
            each.remove()


@contextmanager
def pair(*, is_synchronous: bool) -> Iterator[Pair]:
    """Make a primary, which has no standby yet; remove both at the end."""
    pair = Pair(is_synchronous=is_synchronous)
    try:
        pair.make()
        yield pair
    finally:
        pair.remove()


@needs_proc
async def test_a_synchronous_standby_that_takes_over(doubts: Doubts, anyio_backend: str) -> None:
    random = seeded(f"failovers, {anyio_backend}")
    with pair(is_synchronous=True) as servers:
        servers.follow()
        async with JobEngine(servers.url):
            pass  # it makes the schema
        load = Load(SharedJobs(servers.url), random)

        async def fail_over() -> None:
            seen = load.seen
            while seen["failovers"] < tries(FULL_FAILOVERS) or not seen["told"]:
                await anyio.sleep(random.uniform(0, MOST_SECONDS_BETWEEN))
                await to_thread.run_sync(servers.fail_over)
                await to_thread.run_sync(servers.follow)
                seen["failovers"] += 1
            load.jobs.reconnect()

        await load.run(storages(servers.url, ENGINES), fail_over)
        load.report(f"failovers, {doubts.count} commits in doubt")
        assert load.problems == []
        assert load.jobs.engines() == {}
        load.jobs.close()


@needs_proc
async def test_an_asynchronous_standby_that_lacks_commits_is_noticed(anyio_backend: str) -> None:
    random = seeded(f"lossy failovers, {anyio_backend}")
    with (
        pair(is_synchronous=False) as servers,
        proxied(servers.primary.url) as (between, _),
    ):
        servers.follow(between.port)
        async with JobEngine(servers.url):
            pass
        writers = Writers(SharedJobs(servers.url), random)

        async def fail_over() -> None:
            await until(lambda: len(writers.told) > ACKNOWLEDGED)
            between.passes.clear()
            lost = len(writers.told) + ACKNOWLEDGED
            await until(lambda: len(writers.told) > lost)
            await to_thread.run_sync(servers.primary.kill)
            between.cut()
            between.passes.set()
            await to_thread.run_sync(servers.promote)
            await until(lambda: len(writers.damaged) == ENGINES)
            writers.jobs.reconnect()

        await writers.run(storages(servers.url, ENGINES), fail_over)
        writers.report("a lossy failover")
        assert writers.problems
        assert {each.partition(":")[0] for each in writers.problems} == {"lost"}
        writers.jobs.close()


async def until(is_so: Callable[[], object]) -> None:
    """Wait until the writers have got so far."""
    with anyio.fail_after(SECONDS):
        while not is_so():  # noqa: ASYNC110 - there is no event
            await anyio.sleep(0.005)
