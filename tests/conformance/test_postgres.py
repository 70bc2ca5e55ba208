"""The PostgreSQL storage passes the conformance suites."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest
from anyio import to_thread

from engine.storage import Storage
from engine.storage.postgres import PostgresStorage
from engine.testing import NewStorage, SharedSuite, StorageSuite
from engine.testing.auditing import AuditingTests
from engine.testing.backing_up import BackingUpTests
from engine.testing.committing import CommittingTests
from engine.testing.engines import EngineTests
from engine.testing.failing import FailingTests
from engine.testing.fixtures import OpenStore
from engine.testing.following import FollowingTests
from engine.testing.limiting import LimitingTests
from engine.testing.pausing import PausingTests
from engine.testing.removing import RemovingTests
from engine.testing.reopening import ReopeningTests
from engine.testing.shared_fixtures import EndLease, LoseAnswer, OpenPair
from engine.testing.throughput import ThroughputTests
from engine.testing.working import WorkingTests
from tests.interventions import Intruder
from tests.tries import thorough


class _OnPostgres:
    """The fixtures of a class whose storages are on PostgreSQL, each with a name of its own."""

    backs_up = False
    is_shared = True

    @pytest.fixture(params=["asyncio", *thorough("trio")])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def new_storage(self, postgres_url: str) -> NewStorage:
        numbers = count(1)
        return lambda _path: PostgresStorage(postgres_url, name=f"engine {next(numbers)}")


class TestPostgresStorage(_OnPostgres, CommittingTests):
    """The part of `StorageSuite` that sees most in a short time."""

    @pytest.mark.thorough
    async def test_large_batches(self, open_store: OpenStore) -> None:
        await super().test_large_batches(open_store)


@pytest.mark.thorough
class TestMoreOfPostgresStorage(
    _OnPostgres,
    EngineTests,
    WorkingTests,
    FailingTests,
    LimitingTests,
    ReopeningTests,
    RemovingTests,
    FollowingTests,
    AuditingTests,
    PausingTests,
    ThroughputTests,
    BackingUpTests,
):
    """The other parts, on one event loop: every call waits for the same thread."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"


@pytest.mark.thorough
@pytest.mark.usefixtures("short_searches")
class TestPostgresStorageInShortSearches(TestPostgresStorage):
    pass


def test_the_storage_is_tested_by_the_whole_suite() -> None:
    tested = TestPostgresStorage.__bases__ + TestMoreOfPostgresStorage.__bases__
    assert {*tested} == {_OnPostgres, *StorageSuite.__bases__}


class TestSharedPostgresStorages(_OnPostgres, SharedSuite):
    @pytest.mark.thorough
    async def test_no_more_is_taken_or_found_at_once_than_one_read_may_give(
        self, open_pair: OpenPair
    ) -> None:
        await super().test_no_more_is_taken_or_found_at_once_than_one_read_may_give(open_pair)

    @pytest.fixture
    def end_lease(self, intruder: Intruder) -> EndLease:
        async def end(storage: Storage) -> None:
            assert isinstance(storage, PostgresStorage)
            await to_thread.run_sync(intruder.declare_dead, storage)

        return end

    @pytest.fixture
    def lose_answer(self, intruder: Intruder) -> LoseAnswer:
        @asynccontextmanager
        async def lose(storage: Storage) -> AsyncIterator[None]:
            assert isinstance(storage, PostgresStorage)
            with intruder.losing_answer(storage):
                yield

        return lose
