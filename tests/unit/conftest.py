"""Fixtures of the unit tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine import MemoryStorage
from engine.testing.facades import FACADES, Engine, opened_engine
from tests.proof.storages import PlainStorage
from tests.unit.claiming import NewPlace


@pytest.fixture(params=FACADES)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """Open an engine of either kind, with awaited calls."""
    async with opened_engine(request.param) as engine:
        yield engine


@pytest.fixture(params=["memory", "file"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> NewPlace:
    """Return a storage of each kind."""
    return MemoryStorage if request.param == "memory" else lambda: tmp_path / "jobs.db"


@pytest.fixture(params=["plain", "file"])
def lasting_place(request: pytest.FixtureRequest, tmp_path: Path) -> NewPlace:
    """Return a storage whose jobs outlive their engine."""
    storage = PlainStorage()
    return (lambda: storage) if request.param == "plain" else lambda: tmp_path / "jobs.db"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the tests that run on trio over a file out of the quick tier.

    It has those on asyncio over a file, and on trio in memory. Each waits for the disk.
    """
    for item in items:
        given = item.callspec.params if hasattr(item, "callspec") else {}
        if (given.get("anyio_backend"), given.get("new_place")) == ("trio", "file"):
            item.add_marker(pytest.mark.thorough)
