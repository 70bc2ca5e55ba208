"""Any callbacks, cancels, expiries and answers, in any order, start a job once, and say it once.

Hypothesis draws what happens to an order. The checks need no model: the history has at most one
start; exactly one call was told that it is the first if there is one; and no call was told that the
job ended without starting if it ever started.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

import anyio
import hypothesis
import pytest
from anyio import to_thread
from hypothesis import strategies as st

from engine import (
    ORDER_LIFECYCLE,
    EngineError,
    JobEndedError,
    OrderStatus,
    Started,
)
from engine.domain.deaths import DeathRule
from engine.domain.lifecycle import Event
from engine.owner.batch import Batch
from engine.owner.commands.answer import AnswerPrompt
from engine.owner.commands.ask import AskForInput
from engine.owner.commands.claim import ClaimJobs
from engine.owner.commands.finish import FinishJob
from engine.owner.commands.start import StartJob
from engine.owner.free_places import FreePlaces, KindPlaces
from engine.owner.message import Message
from engine.owner.prompts import prompt_text
from engine.portal import TimeLimit
from engine.storage.record import Record
from engine.testing.facades import FACADES, Engine, InThreads, opened_engine
from tests.tries import first_seed, report, tries
from tests.unit.claiming import EXACT, token_of

O = OrderStatus  # noqa: E741 - it stands in many lines
EXAMPLES: Final = 2_000
NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
TIMES: Final = dict.fromkeys(
    (O.AWAITING_PAYMENT, O.RUNNING, O.AWAITING_INPUT, O.NEEDS_ATTENTION), timedelta(minutes=10)
)
ID: Final = "job"
CALLBACKS: Final[tuple[dict[str, str], ...]] = (
    {"job_id": ID},
    {"payment_id": "p"},
    {"job_id": ID, "payment_id": "p"},
    {"job_id": ID, "payment_id": "q"},
    {"payment_id": f"mock_bc_{ID}"},
)


class Order:
    """One order, and everything that its callbacks were told."""

    def __init__(self, engine: Engine, clock: list[datetime]) -> None:
        self.engine = engine
        self.clock = clock
        self.told: list[Started[OrderStatus] | EngineError] = []
        self._token = ""

    async def callback(self, number: int) -> None:
        try:
            self.told.append(await self.engine.start(**CALLBACKS[number]))
        except EngineError as error:
            self.told.append(error)

    async def callbacks(self) -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(len(CALLBACKS)):
                tasks.start_soon(self.callback, number)

    async def wait(self, minutes: int) -> None:
        self.clock[0] += timedelta(minutes=minutes)

    async def cancel(self) -> None:
        await self.engine.cancel(ID)

    async def go(self, before: OrderStatus, after: OrderStatus) -> None:
        await self.engine.transition(ID, after, expected_status=before)

    async def claim(self) -> None:
        rule = DeathRule(3, idempotent=True, retry=EXACT)
        claim = ClaimJobs(FreePlaces(1, {"default": KindPlaces(1, rule)}), lambda: None)
        claim.is_abandoned = (await self.engine.get(ID)).status is not O.RUNNING
        for record in await self._ask(claim):
            self._token = token_of(record)

    async def ask(self) -> None:
        await self._ask(AskForInput(ID, self._token, prompt_text("n", int, "n", None), None))

    async def answer(self) -> None:
        await self._ask(AnswerPrompt(ID, "n", "1"))

    async def finish(self) -> None:
        await self._ask(FinishJob(ID, self._token, Event.SUCCEED, result="done"))

    async def _ask(self, message: Message[Sequence[Record]]) -> Sequence[Record]:
        if isinstance(self.engine, InThreads):
            bridge = self.engine._engine._bridge  # noqa: SLF001 - attempts have no public call
            return await to_thread.run_sync(bridge.ask, TimeLimit(None), message)
        answer: Sequence[Record] = await self.engine.core.ask(message)
        return answer


Happening: TypeAlias = Callable[[Order], Awaitable[None]]

HAPPENINGS: Final[dict[str, Happening]] = {
    **{f"callback {n}": partial(Order.callback, number=n) for n in range(len(CALLBACKS))},
    "callbacks": Order.callbacks,
    "a minute": lambda order: order.wait(1),
    "ten minutes": lambda order: order.wait(10),
    "cancel": Order.cancel,
    "claim": Order.claim,
    "ask": Order.ask,
    "answer": Order.answer,
    "finish": Order.finish,
    "attention": lambda order: order.go(O.RUNNING, O.NEEDS_ATTENTION),
    "resumed": lambda order: order.go(O.NEEDS_ATTENTION, O.RUNNING),
    "asks": lambda order: order.go(O.RUNNING, O.AWAITING_INPUT),
}


async def happen(facade: Any, place: Path | None, names: list[str], payment: str | None) -> Order:  # noqa: ANN401 - either
    """Let these happen to an order; return it when its engine has closed."""
    clock = [NOON]
    how: dict[str, Any] = {"clock": lambda: clock[0], "new_id": lambda: ID}
    async with opened_engine(facade, place, lifecycle=ORDER_LIFECYCLE, **how) as engine:
        order = Order(engine, clock)
        await engine.create("hash", payment_id=payment, deadlines=TIMES)
        for name in names:
            try:
                await HAPPENINGS[name](order)
            except EngineError:
                continue  # it comes too early or too late
        await order.callback(0)
        check(order.told, await engine.get(ID), await engine.history(ID))
    return order


def check(told: list[Any], job: Any, history: list[Any]) -> None:  # noqa: ANN401 - of orders
    starts = [line for line in history if line.from_status is O.AWAITING_PAYMENT]
    starts = [line for line in starts if line.to_status is O.RUNNING]
    answers = [each for each in told if isinstance(each, Started)]
    ended = [each for each in told if isinstance(each, JobEndedError)]
    assert len(starts) == sum(each.first for each in answers) == (job.started_at is not None)
    assert not (answers and ended), "it started, or it ended without starting"
    assert {each.outcome for each in ended} <= {job.outcome}
    payments = {each.job.payment_id for each in answers} | {job.payment_id}
    assert len(payments - {None}) <= 1
    assert job.version == len(history)


def search(facade: Any, backend: str, *, file: bool, examples: int) -> Counter[str]:  # noqa: ANN401 - either
    """Draw what happens, and check each order; return the counts of what was seen."""
    seen = Counter[str]()

    @hypothesis.seed(first_seed())
    @hypothesis.settings(
        deadline=None, database=None, max_examples=examples, report_multiple_bugs=False
    )
    @hypothesis.given(
        st.lists(st.sampled_from([*HAPPENINGS]), min_size=4, max_size=14),
        st.sampled_from([None, "p"]),
    )
    def try_one(names: list[str], payment: str | None) -> None:
        with TemporaryDirectory() as folder:
            place = Path(folder) / "jobs.db" if file else None
            order = anyio.run(happen, facade, place, names, payment, backend=backend)
        seen.update(
            each.job.status.value if isinstance(each, Started) else type(each).__name__
            for each in order.told
        )

    try_one()
    return seen


@pytest.mark.parametrize(
    ("facade", "backend"),
    [
        (FACADES[0], "asyncio"),
        pytest.param(FACADES[1], "asyncio", marks=pytest.mark.thorough),
        pytest.param(FACADES[0], "trio", marks=pytest.mark.thorough),
    ],
)
@pytest.mark.parametrize("file", [False, True], ids=["memory", "file"])
def test_a_job_starts_once(facade: type, backend: str, *, file: bool) -> None:
    seen = search(facade, backend, file=file, examples=tries(EXAMPLES))
    report(f"{facade.__name__}, {backend}, first seed {first_seed()}: {dict(seen)}")
    assert seen["running"]
    assert seen["JobEndedError"]


def _by_its_present_status(message: StartJob, batch: Batch) -> Sequence[Record]:
    """Start a job whenever the lifecycle lets it run, as callbacks did before there was `start`."""
    record = message._job(batch)  # noqa: SLF001 - of the message that it stands for
    batch.lifecycle.validate(record.status, "running")
    message.is_first = True
    return [batch.move(record, "running", execution=batch.entering(record.execution, "running"))]


def _but_says_it_each_time(message: StartJob, batch: Batch) -> Sequence[Record]:
    records = RIGHT(message, batch)
    message.is_first = True
    return records


RIGHT: Final = StartJob.decide


@pytest.mark.thorough
@pytest.mark.parametrize("wrong", [_by_its_present_status, _but_says_it_each_time])
def test_a_planted_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, wrong: Callable[..., object]
) -> None:
    monkeypatch.setattr(StartJob, "decide", wrong)
    with pytest.raises(AssertionError):
        search(FACADES[0], "asyncio", file=False, examples=200)
