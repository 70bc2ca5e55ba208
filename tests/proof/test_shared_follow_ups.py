"""Engines whose rules change meanwhile: each transition goes by those that are kept just then.

Each seed is one schedule of three engines on one place. They create jobs and end them, one removes
rules, others are opened with some, and answers of commits get lost. The place compares each end
that it applies with the rules that it keeps at that moment.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, ClassVar

import anyio
import pytest

from engine import AgentJobStatus, EngineError, FollowUp, JobEngine, Storage
from engine.domain.follow_up_rules import Rules
from engine.storage.answers import Committed
from engine.storage.audit import AuditLine
from engine.storage.record import Change
from tests.tries import repeatable, report, seeds

from .scenario import LONG_ENOUGH_SECONDS
from .schedules import Schedule
from .shared_storage import Place, PlainShared
from .specification import LIFECYCLE
from .storages import pause

FULL_COUNT = 2_000
ENGINES = 3
CALLERS = 6
JOBS_OF_EACH = 3
CHANGES = 8
ENDS = {AgentJobStatus.COMPLETED, AgentJobStatus.FAILED}
RULES = [FollowUp(kind, to=ENDS) for kind in ("refund", "settle")]


class Judging(PlainShared):
    """Compares the follow-ups of each end with the rules that are kept when it is applied.

    Attributes:
        seen: How many ends had how many follow-ups, and "wrong" for those that had others.
    """

    seen: ClassVar[Counter[int | str]]

    def _apply(self, changes: Sequence[Change], lines: Sequence[AuditLine]) -> Committed:
        kept = {*Rules.read(self.place.content.stored_rules).by_kind}
        committed = super()._apply(changes, lines)
        if committed.in_the_way is None:
            records = [each.record for each in changes if each.sequence is not None]
            for job in records:
                if job.status in ENDS and job.parent_id is None:
                    made = [each.kind for each in records if each.parent_id == job.job_id]
                    self.seen[len(made) if sorted(made) == sorted(kept) else "wrong"] += 1
        return committed


class ByOlderRules(Judging):
    """Applies what was decided before others have changed the rules."""

    def has_older_rules(self) -> bool:
        return False


class Scenario:
    """Callers of several engines, and somebody who changes the rules.

    Args:
        seed: Of all random numbers.
        kind: Of the storages.
    """

    def __init__(self, seed: int, kind: type[Judging]) -> None:
        self._seed = seed
        self._kind = kind
        self._place = Place()

    async def run(self) -> None:
        with anyio.fail_after(LONG_ENOUGH_SECONDS):
            async with AsyncExitStack() as stack:
                engines = [await stack.enter_async_context(self._engine()) for _ in range(ENGINES)]
                async with anyio.create_task_group() as tasks:
                    for number in range(CALLERS):
                        tasks.start_soon(self._end_jobs, engines[number % ENGINES], number)
                    tasks.start_soon(self._change_rules, engines)

    def _engine(self, follow_ups: Sequence[FollowUp[Any]] = ()) -> JobEngine[Any]:
        place, loses = self._place, 10 * (self._seed % 2)
        storage: Storage = self._kind(place, self._seed + len(place.engines), loses)
        return JobEngine(storage, lifecycle=LIFECYCLE, follow_ups=follow_ups)

    async def _end_jobs(self, engine: JobEngine[Any], number: int) -> None:
        draw = random.Random(f"{self._seed} {number}")
        for _ in range(JOBS_OF_EACH):
            with suppress(EngineError):  # the answer to a commit got lost
                job = await engine.create(start=True)
                await pause(draw.randrange(20))
                await engine.transition(job.job_id, draw.choice(sorted(ENDS)))

    async def _change_rules(self, engines: Sequence[JobEngine[Any]]) -> None:
        draw = random.Random(self._seed)
        for _ in range(CHANGES):
            await pause(draw.randrange(20))
            rule = draw.choice(RULES)
            with suppress(EngineError):
                if draw.random() < 0.5:
                    await draw.choice(engines).remove_rule(rule.kind)
                else:
                    async with self._engine([rule]):
                        await pause(draw.randrange(10))


def _ends(backend: str, count: range, kind: type[Judging]) -> Counter[int | str]:
    """Return how many ends had how many follow-ups, in so many schedules."""
    seen = Counter[int | str]()
    judging = type(kind.__name__, (kind,), {"seen": seen})
    for seed in count:
        with repeatable(seed, backend):
            Schedule(seed).run(backend, Scenario(seed, judging).run)
            assert not seen["wrong"], "an end was applied by other rules than those that are kept"
    return seen


def test_every_end_goes_by_the_rules_that_are_kept(anyio_backend: str) -> None:
    count = seeds(FULL_COUNT)
    seen = _ends(anyio_backend, count, Judging)
    report(f"{anyio_backend}: so many ends by their numbers of follow-ups: {dict(seen)}")
    assert min(seen[number] for number in range(len(RULES) + 1)) > len(count) / 2


def test_ends_by_older_rules_are_found(anyio_backend: str) -> None:
    with pytest.raises(AssertionError, match="other rules"):
        _ends(anyio_backend, range(100), ByOlderRules)
