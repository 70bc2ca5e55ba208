"""The places that several engines share: a simple one in memory, and a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, TypeAlias

import pytest

from engine import AgentJobStatus, JobEngine
from engine.storage.postgres import PostgresStorage
from tests.proof.shared_storage import Place, PlainShared
from tests.tries import thorough
from tests.unit.claiming import agents

NewEngine: TypeAlias = Callable[..., JobEngine[AgentJobStatus]]


@pytest.fixture(params=["plain", *thorough("postgres")])
def new_engine(request: pytest.FixtureRequest) -> NewEngine:
    """Return a function that makes engines on the same place."""
    place, seeds = Place(), count()
    url = "" if request.param == "plain" else request.getfixturevalue("postgres_url")

    def new(**how: Any) -> JobEngine[AgentJobStatus]:  # noqa: ANN401 - the engine's arguments
        if url:
            return agents(PostgresStorage(url), **how)
        return agents(PlainShared(place, next(seeds)), **how)

    return new
