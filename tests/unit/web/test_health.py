"""Health: whether an engine can be called."""

import logging
import threading
from typing import Any

import pytest

from engine import EngineCrashedError, JobEngine, SyncJobEngine
from engine.web import health_response
from tests.unit.failing import FailingStorage

pytestmark = pytest.mark.anyio


def statuses(engine: JobEngine[Any] | SyncJobEngine[Any]) -> tuple[bool, int]:
    response = health_response(engine)
    assert response.headers["cache-control"] == "no-store"
    return engine.healthy, response.status_code


async def test_an_engine_is_healthy_from_its_start_to_its_end() -> None:
    engine = JobEngine()
    assert statuses(engine) == (False, 503)
    async with engine:
        assert statuses(engine) == (True, 200)
    assert statuses(engine) == (False, 503)


def test_a_blocking_engine_is_healthy_until_its_end() -> None:
    with SyncJobEngine() as engine:
        assert statuses(engine) == (True, 200)
    assert statuses(engine) == (False, 503)


async def test_a_crashed_engine_is_not_healthy() -> None:
    storage = FailingStorage()
    storage.failures = [ValueError("a bug")]
    with pytest.raises(EngineCrashedError):
        async with JobEngine(storage) as engine:
            with pytest.raises(EngineCrashedError):
                await engine.create("hash")
            assert statuses(engine) == (False, 503)


def test_who_has_seen_the_crash_never_sees_a_healthy_engine() -> None:
    storage = FailingStorage()
    storage.failures = [ValueError("a bug")]
    engine, goes_on = SyncJobEngine(storage), threading.Event()

    def hold(_record: logging.LogRecord) -> bool:
        """Hold the crashing owner where it tells of its crash."""
        goes_on.wait(60)
        return False

    logger = logging.getLogger("engine")
    logger.addFilter(hold)
    try:
        with pytest.raises(EngineCrashedError):
            engine.create("hash")
        assert statuses(engine) == (False, 503)
    finally:
        goes_on.set()
        with pytest.raises(EngineCrashedError):
            engine.close()
        logger.removeFilter(hold)
