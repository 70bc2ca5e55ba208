"""`shop.py`, unchanged, on a PostgreSQL database: two web processes and two workers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from engine import ORDER_LIFECYCLE, SyncJobEngine
from tests.examples.programs import EXAMPLES
from tests.examples.serving import KEY, Shop, served
from tests.unit.web.serving import ROOT

WORKER = """
import shop
from engine import ORDER_LIFECYCLE, SyncJobEngine, Worker

with SyncJobEngine(shop.jobs_at, lifecycle=ORDER_LIFECYCLE) as jobs:
    worker = Worker(jobs, shop.handlers)
    with worker:
        print("works", flush=True)
        worker.serve_blocking()
"""
ORDERS = 24


@contextmanager
def working(place: str) -> Iterator[subprocess.Popen[str]]:
    """Run a worker of the shop's kinds; kill it at the end."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{EXAMPLES}",
        "PAYMENT_SECRET": KEY,
        "SHOP_PAUSE": "0.1",
    }
    program = WORKER.replace("shop.jobs_at", repr(place))
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "works\n"
            yield process
        finally:
            process.kill()


@pytest.mark.thorough
def test_every_order_ends_whichever_process_is_killed(tmp_path: Path, postgres_url: str) -> None:
    with ExitStack() as stack:

        def shop() -> Shop:
            return stack.enter_context(served(tmp_path, pause=0.1, place=postgres_url))

        def worker() -> subprocess.Popen[str]:
            return stack.enter_context(working(postgres_url))

        shops, workers, orders = [shop(), shop()], [worker(), worker()], []
        for number, each in zip(range(ORDERS), cycle((0, 1)), strict=False):
            kind = "translation" if number % 3 else "report"
            orders.append(shops[each].order("some words to work on", kind))
            shops[1 - each].pay(orders[-1])
            if number in {4, 14}:
                workers[each].kill()
                workers[each] = worker()
            if number in {9, 19}:
                shops[each].kill()
                shops[each] = shop()
        for number, job_id in enumerate(orders):
            done = shops[number % 2].get(job_id, wait_seconds=60)
            assert (done["status"], done["error"]) == ("completed", None), done
        histories = []
        for front in shops:
            with front.events_of(orders[0]) as events:
                histories.append([event["id"] for event in events if "id" in event])
        assert histories[0] == histories[1]
    with SyncJobEngine(postgres_url, lifecycle=ORDER_LIFECYCLE) as engine:
        numbers = [line.sequence for job_id in orders for line in engine.history(job_id)]
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
