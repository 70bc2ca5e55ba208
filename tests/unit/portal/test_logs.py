"""Log lines of the engine's own tasks: where they come from, and that their errors stay theirs."""

from __future__ import annotations

import logging
import signal
from pathlib import Path

import pytest

import engine
from engine.portal.interrupts import context_of_tasks
from engine.portal.logs import TaskLogger
from tests.systems import needs_interrupts

logger = TaskLogger("engine.testing")


def test_a_line_names_its_place_and_keeps_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "engine"):
        logger.debug("a %s", "line", extra={"job_id": "one"})
    [record] = caplog.records
    assert (record.name, record.getMessage()) == ("engine.testing", "a line")
    assert (record.filename, record.funcName) == (
        Path(__file__).name,
        "test_a_line_names_its_place_and_keeps_its_fields",
    )
    assert record.__dict__["job_id"] == "one"


def test_an_error_of_a_filter_is_swallowed(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_record: object) -> bool:
        raise RuntimeError("planted")

    plain = logging.getLogger("engine.testing")
    plain.addFilter(fail)
    try:
        logger.critical("a line")
    finally:
        plain.removeFilter(fail)
    assert not caplog.records


def test_no_module_logs_by_another_logger() -> None:
    """`logging.getLogger` has loggers whose errors would end the task that logs."""
    package = Path(engine.__file__).parent
    others = [path for path in package.rglob("*.py") if "getLogger" in path.read_text("utf-8")]
    assert [path.name for path in others] == ["logs.py"]


@needs_interrupts
@pytest.mark.parametrize("call", ["log", "isEnabledFor"])
def test_what_a_handler_of_a_signal_raises_is_not_swallowed(call: str) -> None:
    class Signalled(logging.Logger):
        def isEnabledFor(self, _level: int) -> bool:  # noqa: N802 - as in the class above
            signal.raise_signal(signal.SIGTERM)
            return True

    def stop(*_: object) -> None:
        raise StopError

    told: list[BaseException] = []
    signalled = TaskLogger("engine.testing")
    signalled.logger = Signalled("engine.testing")
    arguments = {"log": (logging.INFO, "a line"), "isEnabledFor": (logging.INFO,)}[call]
    former = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(StopError):
            getattr(signalled, call)(*arguments)
        context_of_tasks(told.append).run(getattr(signalled, call), *arguments)
    finally:
        signal.signal(signal.SIGTERM, former)
    assert [type(each) for each in told] == [StopError], "the engine's tasks go on"


class StopError(Exception):
    """A program's own."""
