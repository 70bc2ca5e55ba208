"""Promises 1, 3 and 4: the engine answers any calls as the model does.

Hypothesis draws the calls, single and bulk, right and wrong. The awaited facade is called on both
backends and the blocking one from a thread, with two lifecycles. After every example all jobs,
counts, pages and histories are compared. The clock jumps both ways in between (row 18).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Any

import hypothesis
import pytest
from msgspec.structs import replace

from engine import (
    AGENT_JOB_LIFECYCLE,
    ORDER_LIFECYCLE,
    PAID_JOB_LIFECYCLE,
    Lifecycle,
    MemoryStorage,
)
from engine.domain.follow_up_rules import NO_RULES
from engine.domain.pauses import NO_PAUSES
from engine.storage import JobFilter, StoredCount, StoredPage
from engine.storage.audit import AuditLine
from engine.storage.record import Change, Entry, Record
from tests.tries import first_seed, report, rounds, thorough, tries

from .comparison import FACADES, MakeStorage, compare_with_the_model, comparison_on
from .faults import ForgetsKeys, LosesEnds
from .storages import PlainStorage

pytestmark = pytest.mark.usefixtures("ended_jobs_leave")
"""The other proofs let jobs that ended recently stay in memory."""

EXAMPLES = 600
TO_BE_SEEN = (
    "DuplicateJobIdError",
    "IdempotencyConflictError",
    "InvalidStateTransitionError",
    "InvalidValueError",
    "JobNotFoundError",
    "NotRetryableError",
    "VersionConflictError",
    "PaymentConflictError",
    "PaymentInUseError",
    "StatusConflictError",
    "repeated",
    "repeated before",
    "first start",
    "further start",
    "bulk refused behind its first item",
    "replay",
    "further page",
    "held page",
    "filtered",
    "found",
    "statistics",
    "followed",
    "followed by hand",
    "followed before",
    "backfilled",
    "pause",
    "resume",
    "paused",
    "audited",
    "circle",
)
SETTINGS = hypothesis.settings(deadline=None, database=None, stateful_step_count=30)


PLACES: dict[str, tuple[Lifecycle[Any], MakeStorage]] = {
    "paid": (PAID_JOB_LIFECYCLE, MemoryStorage),
    "order": (ORDER_LIFECYCLE, PlainStorage),
}
QUICK = [("asyncio", "order"), ("threads", "paid")]
LATER = [case for case in product(FACADES, PLACES) if case not in QUICK]


@pytest.mark.parametrize("case", [*QUICK, *thorough(*LATER)], ids="-".join)
def test_the_engine_answers_as_the_model_does(case: tuple[str, str]) -> None:
    facade, place = case
    lifecycle, storage = PLACES[place]
    settings = hypothesis.settings(SETTINGS, max_examples=tries(EXAMPLES))
    seen = Counter[str]()
    for number in rounds():
        seen += compare_with_the_model(facade, lifecycle, settings, comparison_on(storage), number)
        report(f"{facade}, {lifecycle.statuses.__name__}, first seed {first_seed()}: {dict(seen)}")
        to_be_seen = [*TO_BE_SEEN, *(["retried"] if lifecycle.exhausted_to else [])]
        if min(seen[kind] for kind in to_be_seen) >= 3:
            break


class MiscountsEnds(PlainStorage):
    """Counts an ended job twice."""

    async def count(self, jobs: JobFilter, at_most: int, after: int = 0) -> StoredCount:
        counted = await super().count(jobs, at_most, after)
        ended = jobs.status in {"completed", "failed"}
        return counted._replace(jobs=counted.jobs * (2 if ended else 1))


class PagesBackwards(PlainStorage):
    """Shows the jobs of a page in the wrong order."""

    async def page(
        self, jobs: JobFilter, after: int, limit: int, *, newest_first: bool = False
    ) -> StoredPage:
        page = await super().page(jobs, after, limit, newest_first=newest_first)
        return StoredPage(page.jobs[::-1], page.next_after)


class ForgetsAKind(PlainStorage):
    """Ignores the kind where there is a label."""

    def listed(self, jobs: JobFilter, after: int, *, newest_first: bool) -> list[Record]:
        wanted = jobs._replace(kind=None) if jobs.labels else jobs
        return super().listed(wanted, after, newest_first=newest_first)


class ForgetsHistory(PlainStorage):
    """Keeps only the first two transitions of a history."""

    async def history(self, job_id: str, *how: int | None) -> Sequence[Entry] | None:
        return ((await super().history(job_id, *how)) or ())[:2] or None


class SkipsNumbers(PlainStorage):
    """Numbers the changes in its history by twos."""

    async def history(self, job_id: str, *how: int | None) -> Sequence[Entry] | None:
        entries = await super().history(job_id, *how)
        return entries and [entry._replace(sequence=entry.sequence * 2) for entry in entries]


class ForgetsTheRules(PlainStorage):
    """Keeps the rules of follow-ups until it is closed."""

    async def aclose(self) -> None:
        await super().aclose()
        self.stored_rules = NO_RULES


class ForgetsThePauses(PlainStorage):
    """Keeps the pauses until it is closed."""

    async def aclose(self) -> None:
        await super().aclose()
        self.stored_pauses = NO_PAUSES


class LosesALine(PlainStorage):
    """Keeps all lines of the audit that come together, but for the last one."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit(changes, lines[:-1])


class TakesFollowUpsForRoots(PlainStorage):
    """Leaves no follow-ups out."""

    def listed(self, jobs: JobFilter, after: int, *, newest_first: bool) -> list[Record]:
        return super().listed(jobs._replace(follow_ups=True), after, newest_first=newest_first)


class LosesOrigins(PlainStorage):
    """Loses the parents of jobs that move."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit([_without_origin(each) for each in changes], lines)


def _without_origin(change: Change) -> Change:
    moves = change.sequence is not None and change.from_status is not None
    return replace(change, record=replace(change.record, origin=None)) if moves else change


@pytest.mark.thorough
@pytest.mark.parametrize(
    "storage",
    [
        MiscountsEnds,
        PagesBackwards,
        ForgetsAKind,
        ForgetsHistory,
        SkipsNumbers,
        LosesEnds,
        ForgetsKeys,
        ForgetsTheRules,
        ForgetsThePauses,
        LosesALine,
        TakesFollowUpsForRoots,
        LosesOrigins,
    ],
)
def test_a_planted_fault_is_found(storage: MakeStorage) -> None:
    generate = [hypothesis.Phase.generate]  # without making the example smaller
    settings = hypothesis.settings(
        SETTINGS, max_examples=100, phases=generate, report_multiple_bugs=False
    )
    with pytest.raises(AssertionError):
        compare_with_the_model("threads", AGENT_JOB_LIFECYCLE, settings, comparison_on(storage))
