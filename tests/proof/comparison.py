"""Compare the engine with the model: a machine of Hypothesis calls both in the same way.

It calls the awaited facade in a portal's event loop, and the blocking one directly. It sets the
clock and the ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any, TypeAlias

import hypothesis
from anyio.from_thread import start_blocking_portal
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from engine import JobPage, Lifecycle, Move, NewJob, Storage
from tests.tries import first_seed

from .following import RULES, Following
from .machine import BY, START, plain, single

MakeStorage: TypeAlias = Callable[[], Storage]
Drawn: TypeAlias = tuple[int, bool, int, str, str | None, str | None, str | None]

FACADES = ["asyncio", "trio", "threads"]

NEW_JOBS = st.builds(
    NewJob,
    st.sampled_from(["h1", "h1", "h1", "h2", "h2", ""]),
    kind=st.sampled_from(["default", "default", "default", "report"]),
    payment_id=st.sampled_from([None, None, None, "p1", "p2", "p3"]),
    idempotency_key=st.sampled_from([None, None, "k1", "k2", "k3"]),
    labels=st.sampled_from([None, None, {"customer": "c17"}, {"customer": "c17", "of": "eu"}]),
    start=st.booleans(),
    by=st.sampled_from([None, "the shop"]),
)
# The status by its number, and the other arguments of a listing.
WHICH = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["default", "report"]),
        "labels": st.sampled_from(
            [{"customer": "c17"}, {"customer": "c17", "of": "eu"}, {"of": "c17"}]
        ),
        "created_after": st.sampled_from([START, START + timedelta(seconds=3_600)]),
        "created_before": st.sampled_from(
            [START + timedelta(seconds=1), START + timedelta(days=9)]
        ),
        "input_hash": st.sampled_from(["h1", "h2"]),
        "follow_ups": st.sampled_from([False, False, True]),
    },
)
# The job, whether to draw a legal target, the target, the outcome, the version, the status before
# it, and who moves it.
MOVES = st.tuples(
    st.integers(-1, 9),
    st.sampled_from([True, True, True, False]),
    st.integers(0, 7),
    st.sampled_from(["none", "none", "fitting", "fitting", "wrong"]),
    st.sampled_from([None, None, "current", "wrong"]),
    st.sampled_from([None, None, "current", "wrong"]),
    st.sampled_from([None, None, "us"]),
)
# The job, its payment, and who starts it.
STARTS = st.tuples(
    st.sampled_from([None, -1, 0, 0, 1, 1, 2, 3]),
    st.sampled_from(
        [None, "p1", "p2", "p3", "payment", "its own", "its default", "mock_bc_nobody"]
    ),
    st.sampled_from([None, None, "the bank"]),
)


class Comparison(Following):
    """An engine and the model, called in the same way."""

    def move(self, drawn: Drawn) -> Move[Any]:
        number, legal, to, outcome_kind, version_kind, status_kind, by = drawn
        job = self.model.state.jobs.get(self.job_id(number))
        statuses = list(self.lifecycle.moves)
        if legal and job and (allowed := self.lifecycle.moves[job["status"]]):
            statuses = [status for status in statuses if status in allowed]
        target = statuses[to % len(statuses)]
        good, bad = target in self.lifecycle.success, target in self.lifecycle.failure
        wrong = outcome_kind == "wrong"
        told = outcome_kind != "none"
        version = job["version"] if job else 1
        status = job["status"] if job else target
        other = next(each for each in self.lifecycle.moves if each is not status)
        return Move(
            self.job_id(number),
            target,
            result="done" if told and good != wrong else None,
            error="broken" if told and bad != wrong else None,
            expected_version={None: None, "current": version}.get(version_kind, version + 1),
            expected_status={None: None, "current": status}.get(status_kind, other),
            by=by,
            reason=by and f"{by} said so",
        )

    @initialize(drawn=RULES)
    def begin_with_some_jobs(self, drawn: list[dict[str, Any]]) -> None:
        self.open_with_rules([{"kind": "settle", "to": "ends"}])
        self.open_with_rules(drawn)
        self.create_many(
            [
                NewJob("h1"),
                NewJob("h1", idempotency_key="k1", kind="report", labels={"customer": "c17"}),
                NewJob("h2", payment_id="payment", idempotency_key="k2"),
                NewJob("h2", labels={"customer": "c17", "of": "eu"}),
            ]
        )
        self.turn_a_page_that_was_held(1)

    @rule(new=NEW_JOBS)
    def create(self, new: NewJob) -> None:
        before = self.model.state.changes
        how = {
            name: getattr(new, name)
            for name in ("kind", "payment_id", "idempotency_key", "labels", "start", "by")
        }
        answer = self.compare(
            "create",
            lambda: self.call("create", new.input_hash, **how),
            lambda: single(lambda: self.model.create_many([new], self.given, self.now)),
        )
        self.seen["replay"] += "raised" not in answer and self.model.state.changes == before

    @rule(number=st.integers(0, 9))
    def create_again(self, number: int) -> None:
        with_keys = [job for job in self.model.state.jobs.values() if job["idempotency_key"]]
        if with_keys:
            job = with_keys[number % len(with_keys)]
            fields = {name: job[name] for name in ("kind", "payment_id", "idempotency_key")}
            self.create(NewJob(job["input_hash"], **fields))

    @rule(number=st.integers(0, 9))
    def create_with_a_taken_id(self, number: int) -> None:
        job = self.model.state.jobs.get(self.job_id(number))
        # An id source may not return derived ids.
        if job and job["repeat_of"] is None and job["parent_id"] is None:
            self.forced = [job["job_id"]]
            self.create(NewJob("h1"))

    @rule(jobs=st.lists(NEW_JOBS, max_size=4))
    def create_many(self, jobs: list[NewJob]) -> None:
        self.compare(
            "create_many",
            lambda: self.call("create_many", jobs),
            lambda: self.model.create_many(jobs, self.given, self.now),
        )

    @rule(drawn=MOVES)
    def transition(self, drawn: Drawn) -> None:
        self.make(self.move(drawn))

    @rule(drawn=STARTS)
    def start(self, drawn: tuple[int | None, str | None, str | None]) -> None:
        number, payment, by = drawn
        job_id = None if number is None else self.job_id(number)
        job = self.model.state.jobs.get(job_id or "")
        if payment == "its own":
            payment = job["payment_id"] if job else None
        elif payment == "its default":
            payment = f"mock_bc_{job_id or self.job_id(0)}"
        if job_id is None and payment is None:
            return
        answer = self.compare_act(
            "start",
            by,
            lambda: self.call("start", job_id, payment_id=payment, by=by),
            lambda: self.model.start(job_id, payment, by, None, self.now),
        )
        assert isinstance(answer, dict)
        self.seen["first start"] += answer.get("first") is True
        self.seen["further start"] += answer.get("first") is False

    @rule(number=st.integers(0, 3), first=st.integers(1, 3), second=st.integers(1, 3))
    def pay_twice(self, number: int, first: int, second: int) -> None:
        for payment in (first, second, first):
            self.start((number, f"p{payment}", None))

    @rule(number=st.integers(-1, 9), by=BY)
    def retry(self, number: int, by: str | None) -> None:
        job_id = self.job_id(number)
        self.compare_act(
            "retry",
            by,
            lambda: self.call("retry", job_id, by=by),
            lambda: self.model.retry(job_id, by, self.now),
        )

    @rule(number=st.integers(-1, 9), by=BY)
    def repeat(self, number: int, by: str | None) -> None:
        job_id, before = self.job_id(number), self.model.state.changes
        answer = self.compare_act(
            "repeat",
            by,
            lambda: self.call("repeat", job_id, by=by),
            lambda: self.model.repeat(job_id, by, self.now),
        )
        assert isinstance(answer, dict)
        is_new = self.model.state.changes > before
        self.seen["repeated"] += is_new
        self.seen["repeated before"] += "raised" not in answer and not is_new

    @rule(number=st.integers(0, 3))
    def end_and_be_repeated(self, number: int) -> None:
        self.run_to_its_end(number, well=False)
        for _ in range(2):
            self.repeat(number, by=None)

    @rule(number=st.integers(0, 3))
    def need_attention_and_be_retried(self, number: int) -> None:
        job_id, attention = self.job_id(number), self.lifecycle.exhausted_to
        if attention is not None:
            self.make(Move(job_id, self.lifecycle.running))
            self.make(Move(job_id, attention))
        before = self.model.state.changes
        self.retry(number, by="Ada")
        self.seen["retried"] += self.model.state.changes > before

    @rule(number=st.integers(-1, 9), reason=st.sampled_from([None, "x"]), by=BY)
    def cancel(self, number: int, reason: str | None, by: str | None) -> None:
        job = self.model.state.jobs.get(self.job_id(number))
        if (
            job
            and self.lifecycle.moves[job["status"]]
            and job["status"] not in self.lifecycle.cancels_to
        ):
            return
        job_id = self.job_id(number)
        self.compare_act(
            "cancel",
            by,
            lambda: self.call("cancel", job_id, reason, by=by),
            lambda: self.model.cancel(job_id, reason, by, self.now),
        )

    @rule(drawn=st.lists(MOVES, max_size=4))
    def transition_many(self, drawn: list[Drawn]) -> None:
        moves = [self.move(each) for each in drawn]
        answer = self.compare(
            "transition_many",
            lambda: self.call("transition_many", moves),
            lambda: self.model.transition_many(moves, self.now),
        )
        moved = moves if isinstance(answer, list) else []
        self.compare_audit([("move", each.by, each.job_id) for each in moved if each.by])

    @rule(numbers=st.lists(st.integers(-1, 30), min_size=1, max_size=4))
    def get(self, numbers: list[int]) -> None:
        ids = [self.job_id(number) for number in numbers]
        self.compare(
            "get_many", lambda: self.call("get_many", ids), lambda: self.model.get_many(ids)
        )
        self.compare(
            "get",
            lambda: self.call("get", ids[0]),
            lambda: single(lambda: self.model.get_many(ids[:1])),
        )

    @rule(number=st.integers(-1, 9))
    def history(self, number: int) -> None:
        job_id = self.job_id(number)
        self.compare(
            "history", lambda: self.call("history", job_id), lambda: self.model.history(job_id)
        )

    @rule(
        number=st.integers(0, 5), which=WHICH, limit=st.integers(1, 4), newest_first=st.booleans()
    )
    def walk_all_pages(
        self,
        number: int,
        which: dict[str, Any],
        limit: int,
        newest_first: bool,  # noqa: FBT001 - Hypothesis's
    ) -> None:
        status = [None, *self.lifecycle.moves][number % (1 + len(self.lifecycle.moves))]
        left = self.model.jobs(status, **which)
        assert self.call("count", status, **which) == len(left)
        assert self.call("count", status, **which, at_most=limit) == min(len(left), limit)
        self.seen["filtered"] += bool(left and which)
        how = {**which, "newest_first": newest_first, "limit": limit}
        left, after = left[:: -1 if newest_first else 1], None
        while True:
            page = self.call("list_jobs", status, after=after, **how)
            assert plain(page.jobs) == left[:limit]
            left, after = left[limit:], page.next_cursor
            assert (after is None) == (not left)
            self.seen["further page"] += bool(left)
            if after is None:
                return

    @rule(number=st.integers(-1, 9), name=st.sampled_from(["idempotency_key", "payment_id"]))
    def find(self, number: int, name: str) -> None:
        job = self.model.state.jobs.get(self.job_id(number), {})
        field = {"payment_id": "blockchain_identifier"}.get(name, name)
        names = {name: job.get(field) or "unheard of"}
        answer = self.compare(
            "find", lambda: self.call("find", **names), lambda: self.model.find(**names)
        )
        self.seen["found"] += "raised" not in answer

    @rule(limit=st.integers(1, 3))
    def turn_a_page_that_was_held(self, limit: int) -> None:
        cursor, position = self.held or (None, 0)
        page: JobPage[Any] = self.call("list_jobs", limit=limit, after=cursor)
        assert plain(page.jobs) == self.model.jobs()[position : position + limit]
        self.seen["held page"] += self.held is not None
        self.held = (page.next_cursor, position + limit) if page.next_cursor else None

    @rule(seconds=st.sampled_from([0.5, 3_600, -3_600, 31_536_000, -31_536_000]))
    def the_clock_jumps(self, seconds: float) -> None:
        self.now = START + timedelta(seconds=seconds)

    @rule()
    def counts(self) -> None:
        counts = {status: len(self.model.jobs(status)) for status in self.lifecycle.moves}
        assert {status: self.call("count", status) for status in counts} == counts
        assert self.call("count") == len(self.model.state.jobs)
        self.seen["counts"] += 1

    @rule()
    def statistics(self) -> None:
        counts = {status: len(self.model.jobs(status)) for status in self.lifecycle.moves}
        statistics = self.call("statistics")
        assert statistics.jobs == counts
        assert statistics.last_sequence == self.model.state.changes
        self.seen["statistics"] += 1

    def teardown(self) -> None:
        try:
            self.compare_audit([])
            self.counts()
            default = {"kind": "default", "labels": {"customer": "c17"}}
            for which in ({}, {"kind": "report"}, default, {"follow_ups": False}):
                for newest_first in (False, True):
                    self.walk_all_pages(0, which, 3, newest_first)
            for number in range(len(self.model.state.jobs)):
                self.history(number)
        finally:
            self.close()


def comparison_on(storage: MakeStorage) -> type[Comparison]:
    """Return the machine with a new storage of this kind for each engine."""
    return type("Comparison", (Comparison,), {"new_storage": lambda _: storage()})


def compare_with_the_model(
    facade: str,
    lifecycle: Lifecycle[Any],
    settings: hypothesis.settings,
    kind: type[Comparison],
    round_number: int = 0,
) -> Counter[str]:
    """Run one round of examples on a facade; return the counts of its events."""
    seed = first_seed() + FACADES.index(facade) + round_number * len(FACADES)
    seen = Counter[str]()
    fixed = {"lifecycle": lifecycle, "seen": seen}
    with start_blocking_portal(facade) if facade != "threads" else nullcontext() as portal:
        machine = type("Comparison", (kind,), {**fixed, "portal": portal})
        run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=settings)
    return seen
