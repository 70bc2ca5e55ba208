"""Calls that change no job, over a connection that is lost: what they answer is true."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import anyio
import pytest
from anyio import to_thread

from engine import FollowUp, JobStatus, OutcomeUnknownError, StorageError
from engine.storage.postgres import PostgresStorage
from engine.testing.facades import FACADES, Engine, opened_engine
from tests.interventions import Intruder
from tests.proxy import Proxy, proxied
from tests.unit.finishing import finished

pytestmark = pytest.mark.anyio

US: Final = {"by": "us", "reason": "why not"}
_LINES: Final = "SELECT count(*) FROM audit"

CALLS: Final[dict[str, Callable[[Engine], Awaitable[Any]]]] = {
    "pause": lambda engine: engine.pause("a", **US),
    "remove_rule": lambda engine: engine.remove_rule("a", **US),
    "drain": lambda engine: engine.drain(**US),
    "prune": lambda engine: engine.prune(keep=0, **US),
}
ANSWERS: Final = {"pause": True, "remove_rule": True, "drain": None, "prune": 2}


@asynccontextmanager
async def proxied_engine(facade: type[Any], url: str) -> AsyncIterator[tuple[Proxy, Engine]]:
    """Open an engine with two ended jobs, and a rule, on a connection that a test can cut."""
    rules = [FollowUp("a", to={JobStatus.FAILED})]
    with proxied(url) as (proxy, proxied_url):
        storage = PostgresStorage(proxied_url)
        async with opened_engine(facade, storage, follow_ups=rules) as engine:
            for _ in range(2):
                await finished(engine)
            yield proxy, engine


async def what_is(engine: Engine) -> dict[str, bool]:
    """Return which of the calls have taken effect."""
    now = await engine.statistics()
    return {
        "pause": await engine.paused() != [],
        "remove_rule": await engine.rules() == [],
        "drain": now.draining,
        "prune": not any(now.jobs.values()),
    }


def lose(proxy: Proxy, intruder: Intruder, *, refuses: bool = False) -> None:
    """Cut the connection once a line of the audit is there."""
    intruder.until(lambda: intruder.value(_LINES))
    proxy.refuse() if refuses else proxy.cut()


@pytest.mark.parametrize("facade", FACADES)
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_whose_answer_is_lost_answers_as_usual(
    name: str, facade: type[Any], postgres_url: str, intruder: Intruder
) -> None:
    async with proxied_engine(facade, postgres_url) as (proxy, engine):
        proxy.swallow_from(b"COMMIT" if name == "prune" else b"take_number_1")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, partial(lose, proxy, intruder))
            assert await CALLS[name](engine) == ANSWERS[name]
        assert {each for each, is_so in (await what_is(engine)).items() if is_so} == {name}
        assert len(await engine.audit()) == 1


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_that_nobody_can_ask_about_is_told_to_be_unknown(
    name: str, postgres_url: str, intruder: Intruder
) -> None:
    async with proxied_engine(FACADES[0], postgres_url) as (proxy, engine):
        proxy.swallow_from(b"COMMIT" if name == "prune" else b"take_number_1")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, partial(lose, proxy, intruder, refuses=True))
            with pytest.raises(OutcomeUnknownError, match="before you repeat the call") as caught:
                await CALLS[name](engine)
            assert not isinstance(caught.value, StorageError)
        proxy.refuse(refuses=False)
        await CALLS[name](engine)
        assert {each for each, is_so in (await what_is(engine)).items() if is_so} == {name}
        assert len(await engine.audit()) == 1
        assert engine.healthy
