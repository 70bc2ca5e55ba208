"""The PostgreSQL storage passes the conformance suites."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count

import pytest
from anyio import to_thread

from engine.storage import Storage
from engine.storage.postgres import PostgresStorage
from engine.testing import NewStorage, SharedSuite
from engine.testing.shared_fixtures import EndLease, LoseAnswer
from tests.conformance.test_storages import Suite
from tests.interventions import Intruder, intruding
from tests.tries import thorough


class _OnPostgres:
    """The fixtures of a class whose storages are on PostgreSQL, each with a name of its own."""

    backs_up = False
    is_shared = True

    @pytest.fixture
    def new_storage(self, postgres_url: str) -> NewStorage:
        numbers = count(1)
        return lambda _path: PostgresStorage(postgres_url, name=f"engine {next(numbers)}")


class TestPostgresStorage(_OnPostgres, Suite):
    pass


class TestSharedPostgresStorages(_OnPostgres, SharedSuite):
    @pytest.fixture(params=["asyncio", *thorough("trio")])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def intruder(self, postgres_url: str) -> Iterator[Intruder]:
        with intruding(postgres_url) as intruder:
            yield intruder

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
