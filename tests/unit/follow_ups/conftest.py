"""The places of these tests, and the rules that most of them use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest

from engine import ORDER_LIFECYCLE, FollowUp, MemoryStorage
from engine import OrderStatus as S
from engine.storage.postgres import PostgresStorage
from engine.testing.facades import FACADES, Engine, opened_engine
from tests.proof.storages import PlainStorage
from tests.tries import thorough
from tests.unit.claiming import NewPlace

RULES = (
    FollowUp("refund", to={S.FAILED, S.CANCELLED, S.EXPIRED}, started=True),
    FollowUp("settle", to={S.COMPLETED}),
    FollowUp("notify", of="settle", to={S.COMPLETED}),
)


class Open(Protocol):
    """Opens an engine on the place of a test; it may be called again."""

    def __call__(self, *rules: FollowUp[Any], **how: Any) -> AbstractAsyncContextManager[Engine]:  # noqa: ANN401 - the engine's
        """Give the engine these rules of follow-ups."""
        ...


@pytest.fixture(params=["memory", "file", *thorough("postgres")])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> NewPlace:
    """Return a function that returns each kind of storage, on the same place each time."""
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        return lambda: PostgresStorage(url)
    return MemoryStorage if request.param == "memory" else lambda: tmp_path / "jobs.db"


@pytest.fixture(params=["plain", "file", *thorough("postgres")])
def kept_place(request: pytest.FixtureRequest, tmp_path: Path) -> NewPlace:
    """Return a function that returns a storage whose jobs outlive their engine."""
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        return lambda: PostgresStorage(url)
    storage = PlainStorage()
    return (lambda: storage) if request.param == "plain" else lambda: tmp_path / "jobs.db"


@pytest.fixture(params=FACADES)
async def engine(request: pytest.FixtureRequest, place: NewPlace) -> AsyncIterator[Engine]:
    """Open an engine of either kind with the rules."""
    how: dict[str, Any] = {"lifecycle": ORDER_LIFECYCLE, "follow_ups": RULES}
    async with opened_engine(request.param, place(), **how) as opened:
        yield opened


def _opener(facade: Any, place: NewPlace) -> Open:  # noqa: ANN401 - either facade
    def opened(*rules: FollowUp[Any], **how: Any) -> AbstractAsyncContextManager[Engine]:  # noqa: ANN401 - the engine's
        how = {"lifecycle": ORDER_LIFECYCLE, **how}
        return opened_engine(facade, place(), follow_ups=rules, **how)

    return opened


@pytest.fixture(params=FACADES)
def open_engine(request: pytest.FixtureRequest, place: NewPlace) -> Open:
    """Return a function that opens an engine of either kind on each kind of place."""
    return _opener(request.param, place)


@pytest.fixture(params=FACADES)
def reopen_engine(request: pytest.FixtureRequest, kept_place: NewPlace) -> Open:
    """Return a function that opens an engine of either kind on a place that outlives it."""
    return _opener(request.param, kept_place)
