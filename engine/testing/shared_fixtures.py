"""Fixtures of the suite of shared storages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from engine.storage.protocol import Storage
from engine.testing.fixtures import NewStorage, StorageFixtures
from engine.testing.party import Party, joined

Pair: TypeAlias = tuple[Party, Party]
OpenPair: TypeAlias = Callable[[], AbstractAsyncContextManager[Pair]]
EndLease: TypeAlias = Callable[[Storage], Awaitable[None]]
"""Lets the other engines take a storage's engine for dead."""
LoseAnswer: TypeAlias = Callable[[Storage], AbstractAsyncContextManager[None]]
"""Loses the answer to a storage's next commit."""


class SharedFixtures(StorageFixtures):
    """The fixtures of `engine.testing.SharedSuite`, which describes the public ones."""

    @pytest.fixture
    def end_lease(self) -> EndLease:
        """Fail: the inheriting class has to override this."""
        pytest.fail(f"{type(self).__name__} has no fixture `end_lease`: see SharedSuite")

    @pytest.fixture
    def lose_answer(self) -> LoseAnswer:
        """Fail: the inheriting class has to override this."""
        pytest.fail(f"{type(self).__name__} has no fixture `lose_answer`: see SharedSuite")

    @pytest.fixture
    def open_pair(self, new_storage: NewStorage, path: Path) -> OpenPair:
        """Return a function that opens two storages on one place."""

        @asynccontextmanager
        async def pair() -> AsyncIterator[Pair]:
            async with joined(new_storage(path)) as one, joined(new_storage(path)) as other:
                yield one, other

        return pair
