"""Sell orders until killed, or finish all that were sold.

For `tests.reliability.programs.zygote`. A place is a file, or the URL of a database. The lines:

* ``["opened"]``: the engine is open
* ``["ended", payment_id, status]``: an order has ended so; ``["missing", kind, count]``: a backfill
  has found transitions without a follow-up
* ``["all ended"]``: no job is left, and the last line
* ``["crashed", text]``: the engine can't be opened, or has crashed: others took it for dead
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine import Context, EngineError, SQLiteStorage, Storage
from engine.domain.follow_up_rules import Rules, StoredRules
from engine.domain.ids import new_job_id
from engine.owner.state import State
from engine.storage.audit import AuditLine
from engine.storage.postgres import PostgresStorage
from engine.storage.record import Change
from tests.reliability.programs.zygote import Order, say
from tests.reliability.seller import RULES, Engine, RefusedError, Seller, orders_of

CALLERS = 4
COMMITS_IN_THE_LOG = 5
LEASE_SECONDS = 1.0


class LateStorage(SQLiteStorage):
    """Its bug: it commits follow-ups after the transitions that they follow."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        late = [each for each in changes if each.record.parent_id is not None]
        soon = [each for each in changes if each.record.parent_id is None]
        for some in (soon, late):
            if some:
                await super().commit(some, lines)


def plant(bug: str) -> None:
    """Let engines of this process have a bug."""
    patch = pytest.MonkeyPatch()
    if bug == "a random id":
        for module in ("batch", "commands.follow_up"):
            patch.setattr(f"engine.owner.{module}.follow_up_id", lambda *_: new_job_id())
    elif bug == "a key that changes":
        key = property(lambda its: f"{its.job.job_id} {its.attempt}", lambda *_: None)
        patch.setattr(Context, "key", key, raising=False)
    elif bug == "rules of the process alone":
        patch.setattr(State, "take_rules", take_own_rules)


def take_own_rules(state: State, stored: StoredRules) -> None:
    """Decide by the rules that the program gave."""
    state.rules = Rules(state._given_rules, stored.number)  # noqa: SLF001 - the bug


def storage(place: str, planted: str) -> Storage:
    """Return the storage at a place."""
    if place.startswith("postgres"):
        return PostgresStorage(place, lease_seconds=LEASE_SECONDS)
    kind = LateStorage if planted == "after the commit" else SQLiteStorage
    return kind(Path(place))


async def work(order: Order) -> None:
    """Sell or finish, as the order says."""
    seller = Seller(order["name"], order["port"], Random(order["seed"]))
    place = storage(order["place"], order["planted"])
    try:
        async with seller.opened(place, has_rules=order["has_rules"]) as engine:
            say("opened")
            if order["sells"]:
                async with anyio.create_task_group() as callers:
                    for _ in range(CALLERS):
                        callers.start_soon(sell_on, seller, engine)
            if order["backfills"]:
                for rule in RULES:
                    say("missing", rule.kind, await engine.backfill(rule.kind))
            await seller.finish(engine)
            for payment_id, job in (await orders_of(engine)).items():
                say("ended", payment_id, job.status)
            say("all ended")
    except EngineError as error:
        say("crashed", repr(error.__cause__ or error)[:1_000])


async def sell_on(seller: Seller, engine: Engine) -> None:
    """Sell one order after the other."""
    while True:
        with suppress(EngineError, RefusedError):
            await seller.sell(engine)


def warm() -> None:
    """Run both event loops once, and make checkpoints frequent."""
    logging.disable(logging.CRITICAL)
    pytest.MonkeyPatch().setattr("engine.storage.sqlite.database._LOG_COMMITS", COMMITS_IN_THE_LOG)
    for backend in ("asyncio", "trio"):
        anyio.run(checkpoint, backend=backend)


def run(order: Order) -> None:
    """Work as an order says; ``planted`` is its bug, if it has one."""
    plant(order["planted"])
    anyio.run(work, order, backend=order["backend"])
