"""Every storage passes the conformance suite."""

from __future__ import annotations

from typing import Final

import pytest

from engine import MemoryStorage, SQLiteStorage
from engine.storage import memory
from engine.storage.sqlite import writing
from engine.testing import NewStorage, StorageSuite, book
from engine.testing.committing import CommittingTests
from engine.testing.following import FollowingTests
from engine.testing.limiting import LimitingTests
from engine.testing.removing import RemovingTests
from tests.proof import storages
from tests.proof.storages import PlainStorage
from tests.tries import thorough

_KEPT_LINES: Final = 1_000


class Suite(StorageSuite):
    @pytest.fixture(params=["asyncio", *thorough("trio")])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def kept_lines(self, monkeypatch: pytest.MonkeyPatch) -> int:
        """Let storages keep fewer lines of the audit, which takes less time."""
        for module in (memory, writing, book, storages):
            monkeypatch.setattr(module, "KEPT_AUDIT_LINES", _KEPT_LINES)
        return _KEPT_LINES


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


class InShortSearches(CommittingTests, LimitingTests, RemovingTests, FollowingTests):
    """The parts of the suite whose jobs many searches find, on one event loop."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"


@pytest.mark.thorough
@pytest.mark.usefixtures("short_searches")
class TestMemoryStorageInShortSearches(InShortSearches):
    @pytest.fixture
    def new_storage(self) -> NewStorage:
        storage = MemoryStorage()
        return lambda _path: storage


@pytest.mark.thorough
@pytest.mark.usefixtures("short_searches")
class TestSQLiteStorageInShortSearches(InShortSearches):
    @pytest.fixture
    def new_storage(self) -> NewStorage:
        return SQLiteStorage
