"""The PostgreSQL storage passes the conformance suites."""

from __future__ import annotations

import pytest

from engine.storage.postgres import PostgresStorage
from engine.testing import NewStorage
from tests.conformance.test_storages import Suite


class TestPostgresStorage(Suite):
    backs_up = False
    is_shared = True

    @pytest.fixture
    def new_storage(self, postgres_url: str) -> NewStorage:
        return lambda _path: PostgresStorage(postgres_url, lease_seconds=1)
