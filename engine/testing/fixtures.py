"""Fixtures of the suite, and the flags that describe the tested storage."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import pytest

from engine._job_engine import JobEngine
from engine._sync_job_engine import SyncJobEngine
from engine.storage.audit import KEPT_AUDIT_LINES
from engine.storage.protocol import Storage
from engine.testing.book import Book
from engine.testing.facades import FACADES, opened_engine
from engine.testing.store import Session, opened
from engine.testing.values import ODD_LIFECYCLE

NewStorage: TypeAlias = Callable[[Path], Storage]
"""Returns a storage that keeps its jobs at a path."""

OpenStore: TypeAlias = Callable[..., AbstractAsyncContextManager[Session]]
OpenEngine: TypeAlias = Callable[..., AbstractAsyncContextManager[Any]]


class StorageFixtures:
    """The fixtures of `engine.testing.StorageSuite`, which describes the public ones."""

    pytestmark = pytest.mark.anyio

    outlives_closing: ClassVar[bool] = True
    backs_up: ClassVar[bool] = True
    is_shared: ClassVar[bool] = False

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        """Return the backend: every test runs on both."""
        return str(request.param)

    @pytest.fixture
    def new_storage(self) -> NewStorage:
        """Fail: the inheriting class has to override this."""
        pytest.fail(f"{type(self).__name__} has no fixture `new_storage`: see StorageSuite")

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """Return the path of the test's storage."""
        return tmp_path / "jobs"

    @pytest.fixture
    def book(self) -> Book:
        """Return an empty book."""
        return Book()

    @pytest.fixture
    def open_store(self, new_storage: NewStorage, path: Path, book: Book) -> OpenStore:
        """Return a function that opens the storage for direct calls; it may be called again."""
        return lambda **how: opened(new_storage(path), book, **how)

    @pytest.fixture(params=FACADES)
    def open_engine(
        self,
        request: pytest.FixtureRequest,
        new_storage: NewStorage,
        path: Path,
    ) -> OpenEngine:
        """Return a function that opens an engine on the storage; it may be called again."""
        facade: type[JobEngine[Any] | SyncJobEngine[Any]] = request.param

        def open_at(path: Path = path, **how: Any) -> AbstractAsyncContextManager[Any]:  # noqa: ANN401 - of the facade
            return opened_engine(facade, new_storage(path), lifecycle=ODD_LIFECYCLE, **how)

        return open_at

    @pytest.fixture
    def kept_lines(self) -> int:
        """Return how many lines of the audit the storage keeps; a quick test makes it keep fewer.

        Override it only where the storage, and `engine.testing.book`, get the same number.
        """
        return KEPT_AUDIT_LINES

    def needs_reopening(self) -> None:
        """Skip the test if the storage loses its jobs when it is closed."""
        if not self.outlives_closing:
            pytest.skip("outlives_closing is False")

    def needs_one_engine(self) -> None:
        """Skip the test if any number of engines may have the storage open."""
        if self.is_shared:
            pytest.skip("is_shared is True")

    def needs_backup(self) -> None:
        """Skip the test if the storage makes no copies."""
        if not self.backs_up:
            pytest.skip("backs_up is False")
