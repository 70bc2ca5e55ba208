"""Jobs are found by key and payment, and listed and counted by kind, labels and time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine import InvalidValueError, Job, JobNotFoundError, JobStatus, Move, NewJob
from engine.testing.facades import FACADES, Engine, opened_engine
from tests.unit.claiming import NewPlace
from tests.unit.finishing import finished

pytestmark = pytest.mark.anyio

_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)


@pytest.fixture(params=FACADES)
async def kept(request: pytest.FixtureRequest, new_place: NewPlace) -> AsyncIterator[Engine]:
    """Open an engine of either kind in memory and over a file, with a minute between two calls."""
    times = (_NOON + number * _MINUTE for number in range(10_000))
    async with opened_engine(request.param, new_place(), clock=lambda: next(times)) as engine:
        yield engine


async def _listed(engine: Engine, **which: Any) -> list[str]:  # noqa: ANN401 - the call's
    """Return the input hashes of all jobs of a listing, page by page."""
    found: list[str] = []
    after = None
    while True:
        page = await engine.list_jobs(limit=2, after=after, **which)
        found += [job.input_hash for job in page.jobs]
        if (after := page.next_cursor) is None:
            return found


async def _six_jobs(engine: Engine) -> Sequence[Job]:
    jobs: Sequence[Job] = await engine.create_many(
        [
            NewJob("0", kind="report", labels={"customer": "c1", "region": "eu"}),
            NewJob("1", labels={"customer": "c2"}),
            NewJob("2", kind="report", labels={"customer": "c1"}),
            NewJob("3"),
            NewJob("4", kind="report", labels={"customer": "c2", "region": "eu"}, start=True),
            NewJob("5", labels={"customer": "c1", "region": "eu"}, start=True),
        ]
    )
    return jobs


# Finding one job.


@pytest.mark.usefixtures("ended_jobs_leave")
async def test_a_job_is_found_by_its_key_and_its_payment_all_its_life(kept: Engine) -> None:
    job = await kept.create("hash", idempotency_key="key", payment_id="pay")
    for status in (JobStatus.RUNNING, JobStatus.COMPLETED, None):
        assert await kept.find(idempotency_key="key") == job
        assert await kept.find(payment_id="pay") == job
        if status is not None:
            job = await kept.transition(job.job_id, status)


@pytest.mark.usefixtures("ended_jobs_leave")
async def test_a_default_payment_finds_its_job(kept: Engine) -> None:
    free, paid = await kept.create("free"), await kept.create("paid", payment_id="pay")
    assert await kept.find(payment_id=free.blockchain_identifier) == free
    assert await kept.find(payment_id=f"mock_bc_{paid.job_id}") == paid
    with pytest.raises(JobNotFoundError) as unknown:
        await kept.find(payment_id="mock_bc_unheard of")
    assert unknown.value.payment_id == "mock_bc_unheard of"
    done = await finished(kept)
    assert await kept.find(payment_id=done.blockchain_identifier) == done


@pytest.mark.parametrize("facade", FACADES)
async def test_the_default_payment_of_the_longest_id_is_found(facade: type[Any]) -> None:
    async with opened_engine(facade, new_id=lambda: "x" * 256) as engine:
        job = await engine.create("hash")
        assert await engine.find(payment_id=job.blockchain_identifier) == job
        with pytest.raises(InvalidValueError, match=r"^payment_id "):
            await engine.find(payment_id="x" * 257)
        with pytest.raises(InvalidValueError, match="must have 1 to 256 characters"):
            await engine.find(payment_id="")


async def test_a_name_that_no_job_has_is_told_back(kept: Engine) -> None:
    await kept.create("hash", idempotency_key="key", payment_id="pay")
    with pytest.raises(JobNotFoundError, match="no job has the idempotency key 'pay'") as caught:
        await kept.find(idempotency_key="pay")
    told = (caught.value.job_id, caught.value.idempotency_key, caught.value.payment_id)
    assert told == (None, "pay", None)
    for name in ("key", "mock_bc_nobody", "mock_bc_"):
        with pytest.raises(JobNotFoundError, match=f"the payment '{name}'") as caught:
            await kept.find(payment_id=name)
        assert caught.value.payment_id == name


@pytest.mark.parametrize("names", [{}, {"idempotency_key": "a", "payment_id": "b"}])
async def test_one_name_is_needed(engine: Engine, names: dict[str, str]) -> None:
    with pytest.raises(InvalidValueError, match="payment_id must be given if idempotency_key"):
        await engine.find(**names)


# Listing and counting.


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ({"kind": "report"}, "024"),
        ({"kind": "default"}, "135"),
        ({"kind": "unheard-of"}, ""),
        ({"labels": {"customer": "c1"}}, "025"),
        ({"labels": {"customer": "C1"}}, ""),
        ({"labels": {"region": "eu", "customer": "c1"}}, "05"),
        ({"labels": {}}, "012345"),
        ({"labels": {"customer": "c1"}, "kind": "report"}, "02"),
        ({"labels": {"region": "eu"}, "status": JobStatus.RUNNING}, "45"),
        ({"kind": "report", "status": JobStatus.AWAITING_PAYMENT}, "02"),
        ({"kind": "default", "status": JobStatus.RUNNING, "labels": {"customer": "c1"}}, "5"),
        ({"input_hash": "4"}, "4"),
        ({"input_hash": "4", "kind": "default"}, ""),
        ({"input_hash": "4 "}, ""),
    ],
)
async def test_jobs_fit_all_arguments(kept: Engine, which: dict[str, Any], expected: str) -> None:
    await _six_jobs(kept)
    assert await _listed(kept, **which) == list(expected)
    assert await _listed(kept, newest_first=True, **which) == list(expected)[::-1]
    assert await kept.count(**which) == len(expected)
    for at_most in range(1, 7):
        assert await kept.count(**which, at_most=at_most) == min(len(expected), at_most)


async def test_a_range_of_times_has_its_first_moment_and_not_its_last(kept: Engine) -> None:
    jobs = [await kept.create(f"{number}") for number in range(5)]
    second, fourth = jobs[1].created_at, jobs[3].created_at
    assert await _listed(kept, created_after=second) == list("1234")
    assert await _listed(kept, created_before=fourth) == list("012")
    both = {"created_after": second, "created_before": fourth}
    assert await _listed(kept, **both) == list("12")
    assert await kept.count(**both) == 2
    elsewhere = {name: time.astimezone() for name, time in both.items()}
    assert await _listed(kept, **elsewhere, newest_first=True) == list("21")
    assert await kept.count(created_after=fourth, created_before=second) == 0


@pytest.mark.parametrize("facade", FACADES)
async def test_a_clock_that_goes_back_hides_no_job(facade: type[Any], new_place: NewPlace) -> None:
    """The order stays that of the creations."""
    times = iter([_NOON, *(_NOON + minutes * _MINUTE for minutes in (9, 5, 7, 1, 6))])
    async with opened_engine(facade, new_place(), clock=lambda: next(times)) as engine:
        for number in range(5):
            await engine.create(f"{number}")
        after = _NOON + 5 * _MINUTE
        assert await _listed(engine, created_after=after) == list("0124")
        assert await _listed(engine, created_before=after) == list("3")


async def test_new_jobs_do_not_come_to_pages_that_began_with_the_newest(kept: Engine) -> None:
    await kept.create_many([NewJob(f"{number}") for number in range(4)])
    first = await kept.list_jobs(newest_first=True, limit=2)
    await kept.create("new")
    rest = await kept.list_jobs(newest_first=True, after=first.next_cursor)
    assert [job.input_hash for job in first.jobs + rest.jobs] == list("3210")
    assert rest.next_cursor is None


@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_cursor_of_the_other_order_is_refused(engine: Engine, newest_first: bool) -> None:  # noqa: FBT001 - a parameter of the test
    await engine.create_many([NewJob("hash")] * 2)
    page = await engine.list_jobs(newest_first=newest_first, limit=1)
    with pytest.raises(InvalidValueError, match=f"newest_first={newest_first}"):
        await engine.list_jobs(newest_first=not newest_first, after=page.next_cursor)


@pytest.mark.parametrize(
    ("which", "field"),
    [
        ({"kind": "Report"}, "kind"),
        ({"labels": {"customer": ""}}, "labels"),
        ({"labels": {str(number): "x" for number in range(17)}}, "labels"),
        ({"input_hash": ""}, "input_hash"),
        ({"input_hash": 17}, "input_hash"),
        ({"created_after": datetime(2026, 1, 1)}, "created_after"),  # noqa: DTZ001 - it is refused
        ({"created_before": timedelta(1)}, "created_before"),
    ],
)
async def test_what_no_job_can_have_is_refused(
    engine: Engine, which: dict[str, Any], field: str
) -> None:
    for call in (engine.list_jobs, engine.count):
        with pytest.raises(InvalidValueError, match=f"^{field}"):
            await call(**which)


@pytest.mark.parametrize("at_most", [0, -1, True, "1", 1.0])
async def test_a_count_stops_at_a_whole_number(engine: Engine, at_most: object) -> None:
    with pytest.raises(InvalidValueError, match=r"^at_most "):
        await engine.count(at_most=at_most)


@pytest.mark.usefixtures("short_searches")
async def test_a_search_goes_on_behind_jobs_that_do_not_fit(kept: Engine) -> None:
    """A page goes through so many jobs at most, and a count through so many in a step."""
    labels = {"customer": "c1"}
    for _ in range(2):
        await kept.create_many([NewJob("other", labels=labels, kind="report")] * 16)
        job = await kept.create("hash", labels=labels)
        await kept.create_many([NewJob("other")] * 16)
    which = {"labels": labels, "kind": "default"}
    for newest_first in (False, True):
        first = await kept.list_jobs(**which, newest_first=newest_first)
        assert (len(first.jobs), first.next_cursor is None) == (int(newest_first), False)
        assert await _listed(kept, **which, newest_first=newest_first) == ["hash"] * 2
    assert await kept.count(**which) == 2
    assert await kept.count(**which, at_most=1) == 1
    assert await _listed(kept, created_after=job.created_at) == ["hash", *["other"] * 16]
    assert await kept.count(created_before=job.created_at, labels=labels) == 33


@pytest.mark.usefixtures("short_searches")
@pytest.mark.parametrize("newest_first", [False, True])
async def test_the_part_that_fewest_jobs_fit_leads_a_search(
    kept: Engine,
    newest_first: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    few, many = {"customer": "c1"}, {"region": "eu"}
    await kept.create_many(
        NewJob("hash", kind="report", labels=few | many if number % 10 == 5 else many)
        for number in range(60)
    )
    which = {"kind": "report", "labels": few | many, "newest_first": newest_first}
    pages = [await kept.list_jobs(**which)]
    while (after := pages[-1].next_cursor) is not None:
        pages.append(await kept.list_jobs(**which, after=after))
    assert [len(page.jobs) for page in pages] == [3, 3, 0]


async def test_a_page_shows_jobs_as_they_are_after_a_move(kept: Engine) -> None:
    jobs = await _six_jobs(kept)
    await kept.transition_many([Move(jobs[place].job_id, JobStatus.RUNNING) for place in (0, 3)])
    assert await _listed(kept, status=JobStatus.RUNNING, labels={"region": "eu"}) == list("045")
    assert await kept.count(JobStatus.RUNNING, kind="default") == 2
