"""Checks for gates, and the warnings of gates."""

import logging
from collections.abc import Awaitable, Iterable
from typing import Any

import pytest

from engine import Job, WaitingJobs
from engine.testing import VirtualClock


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the records that the test itself logged, as warnings or worse."""
    records = caplog.get_records("call")
    return [record.getMessage() for record in records if record.levelno > logging.INFO]


class Asked:
    """A check with planned answers, which records the times and jobs of its calls."""

    def __init__(self, clock: VirtualClock, *answers: object) -> None:
        self._clock = clock
        self._start = clock()
        self.answers = list(answers)  # errors are raised, functions are called; the last one stays
        self.seconds: list[float] = []
        self.jobs: list[list[str]] = []

    async def __call__(self, jobs: WaitingJobs[Any]) -> Any:  # noqa: ANN401 - wrong types, too
        self.seconds.append((self._clock() - self._start).total_seconds())
        self.jobs.append([job.job_id for job in jobs])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        if callable(answer):
            answer = answer(jobs)
        return await answer if isinstance(answer, Awaitable) else answer

    def pauses(self) -> list[float]:
        return [after - at for at, after in zip(self.seconds, self.seconds[1:], strict=False)]


async def nobody(_jobs: WaitingJobs[Any]) -> list[str]:
    return []


async def everybody(jobs: WaitingJobs[Any]) -> Iterable[Job[Any]]:
    return jobs
