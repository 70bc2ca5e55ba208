"""The suite: all tests of a storage, in one class to inherit."""

from __future__ import annotations

from engine.testing.auditing import AuditingTests
from engine.testing.backing_up import BackingUpTests
from engine.testing.committing import CommittingTests
from engine.testing.engines import EngineTests
from engine.testing.failing import FailingTests
from engine.testing.following import FollowingTests
from engine.testing.limiting import LimitingTests
from engine.testing.pausing import PausingTests
from engine.testing.removing import RemovingTests
from engine.testing.reopening import ReopeningTests
from engine.testing.throughput import ThroughputTests
from engine.testing.working import WorkingTests


class StorageSuite(
    CommittingTests,
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
    EngineTests,
):
    """Tests every promise of a storage. Inherit it in a test class of yours.

    The class needs a fixture ``new_storage``. It returns a function that takes a path and returns a
    storage with the jobs at that path. A test calls the function each time that it opens the
    storage, with the same path; with another path for a backup; and, unless the storage is shared,
    once while it is open, which must then refuse to open. The paths are in a new folder for each
    test. A storage that is not a file takes the path as a name. A storage that loses its jobs with
    its object returns the same object each time::

        @pytest.fixture
        def new_storage(self):
            storage = MemoryStorage()
            return lambda path: storage

    The fixture may use other fixtures, and clean up after its ``yield``. Every test runs on asyncio
    and on trio; override the fixture ``anyio_backend`` to change that.

    Attributes:
        outlives_closing: Set it to False if the jobs are gone once the storage is closed. This
            skips the tests that open it again.
        backs_up: Set it to False if the storage makes no copies. Its `backup` must then raise a
            `StorageError`.
        is_shared: Set it to True if any number of engines may have the storage open. This skips the
            tests that a second one is refused.
    """
