"""Fixtures of engines that share a database while something goes wrong."""

import logging
from collections.abc import Iterator

import pytest

from tests.reliability.shared_jobs import SharedJobs
from tests.reliability.shared_load import Doubts


@pytest.fixture
def doubts() -> Iterator[Doubts]:
    """Count the commits in doubt; show no line of the log, which tells of every fault."""
    logger, doubts = logging.getLogger("engine"), Doubts()
    logger.addHandler(doubts)
    logger.propagate = False
    yield doubts
    logger.propagate = True
    logger.removeHandler(doubts)


@pytest.fixture
def jobs(postgres_url: str) -> Iterator[SharedJobs]:
    """Look at the jobs of a new database."""
    jobs = SharedJobs(postgres_url)
    yield jobs
    jobs.close()
