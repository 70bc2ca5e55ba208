"""What every test of the suite is given, and what the user of the suite says of a storage."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import pytest

from engine._job_engine import JobEngine
from engine._sync_job_engine import SyncJobEngine
from engine.storage.protocol import Storage
from engine.testing.book import Book
from engine.testing.facades import FACADES, opened_engine
from engine.testing.store import Session, opened
from engine.testing.values import ODD_LIFECYCLE

NewStorage: TypeAlias = Callable[[Path], Storage]
"""Returns a storage of what is kept at a path."""

OpenStore: TypeAlias = Callable[..., AbstractAsyncContextManager[Session]]
OpenEngine: TypeAlias = Callable[..., AbstractAsyncContextManager[Any]]


class StorageFixtures:
    """The fixtures of `engine.testing.StorageSuite`, which tells of the public ones."""

    pytestmark = pytest.mark.anyio

    outlives_closing: ClassVar[bool] = True
    backs_up: ClassVar[bool] = True

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        """Run everything on both backends."""
        return str(request.param)

    @pytest.fixture
    def new_storage(self) -> NewStorage:
        """To be given by the class that is tested."""
        pytest.fail(f"{type(self).__name__} has no fixture `new_storage`: see StorageSuite")

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """Where a test keeps its jobs."""
        return tmp_path / "jobs"

    @pytest.fixture
    def book(self) -> Book:
        """What the jobs of a test have to be."""
        return Book()

    @pytest.fixture
    def open_store(self, new_storage: NewStorage, path: Path, book: Book) -> OpenStore:
        """Opens the storage for direct calls, as often as is asked."""
        return lambda **how: opened(new_storage(path), book, **how)

    @pytest.fixture(params=FACADES)
    def open_engine(
        self,
        request: pytest.FixtureRequest,
        new_storage: NewStorage,
        path: Path,
    ) -> OpenEngine:
        """Opens an engine of either kind over the storage, as often as is asked."""
        facade: type[JobEngine[Any] | SyncJobEngine[Any]] = request.param

        def open_at(path: Path = path, **how: Any) -> AbstractAsyncContextManager[Any]:  # noqa: ANN401 - the facade's own
            return opened_engine(facade, new_storage(path), lifecycle=ODD_LIFECYCLE, **how)

        return open_at

    def needs_reopening(self) -> None:
        """Skip the test if nothing is there when a storage is opened again."""
        if not self.outlives_closing:
            pytest.skip("outlives_closing is False")

    def needs_backup(self) -> None:
        """Skip the test if the storage makes no copies."""
        if not self.backs_up:
            pytest.skip("backs_up is False")
