"""What the unit tests share."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.both_engines import FACADES, Engine, opened


@pytest.fixture(params=FACADES)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """One engine of either kind, for calls to be awaited."""
    async with opened(request.param) as engine:
        yield engine
