"""The suite: everything that a storage is tested for, in one class to inherit from."""

from __future__ import annotations

from engine.testing.backing_up import BackingUpTests
from engine.testing.committing import CommittingTests
from engine.testing.engines import EngineTests
from engine.testing.limiting import LimitingTests
from engine.testing.removing import RemovingTests
from engine.testing.reopening import ReopeningTests
from engine.testing.working import WorkingTests


class StorageSuite(
    CommittingTests,
    WorkingTests,
    LimitingTests,
    ReopeningTests,
    RemovingTests,
    BackingUpTests,
    EngineTests,
):
    """What every private storage promises, to be inherited by a test class of yours.

    The class has to have a fixture ``new_storage``. It returns what is called with a path and
    returns a storage of what is kept there: as often as a test opens the storage, with the same
    path each time, with another path for a backup, and once more while the storage is open, which
    has to be refused. The paths are in a new folder for each test. A storage that is kept
    elsewhere takes the path as a name; one whose jobs live as long as its object returns the same
    object again::

        @pytest.fixture
        def new_storage(self):
            storage = MemoryStorage()
            return lambda path: storage

    The fixture may use others of pytest's, and clean up behind its ``yield``. Every test runs on
    asyncio and on trio; a class that overrides the fixture ``anyio_backend`` changes that.

    Attributes:
        outlives_closing: False: when the storage is closed, its jobs are gone, even for those who
            open it again. The tests that open it again are then skipped.
        backs_up: False: the storage makes no copies. Then `backup` has to raise a `StorageError`.
    """
