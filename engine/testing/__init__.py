"""Tests of your handlers, and of a storage of your own.

**Test a handler** in a `Lab`: an engine in memory, a worker, and a clock that the test moves. A job
that is retried after hours, times out, expires or asks takes milliseconds, and the result doesn't
depend on the speed of the machine. `run` does the same for one job, in a test that is not async::

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

    def test_a_report_that_hangs_times_out() -> None:
        async def report(job: Job) -> str:
            return await anyio.sleep_forever()

        job = run(report, timeout_seconds=60, retry=Retry(max_attempts=1))
        assert job.error == "AttemptTimeoutError: the attempt took more than 60 s"

Any runner of async tests will do, on asyncio or trio; anyio brings a plugin for pytest.

A handler waits in real time, unless it waits by the lab's clock: ``await lab.clock.sleep(3_600)``
returns at once. You may give a `VirtualClock` to any engine.

**Test a storage** by inheriting `StorageSuite`, which has every promise of a storage as tests. Only
the suite needs pytest and trio: ``pip install 'engine[testing]'``. In a test module::

    import pytest
    from engine.testing import StorageSuite

    class TestMyStorage(StorageSuite):
        @pytest.fixture
        def new_storage(self):
            return MyStorage  # called with a path, each time that a test opens the storage

`StorageSuite` describes ``new_storage``, and the flags of a storage that can't do everything.
`SharedSuite` beside it tests one that engines share.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

from engine.testing.lab import Lab, run
from engine.testing.virtual_clock import StandstillError, VirtualClock

if TYPE_CHECKING:
    from engine.testing.fixtures import NewStorage
    from engine.testing.sharing import SharedSuite
    from engine.testing.suite import StorageSuite

__all__ = [
    "Lab",
    "NewStorage",
    "SharedSuite",
    "StandstillError",
    "StorageSuite",
    "VirtualClock",
    "run",
]

_MODULE_OF: Final = {
    "NewStorage": "fixtures",
    "SharedSuite": "sharing",
    "StorageSuite": "suite",
}

if pytest := sys.modules.get("pytest"):
    # Registered before the modules are imported, so that a failing assert shows its values.
    for _module in (
        "store",
        "listings",
        "committing",
        "working",
        "failing",
        "limiting",
        "reopening",
        "removing",
        "backing_up",
        "engines",
        "party",
        "agreeing",
        "taking",
        "telling",
    ):
        pytest.register_assert_rewrite(f"{__name__}.{_module}")


def __getattr__(name: str) -> object:
    """Import the suite on first use: only the suite needs pytest."""
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
