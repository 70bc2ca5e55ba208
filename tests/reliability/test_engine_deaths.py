"""Engines that die beside others: killed, stopped for longer than their lease, and blocked.

Each is a process of its own, all over one database. What an engine has acknowledged stays, its jobs
are run again by another one, and each ends once. A stopped engine learns on waking that it is dead:
its batch is refused, its handlers are stopped, and it crashes with a named error. An engine whose
event loop is blocked lives on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.reliability.programs.zygote import program
from tests.reliability.shared_jobs import SharedJobs
from tests.systems import needs_fork
from tests.tries import thorough

pytestmark = needs_fork

SECONDS = 60
JOBS = 20


class Engine:
    """An engine in a process of its own.

    Attributes:
        name: The engine's name.
        told: The ids of the jobs that it has acknowledged, by their inputs.
        said: All lines of it.
    """

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.told: dict[str, str] = {}
        self.said: list[list[Any]] = []
        self._process = process

    def until(self, kind: str, times: int = 1) -> list[list[Any]]:
        """Read its lines until it has said something as often; return the values of these."""
        assert self._process.stdout is not None
        while len(found := self._values(kind)) < times:
            line = self._process.stdout.readline()
            assert line, f"{self.name} has ended, and said {self.said}"
            self._hear(json.loads(line))
        return found

    def _values(self, kind: str) -> list[list[Any]]:
        return [values for said, *values in self.said if said == kind]

    def _hear(self, line: list[Any]) -> None:
        self.said.append(line)
        if line[0] == "told":
            _, text, job_id = line
            self.told[text] = job_id

    def open(self) -> None:
        """Open it, and wait for that."""
        self._order("open")
        self.until("opened")

    def create(self, *inputs: str) -> None:
        """Let it create jobs."""
        self._order("create", inputs)

    def _order(self, *order: object) -> None:
        assert self._process.stdin is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)

    def end(self) -> None:
        """Let it close, and read its last lines."""
        self._order("end")
        self.wait()

    def kill(self) -> None:
        """Kill it, and read its last lines."""
        self._process.kill()
        self.wait()

    def wait(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._hear(json.loads(line))
        self._process.wait(SECONDS)

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)


@contextmanager
def engine(url: str, name: str, backend: str) -> Iterator[Engine]:
    """Start the process of an engine; kill it at the end."""
    with program("sharing", url, name, backend) as process:
        try:
            yield Engine(name, process)
        finally:
            process.kill()


@pytest.fixture
def jobs(postgres_url: str) -> Iterator[SharedJobs]:
    jobs = SharedJobs(postgres_url)
    yield jobs
    jobs.close()


def until(is_so: Callable[[], object]) -> None:
    """Wait until the database says so."""
    end = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


backends = pytest.mark.parametrize("backend", ["asyncio", *thorough("trio")])


@backends
def test_the_jobs_of_a_killed_engine_are_run_by_another_one(
    postgres_url: str, jobs: SharedJobs, backend: str
) -> None:
    with engine(postgres_url, "A", backend) as dead, engine(postgres_url, "B", backend) as living:
        dead.open()
        dead.create("waits for A")
        dead.until("begun")
        living.open()
        dead.create(*map(str, range(JOBS)))
        dead.until("told", JOBS + 1)
        dead.kill()
        until(lambda: "A" not in jobs.engines())
        until(lambda: not jobs.unfinished())
        living.end()
    assert living.said[-1] == ["closed"]
    assert [*jobs.problems(dead.told)] == []
    assert "B by attempt 2" in {result for _, result, *_ in jobs.completed()}
    assert jobs.engines() == {}


@pytest.mark.thorough
@backends
def test_a_stopped_engine_learns_on_waking_that_it_is_dead(
    postgres_url: str, jobs: SharedJobs, backend: str
) -> None:
    with engine(postgres_url, "A", backend) as stopped, engine(postgres_url, "B", backend) as other:
        stopped.open()
        stopped.create("waits for A")
        [[job_id, _]] = stopped.until("begun")
        other.open()
        stopped.send(signal.SIGSTOP)
        until(lambda: "A" not in jobs.engines())
        deaths = {"A": jobs.newest_sequence()}
        stopped.create("late")
        stopped.send(signal.SIGCONT)
        [[kind, text]] = stopped.until("crashed")
        assert stopped.until("stopped") == [[job_id]]
        stopped.end()
        assert kind == "LeaseLostError"
        assert "took this one for dead" in text
        assert ["closed"] not in stopped.said
        assert "late" not in stopped.told
        until(lambda: not jobs.unfinished())
        other.end()
    assert [*jobs.problems(stopped.told, ["late"], deaths)] == []
    assert [result for _, result, *_ in jobs.completed()] == ["B by attempt 2"]


@pytest.mark.thorough
@backends
def test_an_engine_whose_event_loop_is_blocked_lives_on(
    postgres_url: str, jobs: SharedJobs, backend: str
) -> None:
    with engine(postgres_url, "A", backend) as blocked, engine(postgres_url, "B", backend) as other:
        blocked.open()
        blocked.create("blocks for A")
        blocked.until("begun")
        other.open()
        until(lambda: not jobs.unfinished())
        assert jobs.engines() == {"A": False, "B": False}
        blocked.end()
        other.end()
    assert [result for _, result, *_ in jobs.completed()] == ["A by attempt 1"]
    assert [*jobs.problems(blocked.told)] == []
    assert jobs.engines() == {}
