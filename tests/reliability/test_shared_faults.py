"""Faults of connections, between engines that share a database and their server.

Whatever becomes of a connection, and of the answer that was on its way: nothing acknowledged is
lost, nothing refused is there, the order of the transitions has no gap, and each job ends once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from random import Random

import anyio
import psycopg
import pytest

from engine.storage.postgres.batches import BATCH_FUNCTIONS
from tests.interventions import ORDER, Intruder, intruding
from tests.postgres import SCHEMA
from tests.proxy import Proxy, proxied
from tests.reliability.shared_jobs import SharedJobs
from tests.reliability.shared_load import Doubts, Load, storages
from tests.reliability.shared_writers import Writers
from tests.tries import seeded, thorough, tries

pytestmark = pytest.mark.anyio

FULL_TERMINATIONS = 1_000
FULL_SWALLOWS = 1_000
FULL_CUTS = 500
FULL_LOCKS = 20
LONGER_THAN_A_COMMIT_WAITS = 7.0
ENGINES = 3
LEAST = 10
PLANTED_LOSSES = 150

_LOCK_ALL = "SELECT FROM jobs WHERE status = 'awaiting_payment' FOR UPDATE"

# Those that commit go first.
_TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'engine'
ORDER BY state = 'active' AND query LIKE '%%commit_1%%' DESC, random() LIMIT 1
"""


async def test_connections_that_the_server_ends(
    postgres_url: str, jobs: SharedJobs, doubts: Doubts, anyio_backend: str
) -> None:
    random = seeded(f"terminated connections, {anyio_backend}")
    load, terminations = Load(jobs, random), tries(FULL_TERMINATIONS, LEAST)

    async def terminate() -> None:
        seen = load.seen
        while seen["terminated"] < terminations or not doubts.count or not seen["told"]:
            await anyio.sleep(random.uniform(0, 0.03))
            seen["terminated"] += len(jobs.rows(_TERMINATE))

    await load.run(storages(postgres_url, ENGINES), terminate)
    load.report(f"terminated connections, {doubts.count} commits in doubt")
    assert load.problems == []


async def until(is_so: Callable[[], object]) -> None:
    while not is_so():  # noqa: ASYNC110 - there is no event
        await anyio.sleep(0.005)


@pytest.mark.thorough
@pytest.mark.parametrize("lock", ["the order", "rows"])
async def test_locks_that_are_held_for_longer_than_a_commit_waits(
    postgres_url: str, jobs: SharedJobs, doubts: Doubts, lock: str, anyio_backend: str
) -> None:
    """The server then refuses the commits: it says that it has applied nothing."""
    load = Load(jobs, seeded(f"held locks, {lock}, {anyio_backend}"))
    statement = f"SELECT pg_advisory_xact_lock({ORDER})" if lock == "the order" else _LOCK_ALL

    async def hold() -> None:
        with psycopg.connect(postgres_url) as holder:
            holder.execute(f"SET search_path = {SCHEMA}".encode())
            holder.commit()
            while load.seen["locks"] < tries(FULL_LOCKS):
                await until(jobs.waiting)
                holder.execute(statement.encode())
                more = partial(load.has_refused_more_than, load.refusals)
                with anyio.move_on_after(LONGER_THAN_A_COMMIT_WAITS):
                    await until(more)
                    load.seen["locks"] += 1
                holder.rollback()

    await load.run(storages(postgres_url, ENGINES), hold)
    load.report(f"held locks: {lock}")
    assert load.problems == []
    assert doubts.count == 0


@pytest.mark.thorough
@pytest.mark.parametrize("fault", ["swallowed", "cut", "hung", "one way", "refused"])
async def test_connections_that_the_network_ends(
    postgres_url: str, jobs: SharedJobs, doubts: Doubts, fault: str, anyio_backend: str
) -> None:
    load = Load(jobs, seeded(f"{fault} connections, {anyio_backend}"))
    losses = Losses(load.random, fault)
    await losses.run(postgres_url, load, full_count(fault), lambda: doubts.count)
    load.report(f"{losses.seen}, {doubts.count} commits in doubt")
    assert load.problems == []


@pytest.mark.parametrize("fault", ["swallowed", *thorough("cut", "hung", "one way")])
async def test_the_outcome_of_each_commit_is_learnt(
    postgres_url: str, jobs: SharedJobs, fault: str, anyio_backend: str
) -> None:
    writers = Writers(jobs, seeded(f"{fault} commits, {anyio_backend}"))
    losses, seen = Losses(writers.random, fault), writers.seen
    enough = lambda: seen["told"] and seen["refused"] and seen["in doubt"]  # noqa: E731
    await losses.run(postgres_url, writers, full_count(fault), enough)
    writers.report(f"{losses.seen}")
    assert writers.problems == []


def full_count(fault: str) -> int:
    return tries(FULL_SWALLOWS if fault == "swallowed" else FULL_CUTS, LEAST)


# An engine looks for its batch, and nothing keeps the batch from being applied later.
_NO_FENCE = """
CREATE OR REPLACE FUNCTION resolve_1(
    p_engine bigint, p_number bigint,
    OUT is_applied boolean, OUT sequence_base bigint, OUT position_base bigint, OUT answer json
) LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT number = p_number AND applied, batches.sequence_base, batches.position_base, NULL::json
    FROM batches WHERE engine_id = p_engine
$$
"""
# A batch's number is taken for its success; but the answer to an earlier fence may have been lost.
_TWICE = """
CREATE OR REPLACE FUNCTION resolve_1(
    p_engine bigint, p_number bigint,
    OUT is_applied boolean, OUT sequence_base bigint, OUT position_base bigint, OUT answer json
) LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE batches SET number = p_number, applied = false
        WHERE engine_id = p_engine AND number = p_number - 1;
    is_applied := NOT FOUND;
    SELECT batch.sequence_base, batch.position_base INTO sequence_base, position_base
        FROM batches AS batch WHERE engine_id = p_engine;
END $$
"""


def plant(jobs: SharedJobs, bug: str) -> None:
    """Let the engines of a database ask for outcomes in a wrong way."""
    jobs.execute("SET search_path = engine")
    if bug == "no fence":
        [commit] = [each for each in BATCH_FUNCTIONS if "commit_1" in each]
        unguarded = commit.replace("AND number = p_number - 1", "AND number < p_number")
        assert unguarded != commit
        jobs.execute(unguarded.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    jobs.execute(_NO_FENCE if bug == "no fence" else _TWICE)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("bug", "fault", "problem"),
    [("no fence", "cut", "refused, yet there"), ("resolves twice", "swallowed", "lost")],
)
async def test_a_wrong_way_to_ask_for_an_outcome_is_found(
    postgres_url: str, jobs: SharedJobs, bug: str, fault: str, problem: str
) -> None:
    plant(jobs, bug)
    writers = Writers(jobs, seeded(f"planted, {fault} connections"))
    await Losses(writers.random, fault).run(postgres_url, writers, PLANTED_LOSSES)
    found = [each for each in writers.problems if each.startswith(problem)]
    writers.report(f"planted: {len(found)} of {problem}, {len(writers.problems)} in all")
    assert found


class Losses:
    """Loses connections of engines or writers.

    Args:
        random: Says when, and of whom.
        fault: Connections are "cut"; before that, answers are "swallowed"; or all bytes stay where
            they are ("hung"), or requests are swallowed ("one way"). "refused": so are new ones.

    Attributes:
        seen: How often that happened.
    """

    def __init__(self, random: Random, fault: str) -> None:
        self.seen = Counter[str]()
        self._random = random
        self._fault = fault

    async def run(
        self,
        url: str,
        load: Load | Writers,
        losses: int,
        is_enough: Callable[[], object] = lambda: True,
    ) -> None:
        """Lose connections so often, and on, until something else was seen."""
        with ExitStack() as stack:
            intruder = stack.enter_context(intruding(url))
            ways = [stack.enter_context(proxied(url)) for _ in range(ENGINES)]
            proxies = [proxy for proxy, _ in ways]

            async def lose() -> None:
                while self.seen[self._fault] < losses or not is_enough():
                    await self._lose(self._random.choice(proxies), intruder)

            await load.run([each for _, way in ways for each in storages(way, 1)], lose)

    async def _lose(self, proxy: Proxy, intruder: Intruder) -> None:
        """Lose the connections of one engine, sometimes in the middle of a commit."""
        await self._pause(0.03)
        if self._random.random() < 0.7:
            await self._lose_once(proxy)
            return
        intruder.take_order()
        await self._pause(0.02)
        await self._lose_once(proxy)
        if self._fault == "swallowed":
            before = proxy.swallowed
            proxy.swallow_from(b"resolve_1")
            await self._pause(0.05)
            self.seen["swallowed outcomes"] += proxy.swallowed > before
            proxy.cut()
        await self._pause(0.02)
        intruder.give_order()

    async def _lose_once(self, proxy: Proxy) -> None:
        before = proxy.swallowed
        begin = {
            "swallowed": proxy.swallow,
            "hung": proxy.passes.clear,
            "one way": proxy.swallow_requests,
            "refused": proxy.refuse,
        }
        if self._fault in begin:
            begin[self._fault]()
            await self._pause(0.05 if self._fault == "refused" else 0.02)
        is_seen = self._fault not in {"swallowed", "one way"} or proxy.swallowed > before
        self.seen[self._fault] += is_seen
        proxy.refuse(refuses=False)
        proxy.passes.set()

    async def _pause(self, most_seconds: float) -> None:
        await anyio.sleep(self._random.uniform(0, most_seconds))
