"""Every storage passes the conformance suite."""

from __future__ import annotations

import pytest

from engine import MemoryStorage, SQLiteStorage
from engine.testing import NewStorage, StorageSuite
from tests.proof.storages import PlainStorage
from tests.tries import thorough


class Suite(StorageSuite):
    @pytest.fixture(params=["asyncio", *thorough("trio")])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)


@pytest.mark.thorough
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
