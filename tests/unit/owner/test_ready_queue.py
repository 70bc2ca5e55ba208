"""The ready queue and the times: the next job, the next moment, and no memory of ended jobs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sized
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from engine import AGENT_JOB_LIFECYCLE, Retry
from engine.domain.deaths import DeathRule
from engine.owner.free_places import FreePlaces, KindPlaces
from engine.owner.ready_queue import ReadyQueue
from engine.owner.times import JobTimes
from engine.storage.record import NO_EXECUTION, Execution, Record
from tests.tries import repeatable, report, seeds

KINDS = ("default", "a", "b")
TOKEN, DEAD = "alive", "dead"
RULE = DeathRule(3, idempotent=True, retry=Retry())
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def places_of(free: int = 100, **kinds: int) -> FreePlaces:
    """Return the free places of a worker, of all its kinds and of each."""
    return FreePlaces(free, {kind: KindPlaces(each, RULE) for kind, each in kinds.items()})


class Jobs:
    """Committed jobs, with their ready queue and times."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.times = JobTimes(AGENT_JOB_LIFECYCLE)
        self.queue = ReadyQueue(
            AGENT_JOB_LIFECYCLE, self.records.get, self.records.values, self.times
        )
        self.earlier = 0
        self.times.on_earlier = self._count

    def _count(self) -> None:
        self.earlier += 1

    def add(
        self,
        position: int,
        status: str = "running",
        *,
        kind: str = "default",
        **execution: Any,  # noqa: ANN401
    ) -> str:
        """Commit a new job."""
        name = f"job-{position}"
        kept = Execution(**execution) if execution else NO_EXECUTION
        self.commit(
            Record(name, status, "hash", None, NOW, NOW, position, execution=kept, kind=kind)
        )
        return name

    def add_all(self, kinds: str) -> None:
        """Commit a new job for each letter, which is its kind."""
        for position, kind in enumerate(kinds, start=len(self.records) + 1):
            self.add(position, kind=kind)

    def claim(self, places: FreePlaces) -> str:
        """Claim jobs; return their kinds, of one letter each, in their order."""
        claimed = self.queue.offer({}).take(places)
        for record in claimed:
            self.work(record.job_id, token=TOKEN)
        return "".join(record.kind for record in claimed)

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
        return self.offered(places_of(default=limit), changed)

    def offered(self, places: FreePlaces, changed: Mapping[str, Record]) -> list[str]:
        """Return the jobs for a claim with these places."""
        return [record.job_id for record in self.queue.offer(changed).take(places)]

    def counts(self) -> tuple[int, int, int]:
        ready, running, *_ = self.queue.counts()
        return ready, running, len(self.times.retries)

    def expired(self, now: datetime, limit: int) -> list[str]:
        return self.times.deadlines.due(now, limit)


def test_ready_jobs_come_by_priority_and_then_by_age() -> None:
    jobs = Jobs()
    for position, priority in [(4, 0), (2, 5), (1, 0), (5, 5), (3, -1)]:
        execution: dict[str, Any] = {"priority": priority} if priority else {}
        jobs.add(position, "running", **execution)
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
    jobs.queue.orphans.add(orphan)
    jobs.queue.note(orphan)
    assert jobs.queue.orphans.has(orphan)
    assert (jobs.ready(), jobs.counts()) == (["job-1"], (1, 0, 0))
    jobs.work("job-1", token=TOKEN)
    assert not jobs.queue.orphans.has(jobs.records["job-1"])
    assert (jobs.ready(), jobs.counts()) == ([], (0, 1, 0))
    assert not jobs.queue.orphans
    assert jobs.queue.orphans.died_alone(orphan)


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
    assert jobs.offered(places_of(default=9), ended) == [first, rests, other, last]
    jobs.end(second)
    assert (jobs.ready(), jobs.counts()) == ([first, rests, other, last], (4, 0, 0))


def test_free_places_go_round_robin_over_the_kinds() -> None:
    jobs = Jobs()
    jobs.add_all("aaaaaaabbc")
    assert jobs.claim(places_of(5, a=9, b=9, c=9)) == "abcab"
    assert jobs.claim(places_of(9, a=9, b=9, c=9)) == "aaaaa"


def test_the_turn_goes_on_from_claim_to_claim() -> None:
    jobs = Jobs()
    jobs.add_all("aaabbbccc")
    one = places_of(1, a=9, b=9, c=9)
    assert "".join(jobs.claim(one) for _ in range(4)) == "abca"
    one.free = 3
    assert jobs.claim(one) == "bca"


def test_a_kind_that_was_served_alone_has_had_its_turn() -> None:
    jobs = Jobs()
    jobs.add_all("aab")
    both = places_of(1, a=9, b=9)
    assert jobs.claim(both) + jobs.claim(both) == "ab"
    assert jobs.claim(both) == "a"
    jobs.add_all("ab")
    assert jobs.claim(both) == "b"


def test_a_kind_gets_no_more_than_its_free_places() -> None:
    jobs = Jobs()
    jobs.add_all("aaaabbbb")
    assert jobs.claim(places_of(9, a=1, b=3, c=9)) == "abbb"
    assert jobs.claim(places_of(9, a=0, b=0)) == ""
    assert jobs.claim(places_of(9, b=9)) == "b"


def test_within_a_kind_the_priority_counts_and_between_kinds_it_does_not() -> None:
    jobs = Jobs()
    for position, (kind, priority) in enumerate([("a", 0), ("a", 9), ("b", 1), ("b", 5)]):
        jobs.add(position, kind=kind, priority=priority)
    places = places_of(9, b=9, a=9)
    assert jobs.offered(places, {}) == ["job-3", "job-1", "job-2", "job-0"]


def test_the_claims_of_a_round_share_what_is_ready() -> None:
    jobs = Jobs()
    jobs.add_all("aaabb")
    offer = jobs.queue.offer({})
    for places, expected in [(places_of(2, a=9), [1, 2]), (places_of(9, a=9, b=1), [3, 4])]:
        assert [record.position for record in offer.take(places)] == expected


def test_fresh_jobs_stand_among_those_of_their_kind() -> None:
    jobs = Jobs()
    jobs.add_all("aab")
    fresh = [
        Record("new", "running", "hash", None, NOW, NOW, 7, kind="b"),
        Record("new c", "running", "hash", None, NOW, NOW, 8, kind="c"),
    ]
    offer = jobs.queue.offer({each.job_id: each for each in fresh}, fresh)
    found = [record.job_id for record in offer.take(places_of(9, a=9, b=9, c=9, d=9))]
    assert found == ["job-1", "job-3", "new c", "job-2", "new"]


def test_one_suspect_at_a_time_is_ready_over_all_kinds() -> None:
    jobs = Jobs()
    for position, kind in enumerate("abab", start=1):
        jobs.add(position, kind=kind, died_attempt=1)
    jobs.add(5, kind="b")
    both = places_of(9, a=9, b=9)
    assert jobs.offered(places_of(9, b=9), {}) == ["job-2", "job-5"]
    assert jobs.claim(both) == "ab"
    assert jobs.queue.counts() == (0, 2, 0, 0)
    assert jobs.claim(both) == ""
    jobs.work("job-1", token=None, died_attempt=None)
    assert jobs.queue.counts() == (2, 1, 2, 0)
    assert sorted(jobs.claim(both)) == ["a", "b"]


def test_it_keeps_nothing_of_a_kind_without_ready_jobs() -> None:
    jobs = Jobs()
    for position in range(1_000):
        jobs.end(jobs.add(position, kind=f"kind-{position}"))
    assert _lines(jobs) <= 2 * 1_010
    assert not jobs.queue._innocent.keys()  # noqa: SLF001 - memory


def _lines(jobs: Jobs) -> int:
    """Return the number of kept entries."""
    queue, retries, deadlines = jobs.queue, jobs.times.retries, jobs.times.deadlines
    begins = jobs.times._begins  # noqa: SLF001 - memory
    kept: list[Sized] = [retries, deadlines, retries._heap, deadlines._heap]  # noqa: SLF001
    ranked = [*queue._innocent.values(), *queue._suspects.values()]  # noqa: SLF001 - memory
    kept += [queue._held, queue._held_suspects]  # noqa: SLF001
    kept += [begins, begins._heap]  # noqa: SLF001 - memory
    return sum(map(len, kept)) + sum(len(each) + each.lines for each in ranked)


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
                for kind in KINDS:
                    places = places_of(limit, **{kind: 9})
                    assert jobs.offered(places, {}) == _ready(jobs, now, kind)[:limit]
                _check_turns(draw, jobs, now)
                assert jobs.expired(at(now), 99) == _expired(jobs, now)
                claims += len(_ready(jobs, now))
    report(f"ready queue: {claims} ready jobs seen")
    assert claims > len(seeds(1_000)) * 60


def _change(draw: random.Random, jobs: Jobs, step: int, now: int) -> None:
    if not jobs.records or draw.random() < 0.4:
        deadline = at(now + draw.randrange(9)) if draw.random() < 0.5 else None
        kind = draw.choice(KINDS)
        jobs.add(step, kind=kind, priority=draw.randrange(3), deadline_at=deadline)
        return
    name = draw.choice(list(jobs.records))
    work = jobs.records[name].execution
    if draw.random() < 0.2:
        jobs.end(name)
    elif work.token is None and (work.retry_at is None or work.retry_at <= at(now)):
        jobs.work(name, token=TOKEN, retry_at=None)
    elif work.token is not None:
        jobs.work(name, token=None, retry_at=at(now + draw.randrange(-1, 5)))


def _check_turns(draw: random.Random, jobs: Jobs, now: int) -> None:
    """Check that a claim takes equally of each kind, as far as it has jobs and free places."""
    free, caps = draw.randrange(1, 9), {kind: draw.randrange(4) for kind in KINDS}
    found = jobs.offered(places_of(free, **caps), {})
    most = {kind: min(cap, len(_ready(jobs, now, kind))) for kind, cap in caps.items()}
    assert len(found) == min(free, sum(most.values()))
    taken = Counter(jobs.records[name].kind for name in found)
    for kind in KINDS:
        assert taken[kind] == most[kind] or taken[kind] >= max(taken.values()) - 1


def _ready(jobs: Jobs, now: int, *kinds: str) -> list[str]:
    works = {
        name: record.execution
        for name, record in jobs.records.items()
        if record.kind in (kinds or KINDS)
    }
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
