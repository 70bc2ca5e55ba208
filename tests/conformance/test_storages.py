"""Every storage passes the conformance suite."""

from __future__ import annotations

import pytest

from engine import MemoryStorage, SQLiteStorage
from engine.testing import NewStorage, StorageSuite
from engine.testing.fixtures import OpenStore
from tests.proof.storages import PlainStorage
from tests.tries import thorough


class Suite(StorageSuite):
    @pytest.fixture(params=["asyncio", *thorough("trio")])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    # These take a second over a file, and smaller ones see the same kinds of fault.

    @pytest.mark.thorough
    async def test_large_batches(self, open_store: OpenStore) -> None:
        await super().test_large_batches(open_store)

    @pytest.mark.thorough
    async def test_inputs_are_kept_through_every_change(self, open_store: OpenStore) -> None:
        await super().test_inputs_are_kept_through_every_change(open_store)

    @pytest.mark.thorough
    async def test_executions_are_kept_as_they_are(self, open_store: OpenStore) -> None:
        await super().test_executions_are_kept_as_they_are(open_store)


class TestMemoryStorage(Suite):
    backs_up = False

    @pytest.fixture
    def new_storage(self) -> NewStorage:
        storage = MemoryStorage()
        return lambda _path: storage


@pytest.mark.thorough
class TestPlainStorage(Suite):
    backs_up = False

    @pytest.fixture
    def new_storage(self) -> NewStorage:
        storage = PlainStorage()
        return lambda _path: storage


class TestSQLiteStorage(Suite):
    @pytest.fixture
    def new_storage(self) -> NewStorage:
        return SQLiteStorage


@pytest.mark.thorough
@pytest.mark.usefixtures("short_searches")
class TestMemoryStorageInShortSearches(TestMemoryStorage):
    pass


@pytest.mark.thorough
@pytest.mark.usefixtures("short_searches")
class TestSQLiteStorageInShortSearches(TestSQLiteStorage):
    pass
