"""Engines that die beside others: killed, stopped for longer than their lease, and blocked.

Each is a process of its own, all over one database. What an engine has acknowledged stays, its jobs
are run again by another one, and each ends once. A stopped engine learns on waking that it is dead:
its batch is refused, its handlers are stopped, and it crashes with a named error. An engine whose
event loop is blocked lives on.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from random import Random

import pytest

from tests.reliability.engine_process import EngineProcess, engine, until
from tests.reliability.programs.zygote import Life, zygote
from tests.reliability.shared_jobs import SharedJobs
from tests.systems import needs_fork
from tests.tries import report, seeded, thorough, tries

pytestmark = needs_fork

FULL_KILLS = 300
FULL_STOPS = 100
JOBS = 20
LANES = 2
MOST_SECONDS_OF_A_LIFE = 0.3
STOPPED_AT_ONCE = 3


backends = pytest.mark.parametrize("backend", ["asyncio", *thorough("trio")])


def told(engines: Iterable[EngineProcess]) -> dict[str, str]:
    """Return the ids of the jobs that were acknowledged, by their inputs."""
    return {text: job_id for each in engines for text, job_id in each.values("told")}


def refused(engines: Iterable[EngineProcess]) -> list[str]:
    return [text for each in engines for [text] in each.values("refused")]


def let_wait(engine: EngineProcess) -> None:
    """Create jobs until the engine itself has claimed one, whose handler waits."""
    for number in count(1):
        engine.create(f"waits for {engine.name} {number}")
        engine.until("told", number)
        if engine.values("waits"):
            return
        time.sleep(0.02)


@backends
def test_the_jobs_of_a_killed_engine_are_run_by_another_one(
    postgres_url: str, jobs: SharedJobs, backend: str
) -> None:
    with engine(postgres_url, "A", backend) as dead, engine(postgres_url, "B", backend) as living:
        dead.open()
        let_wait(dead)
        living.open()
        # A second is too short for a thread that gets no turn on a busy machine.
        jobs.execute("UPDATE engine.engines SET lease_seconds = 1000")
        dead.create(*map(str, range(JOBS)))
        dead.until("told", JOBS)
        dead.kill()
        jobs.execute("UPDATE engine.engines SET lease_seconds = 1 WHERE name = 'A'")
        until(lambda: "A" not in jobs.engines())
        until(lambda: not jobs.unfinished())
        living.end()
    assert living.said[-1] == ["closed"]
    assert [*jobs.problems(told([dead]))] == []
    assert "B by attempt 2" in {result for _, result, *_ in jobs.completed()}
    assert jobs.engines() == {}


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
    assert [*jobs.problems(told([blocked]))] == []
    assert jobs.engines() == {}


@pytest.mark.thorough
@backends
def test_stopped_engines_learn_on_waking_that_they_are_dead(
    postgres_url: str, jobs: SharedJobs, backend: str
) -> None:
    random = seeded(f"stopped engines, {backend}")
    stops, deaths = 0, dict[str, int]()
    all_of: list[EngineProcess] = []
    with engine(postgres_url, "living", backend) as living:
        living.open()
        while stops < tries(FULL_STOPS):
            with ExitStack() as stack:
                names = [f"{stops + each}" for each in range(STOPPED_AT_ONCE)]
                stopped = [
                    stack.enter_context(engine(postgres_url, name, backend)) for name in names
                ]
                stop(stopped, jobs, random, deaths)
            stops += len(stopped)
            all_of += stopped
        until(lambda: not jobs.unfinished())
        living.end()
    assert [*jobs.problems(told(all_of), refused(all_of), deaths)] == []
    died = sum(attempt > 1 for *_, attempt, _ in jobs.completed())
    report(f"{stops} stops, {len(told(all_of))} jobs, {died} of them with attempts that died")
    assert died >= stops


def stop(
    stopped: Sequence[EngineProcess], jobs: SharedJobs, random: Random, deaths: dict[str, int]
) -> None:
    """Stop engines at work until the others take them for dead; let them wake, and crash."""
    for each in stopped:
        each.open()
        let_wait(each)
        each.create(*(f"{each.name} {number}" for number in range(JOBS)))
    time.sleep(random.uniform(0, 0.05))  # a moment of their work
    for each in stopped:
        each.send(signal.SIGSTOP)
    until(lambda: jobs.engines().keys() == {"living"})
    newest = jobs.newest_sequence()
    for each in stopped:
        deaths[each.name] = newest
        each.create(f"late {each.name}")
        each.send(signal.SIGCONT)
    for each in stopped:
        [[kind, text]] = each.until("crashed")
        assert kind == "LeaseLostError"
        assert "took this one for dead" in text
        each.until("stopped")
        each.end()
        assert f"late {each.name}" not in told([each])
        assert ["closed"] not in each.said


@pytest.mark.thorough
@backends
def test_what_killed_engines_have_acknowledged_stays_and_each_job_ends_once(
    postgres_url: str, jobs: SharedJobs, backend: str
) -> None:
    kills = tries(FULL_KILLS, least=10)
    with engine(postgres_url, "living", backend) as living, ThreadPoolExecutor(LANES) as pool:
        living.open()
        lanes = [pool.submit(kill, postgres_url, n, kills // LANES, backend) for n in range(LANES)]
        said = [line for lane in lanes for life in lane.result() for line in life.said]
        until(lambda: jobs.engines().keys() == {"living"})
        until(lambda: not jobs.unfinished())
        living.end()
    acknowledged = {line[1]: line[2] for line in said if line[0] == "told"}
    not_applied = [line[1] for line in said if line[0] == "refused"]
    assert [*jobs.problems(acknowledged, not_applied)] == []
    begun = Counter((line[1], line[2]) for line in [*said, *living.said] if line[0] == "begun")
    assert max(begun.values()) == 1, "two engines began the same attempt"
    died = sum(attempt > 1 for *_, attempt, _ in jobs.completed())
    report(f"{kills} kills, {len(acknowledged)} jobs, {died} of them with attempts that died")
    assert died > kills / 2


def kill(url: str, lane: int, kills: int, backend: str) -> list[Life]:
    """Kill one engine after the other, each after a moment of its work."""
    random = seeded(f"killed engines, {backend}, lane {lane}")
    lives = []
    with zygote("sharing") as children:
        for number in range(kills):
            order = {"url": url, "name": f"{lane} {number}", "backend": backend}
            seconds = random.uniform(0, MOST_SECONDS_OF_A_LIFE)
            lives.append(children.child(order, seconds, counted_from=["opened"]))
            assert lives[-1].status == -signal.SIGKILL
    return lives
