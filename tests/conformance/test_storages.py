"""Every storage passes the conformance suite."""

from __future__ import annotations

import pytest

from engine import MemoryStorage, SQLiteStorage
from engine.testing import NewStorage, StorageSuite
from tests.proof.storages import PlainStorage


class TestMemoryStorage(StorageSuite):
    backs_up = False

    @pytest.fixture
    def new_storage(self) -> NewStorage:
        storage = MemoryStorage()
        return lambda _path: storage


@pytest.mark.thorough
class TestPlainStorage(StorageSuite):
    backs_up = False

    @pytest.fixture
    def new_storage(self) -> NewStorage:
        storage = PlainStorage()
        return lambda _path: storage


class TestSQLiteStorage(StorageSuite):
    @pytest.fixture
    def new_storage(self) -> NewStorage:
        return SQLiteStorage
