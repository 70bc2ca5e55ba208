"""Rows 40 to 42: a ledger outside balances, whatever becomes of the engines that move its money.

Orders are paid for at a payment service, which is another process. Once everything has ended, each
order that was paid for is delivered and settled once, or refunded once, and money that nobody paid
never moves.
"""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from itertools import count
from pathlib import Path
from random import Random

import anyio
import pytest

from engine import SQLiteStorage, Storage
from engine.storage.postgres import PostgresStorage
from tests.examples.agents import Json, Payments, payment_service
from tests.proxy import Proxy, proxied
from tests.reliability.programs.zygote import Life, Order, Zygote, zygote
from tests.reliability.seller import RULES, Engine, Seller, orders_of
from tests.systems import needs_fork
from tests.tries import report, rounds, seeded, thorough, tries

FULL_KILLS = 1_000
KILLS_OF_A_FILE = 10
LANES = 2
MOST_SECONDS_OF_A_LIFE = 0.15
PLANTED_KILLS = 20
FULL_RACES = 10_000
CALLERS = 10
ENGINES = 4
CREW = "four engines"
MOST_SECONDS_OF_A_SHARED_LIFE = 0.4
MOST_SECONDS_BETWEEN_CUTS = 0.3
FAULTS = ["500", "429", "drop", "drop"]


@pytest.fixture(scope="module")
def payments() -> Iterator[Payments]:
    with payment_service() as payments:
        yield payments


def port_of(payments: Payments) -> int:
    port = payments.client.base_url.port
    assert port is not None
    return port


def faulty(payments: Payments, random: Random, planted: str = "") -> None:
    """Order some faults of the payment service.

    It confirms at once what comes with another key each time: else it never would.
    """
    faults = {name: random.choices(FAULTS, k=random.randrange(4)) for name in ("settle", "refund")}
    confirm_after = 0 if planted == "a key that changes" else random.randrange(3)
    payments.faults(confirm_after=confirm_after, **faults)


def order(payments: Payments, place: str, name: str, random: Random, planted: str = "") -> Order:
    """Return the order for a process that sells."""
    return {
        "place": place,
        "name": name,
        "port": port_of(payments),
        "seed": random.random(),
        "backend": random.choice(["asyncio", "trio"]),
        "has_rules": random.random() < 0.5,
        "planted": planted,
        "sells": True,
        "backfills": False,
    }


def problems_of_life(
    payments: Payments, name: str, life: Life, seen: Counter[str]
) -> Iterator[str]:
    """Compare the ledger with the orders of a seller, whose last process says that all ended."""
    if life.said[-1:] != [["all ended"]]:
        yield f"{name} has not ended: {life}"
        return
    statuses = {line[1]: line[2] for line in life.said if line[0] == "ended"}
    yield from (f"{line[2]} of {line[1]} were missing" for line in life.said if is_missing(line))
    yield from problems_of(payments, name, statuses, seen)


def problems_of(
    payments: Payments, name: str, statuses: Mapping[str, str], seen: Counter[str]
) -> Iterator[str]:
    """Compare the ledger with the ends of a seller's orders, by their payments."""
    for payment_id, payment in payments.ledger().items():
        if payment["order"].get("seller") == name:
            status = statuses.get(payment_id)
            seen[f"{status}, {way_of(payment)}"] += 1
            if payment["problem"] is not None:
                yield f"{status}: {payment['problem']}"
            elif (way_of(payment) == "seller") is not (status == "completed"):
                yield f"{status}, and the money is with {way_of(payment)}"


def is_missing(line: list[object]) -> bool:
    return line[0] == "missing" and line[2] != 0


def way_of(payment: Json) -> str:
    return str(payment["moves"][0]["to"]) if payment["moves"] else "nobody"


def sell_in(
    lane: Zygote, payments: Payments, path: Path, random: Random, planted: str
) -> tuple[list[str], Counter[str]]:
    """Kill the processes of a file, one after the other; let the last one finish."""
    seen, name = Counter[str](), str(path)
    for number in range(KILLS_OF_A_FILE):
        faulty(payments, random, planted)
        again = order(payments, name, name, random, planted)
        again["has_rules"] |= not number  # later on it has those of the file
        life = lane.child(again, random.uniform(0, MOST_SECONDS_OF_A_LIFE), counted_from=["opened"])
        assert life.status == -signal.SIGKILL, life
        seen["kills"] += 1
    found = list[str]()
    for backfills in (False, True):
        last = {"sells": False, "backfills": backfills, "has_rules": True}
        life = lane.child(order(payments, name, name, random, planted) | last, 60)
        ways = Counter[str]()
        found += problems_of_life(payments, name, life, ways)
    return found, seen + ways


def kill(
    folder: Path, payments: Payments, kills: int, planted: str = ""
) -> tuple[list[str], Counter[str]]:
    """Kill so many processes, several at a time."""

    def in_lane(number: int) -> tuple[list[str], Counter[str]]:
        random = seeded(f"ledger, {planted}, {folder.name}, {number}")
        found, seen = list[str](), Counter[str]()
        with zygote("paying") as lane:
            while seen["kills"] < kills / LANES:
                path = folder / f"{number} {seen['kills']}.db"
                some, counts = sell_in(lane, payments, path, random, planted)
                found += some
                seen += counts
        return found, seen

    folder.mkdir()
    with ThreadPoolExecutor(LANES) as threads:
        lanes = list(threads.map(in_lane, range(LANES)))
    seen = sum((counts for _, counts in lanes), Counter[str]())
    report(f"ledger, {planted or 'kills'}: {dict(sorted(seen.items()))}")
    return [problem for found, _ in lanes for problem in found], seen


@pytest.mark.thorough
@needs_fork
def test_each_order_is_settled_or_refunded_once_over_kills(
    tmp_path: Path, payments: Payments
) -> None:
    kills, seen = tries(FULL_KILLS, least=20), Counter[str]()
    for number in rounds():
        found, counts = kill(tmp_path / f"round {number}", payments, kills)
        assert found == []
        seen += counts
        if seen["completed, seller"] > kills / 2 and seen["cancelled, buyer"] > kills / 10:
            break
    assert seen["kills"] >= kills


BUGS = {
    "after the commit": "paid, and the money is kept",
    "a random id": "the money left 2 times",
    "a key that changes": "the money left",
    "rules of the process alone": "paid, and the money is kept",
}


@pytest.mark.thorough
@needs_fork
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found_in_the_ledger(bug: str, tmp_path: Path, payments: Payments) -> None:
    for number in rounds():
        found, _ = kill(tmp_path / f"round {number}", payments, PLANTED_KILLS, bug)
        caught = [each for each in found if BUGS[bug] in each]
        report(f"planted: {len(caught)} of {len(found)}: {caught[:1]}")
        if caught:
            break


@pytest.mark.anyio
@pytest.mark.parametrize("place", ["memory", "a file", *thorough("a database")])
async def test_cancels_expiries_ends_and_callbacks_race_in_one_process(
    place: str,
    anyio_backend_name: str,
    tmp_path: Path,
    payments: Payments,
    request: pytest.FixtureRequest,
) -> None:
    name, seen = f"{place} {anyio_backend_name}", Counter[str]()
    random = seeded(f"ledger, races, {name}")
    seller = Seller(name, port_of(payments), random)
    faulty(payments, random)
    async with AsyncExitStack() as stack:
        storages: list[Storage | None] = [None]
        if place == "a file":
            storages = [SQLiteStorage(tmp_path / "jobs.db")]
        elif place == "a database":
            url = request.getfixturevalue("postgres_url")
            storages = [PostgresStorage(url), PostgresStorage(url)]
        engines = [
            await stack.enter_async_context(seller.opened(each, has_rules=not number))
            for number, each in enumerate(storages)
        ]
        orders = tries(FULL_RACES, least=60)
        async with anyio.create_task_group() as callers:
            for caller in range(CALLERS):
                its = engines[caller % len(engines)]
                callers.start_soon(sell_some, seller, its, orders // CALLERS)
        await seller.finish(engines[0])
        missing = [await engines[0].backfill(rule.kind) for rule in RULES]
        jobs = await orders_of(engines[0])
        follow_ups = await engines[0].count(follow_ups=True) - len(jobs)
    statuses = {payment_id: str(job.status) for payment_id, job in jobs.items()}
    assert [*problems_of(payments, name, statuses, seen)] == []
    report(f"ledger, races, {name}: {dict(sorted(seen.items()))}")
    assert (missing, follow_ups) == ([0] * len(RULES), len(jobs))
    assert len(jobs) == orders
    assert {"completed, seller", "cancelled, buyer", "expired, buyer"} <= seen.keys()


async def sell_some(seller: Seller, engine: Engine, count: int) -> None:
    for _ in range(count):
        await seller.sell(engine)


@pytest.mark.thorough
@needs_fork
def test_four_engines_on_a_database_are_killed_and_two_of_them_cut_off(
    postgres_url: str, payments: Payments
) -> None:
    kills, over, seen = tries(FULL_KILLS, least=40), threading.Event(), Counter[str]()
    with ExitStack() as stack, zygote("paying") as first:
        random = seeded(f"ledger, {CREW}")
        last = order(payments, postgres_url, CREW, random) | {"sells": False, "has_rules": True}
        first.child(last, 60)  # the rules are there from now on
        ways = [stack.enter_context(proxied(postgres_url)) for _ in range(ENGINES // 2)]
        places = [postgres_url] * (ENGINES - len(ways)) + [way for _, way in ways]
        with ThreadPoolExecutor(ENGINES + 1) as threads:
            cuts = threads.submit(cut, [proxy for proxy, _ in ways], over)
            lanes = [
                threads.submit(kill_some, payments, place, kills // ENGINES, number)
                for number, place in enumerate(places)
            ]
            for lane in lanes:
                seen += lane.result()
            over.set()
        found = list[str]()
        for backfills in (False, True):
            life, ends = first.child(last | {"backfills": backfills}, 60), Counter[str]()
            found += problems_of_life(payments, CREW, life, ends)
    report(f"ledger, {CREW}: {cuts.result()} cuts, {dict(sorted((seen + ends).items()))}")
    assert found == []
    assert seen["kills"] == kills // ENGINES * ENGINES
    assert ends["completed, seller"] > kills / 10


def kill_some(payments: Payments, place: str, kills: int, number: int) -> Counter[str]:
    """Kill so many engines on a database, one after the other."""
    random, seen = seeded(f"ledger, {CREW}, {number}"), Counter[str]()
    with zygote("paying") as lane:
        while seen["kills"] < kills:
            faulty(payments, random)
            seconds = random.uniform(0, MOST_SECONDS_OF_A_SHARED_LIFE)
            its = order(payments, place, CREW, random)
            life = lane.child(its, seconds, counted_from=["opened"])
            seen["kills" if life.status == -signal.SIGKILL else "cut off while opening"] += 1
    return seen


def cut(proxies: list[Proxy], over: threading.Event) -> int:
    """Cut connections, sometimes after an answer was swallowed; return how often."""
    random = seeded(f"ledger, {CREW}, cuts")
    for number in count():
        if over.wait(random.uniform(0, MOST_SECONDS_BETWEEN_CUTS)):
            return number
        proxy = random.choice(proxies)
        if random.random() < 0.5:
            proxy.swallow()
            over.wait(random.uniform(0, 0.02))
        proxy.cut()
    raise AssertionError
