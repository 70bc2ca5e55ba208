"""Fixtures of all tests."""

import gc
import signal
from collections.abc import Iterator

import pytest

from engine.owner import recent_jobs
from engine.storage import memory
from engine.storage.postgres import listing as postgres_listing
from engine.storage.sqlite import listing
from tests.interventions import Intruder, intruding
from tests.postgres import Databases, server_databases
from tests.temporary_files import keep_in_memory
from tests.tries import thorough, tier

keep_in_memory()

# A background shell makes the tests ignore Ctrl-C, and so the programs that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_QUICK = "not thorough"
"""The marker expression of pyproject.toml."""


def pytest_configure(config: pytest.Config) -> None:
    """Select the tests of the tier, unless the command line selects by a marker itself."""
    if tier() != "quick" and config.option.markexpr == _QUICK:
        config.option.markexpr = ""


@pytest.fixture(params=["asyncio", *thorough("trio")])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run every async test on both backends; on trio not in the quick tier, but for some."""
    return str(request.param)


@pytest.fixture
def ended_jobs_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each job leave the owner's table at its end, so that the storage is asked for it."""
    monkeypatch.setattr(recent_jobs, "_LARGE_BYTES", 0)


@pytest.fixture
def short_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each search of jobs by several arguments end after a few, so that it goes on often."""
    search(monkeypatch, rows=3)


def search(monkeypatch: pytest.MonkeyPatch, *, rows: int) -> None:
    """Let each search of jobs by several arguments end after so many rows."""
    for each in (memory, listing, postgres_listing):
        monkeypatch.setattr(each, "_SEARCHED_ROWS", rows)


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """Return the databases of the run's PostgreSQL server, which starts now."""
    with server_databases() as made:
        yield made


@pytest.fixture
def postgres_url(databases: Databases) -> Iterator[str]:
    """Return the URL of a new database that has the schema `engine`."""
    url = databases.new()
    yield url
    databases.drop(url)


@pytest.fixture
def intruder(postgres_url: str) -> Iterator[Intruder]:
    """Return another connection to that database."""
    with intruding(postgres_url) as intruder:
        yield intruder


def pytest_collection_finish() -> None:
    """Keep the garbage collector from visiting modules and tests again and again.

    Many tests collect; each time would visit hundreds of thousands of objects that stay. Hypothesis
    runs a test first: at its import, or at the first test that is derandomized, it looks for who
    refers to its random numbers, and can't see the objects that are kept from the collector.
    """
    from hypothesis import given, settings, strategies  # noqa: PLC0415 - takes a while

    nothing = given(strategies.none())(lambda _: None)
    settings(derandomize=True, database=None, max_examples=1)(nothing)()

    gc.collect()
    gc.freeze()
