"""`engine.testing`: first the tests of a user, then its other promises.

Nothing here sleeps, and days pass in milliseconds.
"""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from textwrap import dedent
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pydantic import BaseModel

import engine.testing
from engine import (
    AGENT_JOB_LIFECYCLE,
    ORDER_LIFECYCLE,
    AgentJobStatus,
    Context,
    FollowUp,
    Gate,
    InvalidValueError,
    Job,
    JobStatus,
    Lifecycle,
    MemoryStorage,
    OrderStatus,
    Outcome,
    Retry,
    StalePromptError,
    WaitingJobs,
)
from engine.testing import Lab, StandstillError, VirtualClock
from tests.python import run_python

HOUR = timedelta(hours=1)
HOURLY = Retry(max_attempts=3, first_delay_seconds=3_600, max_delay_seconds=86_400, jitter=0)


# The code of a user: a service that sells reports, and the tests of its handler.


class Address(BaseModel):
    """The receiver of a report."""

    town: str


class Printer:
    """A handler's dependency, replaced by the test."""

    def __init__(self, *outcomes: Exception | None, minutes: float = 0) -> None:
        self.outcomes = iter(outcomes)
        self.seconds = minutes * 60
        self.printed = 0

    async def print_report(self, job: Job, context: Context) -> str:
        context.progress(0, job.input["pages"])
        if (outcome := next(self.outcomes, None)) is not None:
            raise outcome
        await self.work()
        self.printed += 1
        return f"{job.input['pages']} pages"

    async def work(self) -> None:
        await anyio.sleep_forever() if self.seconds else None


async def ask_and_send(_job: Job[AgentJobStatus], context: Context[AgentJobStatus]) -> str:
    address = context.request_input(Address, timedelta(days=30), question="Where to?")
    return f"sent to {address.town}"


@pytest.mark.anyio
async def test_a_report_is_tried_again_after_hours() -> None:
    printer = Printer(ConnectionError("no paper"), ConnectionError("no ink"))
    async with Lab(printer.print_report, retry=HOURLY) as lab:
        job = await lab.run({"pages": 3})
    assert (job.status, job.result, job.attempt) == (JobStatus.COMPLETED, "3 pages", 3)
    assert job.updated_at - job.created_at == 3 * HOUR  # one, and then two


@pytest.mark.anyio
async def test_a_report_that_failed_for_good_is_retried_by_a_person() -> None:
    printer = Printer(*(ConnectionError(f"no paper {number}") for number in range(3)))
    handler = printer.print_report
    async with Lab(handler, lifecycle=ORDER_LIFECYCLE, retry=HOURLY) as lab:
        job = await lab.run({"pages": 3})
        assert (job.status, job.attempt) == (OrderStatus.NEEDS_ATTENTION, 3)
        assert job.last_error == "ConnectionError: no paper 2"
        errors = [each.error for each in await lab.engine.attempts(job.job_id)]
        assert errors == [f"ConnectionError: no paper {number}" for number in range(3)]
        job = await lab.retry(job)
        assert (job.status, job.result, job.attempt) == (OrderStatus.COMPLETED, "3 pages", 4)


@pytest.mark.anyio
async def test_a_report_that_hangs_times_out() -> None:
    printer = Printer(minutes=10)
    once = Retry(max_attempts=1)
    async with Lab(printer.print_report, retry=once, timeout_seconds=60) as lab:
        job = await lab.run({"pages": 3})
    assert (job.status, printer.printed) == (JobStatus.FAILED, 0)
    assert job.error == "AttemptTimeoutError: the attempt took more than 60 s"
    assert job.updated_at - job.created_at == timedelta(minutes=1)


@pytest.mark.anyio
async def test_a_report_that_is_not_ready_in_time_has_failed() -> None:
    broken = Printer(*[ConnectionError("no paper")] * 3)
    async with Lab(broken.print_report, retry=HOURLY) as lab:
        job = await lab.run({"pages": 3}, deadlines={JobStatus.RUNNING: 2 * HOUR})
        assert (job.status, job.attempt) == (JobStatus.FAILED, 2)
        assert job.error is not None
        assert "expired" in job.error
        assert job.updated_at - job.created_at == 2 * HOUR


@pytest.mark.anyio
async def test_the_customer_is_asked_for_an_address() -> None:
    async with Lab(ask_and_send, lifecycle=AGENT_JOB_LIFECYCLE) as lab:
        job = await lab.run()
        assert job.status is AgentJobStatus.AWAITING_INPUT
        assert job.prompt is not None
        assert job.prompt.question == "Where to?"
        await lab.advance(timedelta(days=29))
        job = await lab.answer(job, {"town": "Ghent"})
        assert (job.status, job.result) == (AgentJobStatus.COMPLETED, "sent to Ghent")


@pytest.mark.anyio
async def test_who_does_not_answer_in_a_month_gets_no_report() -> None:
    async with Lab(ask_and_send, lifecycle=AGENT_JOB_LIFECYCLE) as lab:
        job = await lab.run()
        await lab.advance(timedelta(days=30))
        job = await lab.engine.get(job.job_id)
        assert job.status is AgentJobStatus.FAILED
        with pytest.raises(StalePromptError):
            await lab.answer(job, {"town": "Ghent"})


@pytest.mark.anyio
async def test_a_report_is_printed_when_it_is_paid() -> None:
    paid: list[str] = []

    async def check(_jobs: WaitingJobs) -> list[str]:
        return paid

    async with Lab(Printer().print_report) as lab, Gate(lab.engine, check):
        job = await lab.engine.create("a report", input={"pages": 1})
        await lab.advance(HOUR)
        assert (await lab.engine.get(job.job_id)).status is JobStatus.AWAITING_PAYMENT
        paid.append(job.job_id)
        assert (await lab.finish(job)).result == "1 pages"


class Bank:
    """Gives money back, once it opens: another dependency, replaced by the test."""

    def __init__(self, opens_in: timedelta) -> None:
        self.clock = VirtualClock()
        self.opens_at = self.clock() + opens_in
        self.keys: list[str] = []

    async def refund(self, _job: Job[OrderStatus], context: Context[OrderStatus]) -> str:
        self.keys.append(context.key)
        if self.clock() < self.opens_at:
            raise ConnectionError("the bank is closed")
        return f"{context.parent.payment_id} given back"

    def lab(self) -> Lab[OrderStatus]:
        """Return a lab in which an order takes ten minutes, and a refund follows its failure."""
        work = Printer(minutes=10).print_report
        handlers: dict[str, Callable[..., Any]] = {"report": work, "refund": self.refund}
        failures = {OrderStatus.FAILED, OrderStatus.CANCELLED, OrderStatus.EXPIRED}
        rules = [FollowUp("refund", to=failures, started=True)]
        return Lab(handlers, lifecycle=ORDER_LIFECYCLE, follow_ups=rules, clock=self.clock)


async def cancelled_order(lab: Lab[OrderStatus]) -> Job[OrderStatus]:
    """Return an order that was paid, and is cancelled while it is at work."""
    order = await lab.engine.create(kind="report", input={"pages": 3})
    await lab.engine.start(order.job_id, payment_id="payment 7")
    await anyio.wait_all_tasks_blocked()
    return await lab.engine.cancel(order.job_id, "ordered twice")


@pytest.mark.anyio
async def test_a_refund_is_tried_for_days_until_the_bank_opens() -> None:
    bank = Bank(opens_in=timedelta(days=2.5))
    async with bank.lab() as lab:
        order = await lab.finish(await cancelled_order(lab), follow_ups=True)
        assert order.outcome is Outcome.CANCELLED
        [refund] = await lab.engine.follow_ups(order.job_id)
        assert (refund.status, refund.result) == (OrderStatus.COMPLETED, "payment 7 given back")
        assert refund.updated_at - order.updated_at >= timedelta(days=2.5)
        assert bank.keys == [refund.job_id] * refund.attempt


@pytest.mark.anyio
async def test_a_refund_that_can_not_be_made_needs_attention_after_three_days() -> None:
    bank = Bank(opens_in=timedelta(days=30))
    async with bank.lab() as lab:
        order = await cancelled_order(lab)
        with pytest.raises(StandstillError):  # a person has to look at it
            await lab.finish(order, follow_ups=True)
        [refund] = await lab.engine.follow_ups(order.job_id)
        assert refund.status is OrderStatus.NEEDS_ATTENTION
        assert timedelta(days=3) < refund.updated_at - order.updated_at < timedelta(days=5)
        await lab.advance(timedelta(days=30))
        assert (await lab.retry(refund)).result == "payment 7 given back"
        assert {*bank.keys} == {refund.job_id}


@pytest.mark.anyio
async def test_an_order_that_was_never_paid_is_not_refunded() -> None:
    async with Bank(opens_in=HOUR).lab() as lab:
        expires = {OrderStatus.AWAITING_PAYMENT: HOUR}
        order = await lab.engine.create(kind="report", deadlines=expires)
        order = await lab.finish(order, follow_ups=True)
        assert (order.status, order.outcome) == (OrderStatus.EXPIRED, Outcome.EXPIRED)
        assert await lab.engine.follow_ups(order.job_id) == []


def test_the_same_without_async() -> None:
    def count(job: Job) -> int:
        return len(job.input.split())

    job = engine.testing.run(count, "to be or not to be", retry=HOURLY)
    assert job.result == "6"


# The other promises of the lab.


@pytest.fixture(autouse=True)
def _in_no_time() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < 10  # a hundred times the usual time


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_without_async_it_is_the_same_on_both_loops(backend: str) -> None:
    names: list[str] = []

    async def fail(_job: Job[AgentJobStatus]) -> None:
        names.append(anyio.get_cancelled_exc_class().__module__.partition(".")[0])
        raise LookupError("nothing")

    job = engine.testing.run(
        fail,
        lifecycle=AGENT_JOB_LIFECYCLE,
        deadlines={AgentJobStatus.RUNNING: HOUR / 2},
        backend=backend,
        retry=HOURLY,
    )
    assert names == [backend]
    assert (job.status, job.attempt) == (AgentJobStatus.FAILED, 1)
    assert job.updated_at - job.created_at == HOUR / 2


@pytest.mark.anyio
async def test_time_stands_still_but_for_the_calls_that_move_it() -> None:
    lab = Lab(Printer(ConnectionError("no paper")).print_report, retry=HOURLY)
    async with lab:
        before = lab.clock()
        job = await lab.start({"pages": 1})
        await anyio.wait_all_tasks_blocked()
        assert lab.clock() == before
        await lab.advance(HOUR - timedelta(seconds=1))
        assert (await lab.engine.get(job.job_id)).status is JobStatus.RUNNING
        await lab.advance(1)
        assert (await lab.engine.get(job.job_id)).status is JobStatus.COMPLETED


@pytest.mark.anyio
async def test_several_jobs_may_be_at_work() -> None:
    met = anyio.Event()

    async def meet(job: Job) -> str:
        if job.input == "second":
            met.set()
        await met.wait()
        return str(job.input)

    async with Lab(meet) as lab:
        jobs = [await lab.start(name) for name in ("first", "second")]
        assert [(await lab.finish(job)).result for job in jobs] == ["first", "second"]


class Plain(StrEnum):
    """The statuses of jobs that start at once."""

    RUNNING = "running"
    DONE = "done"
    LOST = "lost"


PLAIN = Lifecycle(
    Plain,
    {Plain.RUNNING: {Plain.DONE, Plain.LOST}, Plain.DONE: set(), Plain.LOST: set()},
    initial=Plain.RUNNING,
    running=Plain.RUNNING,
    success={Plain.DONE},
    failure={Plain.LOST},
)


@pytest.mark.anyio
async def test_jobs_that_wait_for_nothing_are_run_as_they_are() -> None:
    async with Lab(len, lifecycle=PLAIN, retry=Retry(max_attempts=1)) as lab:
        job = await lab.run()
        assert (job.status, job.version) == (Plain.LOST, 2)  # a job has no length


@pytest.mark.anyio
async def test_what_can_never_end_is_told_and_not_waited_for() -> None:
    async with Lab(Printer().print_report, clock=engine.testing.VirtualClock()) as lab:
        unpaid = await lab.engine.create("a report")
        with pytest.raises(StandstillError):
            await lab.finish(unpaid)


@pytest.mark.anyio
async def test_leaving_stops_what_is_at_work_and_a_second_lab_goes_on() -> None:
    storage = MemoryStorage()
    begun: list[int] = []

    async def work(_job: Job, context: Context) -> None:
        begun.append(context.attempt)
        if context.attempt == 1:
            await anyio.sleep_forever()

    async with Lab(work, storage=storage, grace_seconds=3_600) as lab:
        job = await lab.start()
        await anyio.wait_all_tasks_blocked()
    async with Lab(work, storage=storage, clock=lab.clock) as lab:
        job = await lab.finish(job)
    assert (job.status, begun) == (JobStatus.COMPLETED, [1, 2])
    assert job.updated_at - job.created_at == HOUR  # its time of grace


@pytest.mark.anyio
async def test_leaving_by_an_error_or_a_cancellation_stops_all_the_same() -> None:
    with pytest.raises(ZeroDivisionError):
        async with Lab(Printer(minutes=1).print_report) as lab:
            await lab.start({"pages": 1})
            raise ZeroDivisionError
    with anyio.CancelScope() as scope:
        async with Lab(Printer(minutes=1).print_report) as lab:
            await lab.start({"pages": 1})
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught


@pytest.mark.anyio
async def test_arguments_are_refused_as_by_those_that_take_them() -> None:
    with pytest.raises(InvalidValueError, match="concurrency"):
        Lab(ask_and_send, concurrency=0)
    with pytest.raises(TypeError, match="concurency"):
        Lab(ask_and_send, concurency=1)
    async with Lab(ask_and_send) as lab:
        with pytest.raises(InvalidValueError, match="deadlines"):
            await lab.run(deadlines={JobStatus.AWAITING_PAYMENT: HOUR})


# The imports.


@pytest.mark.thorough
def test_only_the_suite_needs_pytest(tmp_path: Path) -> None:
    program = """
        import sys
        sys.modules["pytest"] = None
        import engine.testing
        assert engine.testing.run(len).error.startswith("TypeError")
        assert "engine.testing.suite" not in sys.modules
        assert not hasattr(engine.testing, "Suite")
        from engine.testing import StorageSuite
    """
    run = run_python(dedent(program), tmp_path)
    last = run.stderr.splitlines()[-1]
    assert last == (
        "ModuleNotFoundError: engine.testing.StorageSuite needs pytest: "
        "pip install 'engine[testing]'"
    )


def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    documentation = engine.testing.__doc__ or ""
    example = documentation.split("::\n", 1)[1].split("\n\nAny runner")[0]
    calls = "anyio.run(test_a_report_is_tried_again); test_a_report_that_hangs_times_out()"
    run = run_python(f"{dedent(example)}\n{calls}", tmp_path)
    assert run.returncode == 0, run.stderr


def test_every_public_name_is_there() -> None:
    names: dict[str, Any] = {name: getattr(engine.testing, name) for name in engine.testing.__all__}
    assert names["StorageSuite"].__module__ == "engine.testing.suite"
