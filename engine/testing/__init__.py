"""For tests: of what you build with the engine, and of a storage of your own.

**A handler** is tested in a `Lab`: an engine in memory, a worker, and a clock that the test moves.
A job that is retried after hours, times out, expires or asks is through in milliseconds, and each
time in the same way, as nothing depends on how fast a machine is. `run` does the same for one job
of a test that is not async::

    from datetime import timedelta

    import anyio
    from engine import Job, JobStatus, Retry
    from engine.testing import Lab, run

    async def test_a_report_is_tried_again() -> None:
        failures = iter([ConnectionError("no paper"), ConnectionError("no ink")])

        async def report(job: Job) -> str:
            for failure in failures:
                raise failure
            return f"{job.input['pages']} pages"

        hourly = Retry(first_delay_seconds=3_600, max_delay_seconds=86_400, jitter=0)
        async with Lab(report, retry=hourly) as lab:
            job = await lab.run({"pages": 3})
            assert job.status is JobStatus.COMPLETED
            assert job.result == "3 pages"
            assert job.updated_at - job.created_at == timedelta(hours=1 + 2)

    def test_a_report_that_hangs_is_given_up() -> None:
        async def report(job: Job) -> str:
            return await anyio.sleep_forever()

        job = run(report, timeout_seconds=60, retry=Retry(max_attempts=1))
        assert job.error == "AttemptTimeoutError: the attempt took more than 60 s"

Any runner of async tests will do, on asyncio or trio; anyio brings a plugin for pytest.

What waits in a handler waits for real, unless it waits by the lab's clock: ``await
lab.clock.sleep(3_600)`` is over at once. `VirtualClock` can be given to any engine, and tells more.

**A storage** passes `StorageSuite`, everything that every storage promises, as tests to inherit.
The suite alone needs pytest and trio: ``pip install 'engine[testing]'``. In a test module::

    import pytest
    from engine.testing import StorageSuite

    class TestMyStorage(StorageSuite):
        @pytest.fixture
        def new_storage(self):
            return MyStorage  # called with a path, as often as a test opens the storage

`StorageSuite` says what ``new_storage`` has to be, and how a storage declares what it can't do.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

from engine.testing.lab import Lab, run
from engine.testing.virtual_clock import StandstillError, VirtualClock

if TYPE_CHECKING:
    from engine.testing.fixtures import NewStorage
    from engine.testing.suite import StorageSuite

__all__ = ["Lab", "NewStorage", "StandstillError", "StorageSuite", "VirtualClock", "run"]

_MODULE_OF: Final = {"NewStorage": "fixtures", "StorageSuite": "suite"}

if pytest := sys.modules.get("pytest"):
    # To be said before the modules are imported: then a failing assert shows its values.
    for _module in (
        "store",
        "committing",
        "working",
        "limiting",
        "reopening",
        "removing",
        "backing_up",
    ):
        pytest.register_assert_rewrite(f"{__name__}.{_module}")
    pytest.register_assert_rewrite(f"{__name__}.engines")


def __getattr__(name: str) -> object:
    """Import the suite when it is asked for: it needs pytest, which the rest does not."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import_module("pytest")
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"engine.testing.{name} needs pytest: pip install 'engine[testing]'", name=missing.name
        ) from missing
    value: object = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
