"""The ready queue and the times: the next job, the next moment, and no memory of ended jobs."""

from __future__ import annotations

import random
from collections.abc import Collection, Sized
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from msgspec.structs import replace

from engine import AGENT_JOB_LIFECYCLE
from engine.owner.ready_queue import ReadyQueue
from engine.owner.times import JobTimes
from engine.storage.record import NO_EXECUTION, Execution, Record
from tests.tries import repeatable, report, seeds

TOKEN, DEAD = "alive", "dead"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


class Jobs:
    """Committed jobs, with their ready queue and times."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.times = JobTimes(AGENT_JOB_LIFECYCLE)
        self.queue = ReadyQueue(
            AGENT_JOB_LIFECYCLE, self.records.get, self.records.values, self.times.retries
        )
        self.earlier = 0
        self.times.on_earlier = self._count

    def _count(self) -> None:
        self.earlier += 1

    def add(self, position: int, status: str = "running", **execution: Any) -> str:  # noqa: ANN401
        """Commit a new job."""
        name = f"job-{position}"
        kept = Execution(**execution) if execution else NO_EXECUTION
        self.commit(Record(name, status, "hash", None, NOW, NOW, position, execution=kept))
        return name

    def commit(self, record: Record) -> None:
        if record.status in AGENT_JOB_LIFECYCLE.final_values:
            self.records.pop(record.job_id, None)
        else:
            self.records[record.job_id] = record
        self.queue.note(record)
        self.times.note(record)

    def work(self, name: str, **changes: Any) -> None:  # noqa: ANN401
        before = self.records[name]
        self.commit(before.with_execution(replace(before.execution, **changes)))

    def end(self, name: str) -> None:
        record = self.records[name]
        self.commit(record.moved("failed", NOW, 9, execution=record.execution))

    def ready(self, limit: int = 100, without: Collection[str] = ()) -> list[str]:
        changed = {name: self.records[name] for name in without}
        with closing(self.queue.in_order(changed)) as ready:
            return [record.job_id for record in islice(ready, limit)]

    def counts(self) -> tuple[int, int, int]:
        return *self.queue.counts(), len(self.times.retries)

    def expired(self, now: datetime, limit: int) -> list[str]:
        return self.times.deadlines.due(now, limit)


def test_ready_jobs_come_by_priority_and_then_by_age() -> None:
    jobs = Jobs()
    for position, priority in [(4, 0), (2, 5), (1, 0), (5, 5), (3, -1)]:
        jobs.add(position, "running", **({"priority": priority} if priority else {}))
    assert jobs.ready() == ["job-2", "job-5", "job-1", "job-4", "job-3"]
    assert jobs.ready(2) == ["job-2", "job-5"]
    assert jobs.ready(2) == ["job-2", "job-5"], "who looks takes nothing"
    assert jobs.ready(2, {"job-2", "job-1"}) == ["job-5", "job-4"]


def test_only_running_jobs_without_an_attempt_are_ready() -> None:
    jobs = Jobs()
    jobs.add(1, "awaiting_payment")
    jobs.add(2, "awaiting_input", prompt="{}")
    held = jobs.add(3, token=TOKEN)
    free = jobs.add(4)
    assert (jobs.ready(), jobs.counts()) == ([free], (1, 1, 0))
    jobs.work(held, token=None)
    jobs.work(free, token=TOKEN)
    assert (jobs.ready(), jobs.counts()) == ([held], (1, 1, 0))


def test_a_job_that_is_ready_again_is_ready_once() -> None:
    jobs = Jobs()
    name = jobs.add(1)
    for token in (TOKEN, None, TOKEN, None):  # with no look at the queue in between
        jobs.work(name, token=token)
    assert jobs.ready() == [name]
    assert jobs.ready() == [name]


def test_a_later_attempt_is_ready_when_its_time_has_come() -> None:
    jobs = Jobs()
    late, soon = jobs.add(1, retry_at=at(9)), jobs.add(2, retry_at=at(5))
    assert (jobs.times.earliest(), jobs.counts()) == (at(5), (0, 0, 2))
    for seconds, expected in [(4.9, []), (5, [soon]), (9, [late, soon])]:
        jobs.queue.advance(at(seconds))
        assert jobs.ready() == expected
    assert (jobs.times.earliest(), jobs.counts()) == (None, (2, 0, 0))


def test_deadlines_stay_until_the_job_has_moved_on() -> None:
    jobs = Jobs()
    one = jobs.add(1, "awaiting_payment", deadline_at=at(7))
    two = jobs.add(2, token=TOKEN, deadline_at=at(3))
    jobs.add(3, deadline_at=at(99))
    assert jobs.times.earliest() == at(3)
    assert jobs.expired(at(2.9), 10) == []
    for _ in range(2):
        assert jobs.expired(at(7), 10) == [two, one]
        assert jobs.expired(at(7), 1) == [two]
    jobs.end(two)
    assert jobs.expired(at(7), 10) == [one]
    jobs.work(one, deadline_at=None)
    assert (jobs.expired(at(7), 10), jobs.times.earliest()) == ([], at(99))


def test_it_tells_when_something_comes_earlier_than_all_that_was_known() -> None:
    jobs = Jobs()
    one = jobs.add(1, deadline_at=at(5))
    assert jobs.earlier == 1
    jobs.add(2, deadline_at=at(9))
    jobs.work(one, token=TOKEN)
    assert jobs.earlier == 1
    jobs.add(3, retry_at=at(4))
    assert jobs.earlier == 2


def test_it_tells_which_relative_times_began_after_the_present() -> None:
    jobs = Jobs()
    times = jobs.times
    assert (times.latest_begin(), times.begun_after(at(0), 9)) == (None, [])
    waiting = jobs.add(1, "awaiting_payment", deadline_at=at(9), deadline_since=at(1))
    resting = jobs.add(2, deadline_at=at(99), deadline_since=at(2))
    jobs.work(resting, retry_at=at(7), retry_since=at(4))
    jobs.add(3, deadline_at=at(50))
    assert times.latest_begin() == at(4)
    assert times.begun_after(at(0), 9) == [resting, waiting]
    assert times.begun_after(at(0), 1) == times.begun_after(at(1), 9) == [resting]
    assert times.begun_after(at(4), 9) == []
    jobs.work(resting, retry_at=None, retry_since=None)
    assert times.latest_begin() == at(2)
    jobs.end(resting)
    jobs.end(waiting)
    assert times.latest_begin() is None


def test_attempts_that_were_left_in_the_middle_are_ready_and_dead() -> None:
    jobs = Jobs()
    jobs.records["job-1"] = orphan = Record(
        *("job-1", "running", "hash", None, NOW, NOW, 1),
        execution=Execution(token=DEAD, attempt=1),
    )
    jobs.queue.add_orphan(orphan)
    jobs.queue.note(orphan)
    assert jobs.queue.is_orphan(orphan)
    assert (jobs.ready(), jobs.counts()) == (["job-1"], (1, 0, 0))
    jobs.work("job-1", token=TOKEN)
    assert not jobs.queue.is_orphan(jobs.records["job-1"])
    assert (jobs.ready(), jobs.counts()) == ([], (0, 1, 0))
    assert (jobs.queue.orphans, jobs.queue.orphaned) == ({}, 1)


def test_one_suspect_at_a_time_is_ready_among_all_others() -> None:
    jobs = Jobs()
    first, second, rests = (
        jobs.add(number, died_attempt=1, retry_at=retry_at)
        for number, retry_at in [(1, None), (2, None), (3, at(5))]
    )
    other, last = jobs.add(4), jobs.add(5)
    assert (jobs.ready(), jobs.counts()) == ([first, other, last], (3, 0, 1))
    jobs.work(first, token=TOKEN)
    assert (jobs.ready(), jobs.counts()) == ([other, last], (2, 1, 1))
    jobs.queue.advance(at(5))
    assert jobs.ready() == [other, last]
    jobs.work(first, token=None, died_attempt=None)  # it is cleared
    assert jobs.ready() == [first, second, other, last]
    jobs.work(second, token=TOKEN)
    ended = {second: jobs.records[second].moved("failed", NOW, 9)}
    with closing(jobs.queue.in_order(ended)) as ready:
        assert [record.job_id for record in ready] == [first, rests, other, last]
    jobs.end(second)
    assert (jobs.ready(), jobs.counts()) == ([first, rests, other, last], (4, 0, 0))


def _lines(jobs: Jobs) -> int:
    """Return the number of kept entries."""
    queue, retries, deadlines = jobs.queue, jobs.times.retries, jobs.times.deadlines
    begins = jobs.times._begins  # noqa: SLF001 - memory
    kept: list[Sized] = [retries, deadlines, retries._heap, deadlines._heap]  # noqa: SLF001
    for line in (queue._innocent, queue._suspects):  # noqa: SLF001 - memory
        kept += [line, line._heap]  # noqa: SLF001
    kept += [queue._held, queue._held_suspects]  # noqa: SLF001
    kept += [begins, begins._heap]  # noqa: SLF001 - memory
    return sum(map(len, kept))


def test_it_keeps_nothing_of_jobs_that_end_unclaimed() -> None:
    jobs = Jobs()
    first = jobs.add(20_001, deadline_at=at(-2), priority=9)  # ahead of all others
    later = jobs.add(20_002, retry_at=at(-1))
    for number in range(20_000):
        retry_at = at(number) if number % 2 else None
        name = jobs.add(number, deadline_at=at(number), retry_at=retry_at)
        jobs.work(name, deadline_since=at(number - 1))
        jobs.end(name)
        jobs.end(jobs.add(number))
    assert jobs.counts() == (1, 0, 1)
    assert _lines(jobs) <= 4 * 1_010
    jobs.end(first)
    jobs.end(later)
    assert jobs.counts() == (0, 0, 0)
    assert jobs.times.earliest() is None


def test_it_agrees_with_a_look_at_all_jobs() -> None:
    """Compare with the simplest implementation, in random order."""
    claims = 0
    for seed in seeds(1_000):
        draw, jobs, now = random.Random(seed), Jobs(), 0
        with repeatable(seed, "ready queue"):
            for step in range(60):
                _change(draw, jobs, step, now)
                now += draw.randrange(3)
                jobs.queue.advance(at(now))
                limit = draw.randrange(1, 9)
                assert jobs.ready(limit) == _ready(jobs, now)[:limit]
                assert jobs.expired(at(now), 99) == _expired(jobs, now)
                claims += len(jobs.ready())
    report(f"ready queue: {claims} ready jobs seen")
    assert claims > len(seeds(1_000)) * 60


def _change(draw: random.Random, jobs: Jobs, step: int, now: int) -> None:
    if not jobs.records or draw.random() < 0.4:
        deadline = at(now + draw.randrange(9)) if draw.random() < 0.5 else None
        jobs.add(step, priority=draw.randrange(3), deadline_at=deadline)
        return
    name = draw.choice(list(jobs.records))
    work = jobs.records[name].execution
    if draw.random() < 0.2:
        jobs.end(name)
    elif work.token is None and (work.retry_at is None or work.retry_at <= at(now)):
        jobs.work(name, token=TOKEN, retry_at=None)
    elif work.token is not None:
        jobs.work(name, token=None, retry_at=at(now + draw.randrange(-1, 5)))


def _ready(jobs: Jobs, now: int) -> list[str]:
    works = {name: record.execution for name, record in jobs.records.items()}
    ready = [
        (-work.priority, jobs.records[name].position, name)
        for name, work in works.items()
        if work.token is None and (work.retry_at is None or work.retry_at <= at(now))
    ]
    return [name for _, _, name in sorted(ready)]


def _expired(jobs: Jobs, now: int) -> list[str]:
    times = [(record.execution.deadline_at, name) for name, record in jobs.records.items()]
    return [name for time, name in sorted((t, n) for t, n in times if t and t <= at(now))]


def test_a_queue_that_is_filled_late_has_what_it_would_have_had() -> None:
    jobs = Jobs()
    jobs.records["plain"] = Record("plain", "running", "hash", None, NOW, NOW, 1)  # not noted
    due = jobs.add(2, retry_at=at(1), retry_since=NOW)
    jobs.queue.advance(at(2))
    assert not jobs.queue.is_filled
    assert jobs.counts() == (2, 0, 0)
    assert jobs.ready() == ["plain", due]
    jobs.end(due)
    jobs.queue.fill()
    assert jobs.counts() == (1, 0, 0)
