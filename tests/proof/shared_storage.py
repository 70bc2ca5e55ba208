"""A shared place as simple as can be: engines of one process write the same jobs.

Each has a `PlainShared` storage on the same `Place`. What a server would do in one statement
happens here between two steps of the event loop; everything else may come between. So a seeded
schedule finds what real servers show once in a million.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Container, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import anyio
from msgspec.structs import replace

from engine import CommitUnknownError, LeaseLostError, Progress, StorageError
from engine.domain.deadlines import NEVER
from engine.domain.follow_up_rules import NO_RULES, StoredRules
from engine.owner.numbers import Renumbered
from engine.storage import CheckedOut, DueJobs, Names, Opened, ReadyCounts
from engine.storage.answers import Committed
from engine.storage.audit import AuditLine
from engine.storage.filter import newest_time
from engine.storage.overview import CountedKinds, EngineRow, KindCounts, merged
from engine.storage.record import Change, Record, dead_token, died_with, newest_records
from engine.storage.table import Table

from .storages import PlainStorage, pause

_KEPT_FROM_OTHERS = timedelta(seconds=5)
_STEP_JOBS = 3


class Place:
    """What the engines share, and what is known of each."""

    def __init__(self) -> None:
        self.content = PlainStorage()
        self.engines: list[PlainShared] = []
        self.holders: dict[str, int] = {}  # the engine that has a job, by the job's id
        self.dead: set[int] = set()
        self.left: set[int] = set()
        self.drained: set[int] = set()
        self.instructions = 0  # how many were given
        self.deferred: dict[str, datetime] = {}
        self.rested: set[str] = set()  # jobs whose next attempt is due
        self.progress: dict[str, tuple[int, Progress]] = {}
        self.leaders: dict[str, int] = {}

    def jobs(self) -> dict[str, Record]:
        return self.content.jobs

    def put(self, record: Record) -> None:
        """Write a row without a decision."""
        self.content.jobs[record.job_id] = replace(record, revision=record.revision + 1)

    def declare_dead(self, number: int) -> int:
        """Fence an engine, free its jobs for the others, and return how many attempts died."""
        self.dead.add(number)
        return self.free(number)

    def free(self, number: int) -> int:
        """Free the jobs of an engine that has ended, and return how many attempts it had."""
        held = [self.jobs()[job_id] for job_id, holder in self.holders.items() if holder == number]
        died = [record for record in held if is_alive(record)]
        for record in held:
            del self.holders[record.job_id]
            execution = record.execution
            if record in died:
                execution = replace(execution, token=dead_token(len(died)))
            self.put(record.with_execution(execution))
        self.progress = {job: each for job, each in self.progress.items() if each[0] != number}
        self.leaders = {name: leader for name, leader in self.leaders.items() if leader != number}
        self.tell()
        return len(died)

    def handled(self) -> set[str]:
        """Return the kinds that have a handler in a living engine."""
        at_work = (each for each in self.engines if each.number not in self.dead | self.drained)
        return {kind for each in at_work for kind in each.handled_kinds}

    def tell(self) -> None:
        """Tell all engines that there may be news."""
        for each in self.engines:
            each.wake()


def is_alive(record: Record) -> bool:
    """Return whether an attempt of a living engine has the job."""
    token = record.execution.token
    return token is not None and died_with(token) is None


class Applied(NamedTuple):
    """A batch whose answer was lost, and what became of it."""

    changes: Sequence[Change]
    outcome: Committed | bool


class PlainShared:
    """The storage of one engine on a place, and its `Shared` part.

    Args:
        place: Shared with the others.
        seed: Of random numbers: how often others run around each call, and what gets lost.
        loses: How many of a hundred answers of commits get lost: of half of them, the commit, too.
    """

    def __init__(self, place: Place, seed: int, loses: int = 0) -> None:
        self.place = place
        self.number = len(place.engines)
        self.clock_offset = timedelta()
        self.handled_kinds: set[str] = set()
        self.listens = True
        self._random = random.Random(seed)
        self._loses = loses
        self._lost: Applied | None = None
        self._held_back: Container[str] = ()
        self._running = ""
        self._rules = NO_RULES  # by which the owner decides
        self._news = anyio.Event()
        place.engines.append(self)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - reads are those of the content
        return getattr(self.place.content, name)

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        content = self.place.content
        self._running = running
        opened = await content.open(outcomes, renamed, running)
        await content.aclose()  # which lets one engine in at a time
        self._rules = opened.rules
        numbers = (opened.last_sequence, opened.last_position)
        return Opened(Table(), *numbers, opened.epochs, rules=opened.rules, shared=self)

    async def aclose(self) -> None:
        self.place.left.add(self.number)
        self.place.free(self.number)

    async def rules(self) -> StoredRules:
        await self._let_others_run()
        self._rules = self.place.content.stored_rules
        return self._rules

    async def keep_rules(self, text: str, lines: Sequence[AuditLine] = ()) -> StoredRules | None:
        await self._let_others_run()
        self._check_alive()
        if self.has_older_rules():
            return None
        self._rules = await self.place.content.keep_rules(text, lines)
        return self._rules

    def has_older_rules(self) -> bool:
        """Return whether others have changed the rules since the owner got them."""
        return self._rules != self.place.content.stored_rules

    async def pauses(self) -> str:
        return self.place.content.stored_pauses

    async def keep_pauses(self, text: str, before: str, lines: Sequence[AuditLine] = ()) -> bool:
        await self._let_others_run()
        self._check_alive()
        if self.place.content.stored_pauses != before:
            return False
        self.place.content.keep_lines(lines)
        self.place.content.stored_pauses = text
        self._instruct()
        return True

    @property
    def instructions(self) -> object:
        return self.place.instructions

    def _instruct(self) -> None:
        self.place.instructions += 1
        self.place.tell()

    async def drain(
        self, engine_id: int | None, lines: Sequence[AuditLine] = (), *, draining: bool
    ) -> bool:
        await self._let_others_run()
        self._check_alive()
        number = self.number if engine_id is None else engine_id
        if number in self.place.dead | self.place.left or number >= len(self.place.engines):
            return False
        if draining is not (number in self.place.drained):
            (self.place.drained.add if draining else self.place.drained.discard)(number)
            self.place.content.keep_lines(lines)
            self._instruct()
        return True

    async def is_draining(self) -> bool:
        return self.number in self.place.drained

    async def checkout(self, names: Names) -> CheckedOut:
        await self._let_others_run()
        return await self.place.content.checkout(names)

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> Committed:
        await self._let_others_run()
        self._check_alive()
        is_lost = self._random.randrange(100) < self._loses
        committed = None if is_lost and self._random.random() < 0.5 else self._apply(changes, lines)
        await self._let_others_run()
        if not is_lost:
            committed = committed or Committed()
            self._rules = committed.rules or self._rules
            return committed
        is_applied = committed is not None and committed.in_the_way is None
        self._lost = Applied(changes, committed if committed and is_applied else False)
        raise CommitUnknownError(StorageError("the answer was lost"))

    async def resolve(self, changes: Sequence[Change]) -> bool | Committed:
        await self._let_others_run()
        if self._random.random() < 0.3:
            raise StorageError("the server is away")
        assert self._lost is not None
        assert self._lost.changes is changes
        return self._lost.outcome

    def _apply(self, changes: Sequence[Change], lines: Sequence[AuditLine]) -> Committed:
        refused = self._in_the_way(changes)
        if refused is not None:
            return refused
        if any(each.sequence is not None for each in changes) and self.has_older_rules():
            rules = self.place.content.stored_rules
            return Committed(in_the_way=CheckedOut(), rules=rules)
        changes = [each for each in changes if not each.is_compared]
        content = self.place.content
        numbered = [each.sequence for each in changes if each.sequence is not None]
        _, removed_position = content._newest_removed  # noqa: SLF001
        newest = self._newest()
        position = max([removed_position, *(job.position for job in content.jobs.values())])
        new = [each.record.position for each in changes if not each.record.revision]
        committed = Committed(
            newest + 1 - min(numbered) if numbered else 0, position + 1 - min(new) if new else 0
        )
        stored = Renumbered(changes, committed).changes
        content.changes += stored
        content.keep_lines(lines)
        for record in newest_records(stored).values():
            self._write(record)
        self.place.tell()
        return committed

    def _write(self, record: Record) -> None:
        """Write a row. What another engine's attempt has, or it has reserved, stays that one's."""
        job_id, holders = record.job_id, self.place.holders
        before = self.place.jobs().get(job_id)
        self.place.jobs()[job_id] = record
        holder = holders.pop(job_id, self.number)
        self.place.rested.discard(job_id)
        is_kept = record.status == self._running and job_id in self._held_back
        if before is not None and holder != self.number and not is_alive(record):
            is_kept = record.status == before.status and not is_alive(before)
        elif before is None or record.execution.token != before.execution.token:
            holder = self.number
        if is_alive(record) or is_kept:
            holders[job_id] = holder

    def _newest(self) -> int:
        """Return the highest number of a transition."""
        content = self.place.content
        removed, _ = content._newest_removed  # noqa: SLF001 - it knows
        return max([removed, *(entry.sequence for entry in content._entries())])  # noqa: SLF001

    def _in_the_way(self, changes: Sequence[Change]) -> Committed | None:
        """Return what others have written since, or have taken the names of new jobs for."""
        jobs, found, gone = self.place.jobs(), CheckedOut(), []
        keys = {job.idempotency_key: job for job in jobs.values() if job.idempotency_key}
        payments = {job.identifier: job for job in jobs.values()}
        for change in changes:
            record = change.record
            stored = jobs.get(record.job_id)
            if record.revision and stored is None:
                gone.append(record.job_id)
            elif stored is not None and stored.revision != record.revision:
                found.ids.jobs[record.job_id] = stored
            key, payment = record.idempotency_key, record.blockchain_identifier
            if not record.revision and key is not None and key in keys:
                found.keys.jobs[key] = keys[key]
            is_recorded = not record.revision or change.is_payment
            if is_recorded and payment is not None and payment in payments:
                found.payments.jobs[payment] = payments[payment]
        is_free = not gone and not any(part.jobs for part in found.parts)
        return None if is_free else Committed(in_the_way=found, gone=gone)

    async def take(
        self, kinds: Mapping[str, int], limit: int, *, suspects: bool
    ) -> Sequence[Record]:
        await self._let_others_run()
        ready = [job for job in self.place.jobs().values() if self._is_ready(job)]
        ready.sort(key=lambda job: (-job.execution.priority, job.position))
        taken: list[Record] = []
        room, may_be_suspect = dict(kinds), suspects
        for job in ready:
            is_suspect = job.execution.died_attempt is not None
            if len(taken) == limit or not room.get(job.kind) or (is_suspect and not may_be_suspect):
                continue
            may_be_suspect = may_be_suspect and not is_suspect
            room[job.kind] -= 1
            self.place.holders[job.job_id] = self.number
            self.place.put(job)
            taken.append(self.place.jobs()[job.job_id])
        await self._let_others_run()
        return taken

    def _is_ready(self, job: Record) -> bool:
        execution = job.execution
        return (
            job.status == self._running
            and job.job_id not in self.place.holders
            and not is_alive(job)
            and (execution.retry_at is None or job.job_id in self.place.rested)
        )

    async def held(self, known: Collection[str] = ()) -> Sequence[Record]:
        await self._let_others_run()
        own = {job_id for job_id, holder in self.place.holders.items() if holder == self.number}
        return [self.place.jobs()[job_id] for job_id in sorted(own.difference(known))[:2]]

    async def changed(self, records: Sequence[Record]) -> Sequence[Record | None]:
        await self._let_others_run()
        stored = [(record, self.place.jobs().get(record.job_id)) for record in records]
        return [
            record if now is not None and now.revision == record.revision else now
            for record, now in stored
        ]

    async def newest_sequence(self) -> int:
        return self._newest()

    async def due(self, now: datetime, limit: int) -> DueJobs:
        await self._let_others_run()
        for job in self.place.jobs().values():
            if job.execution.retry_at is not None and job.execution.retry_at <= now:
                self.place.rested.add(job.job_id)
        late = [
            job.job_id
            for job in self.place.jobs().values()
            if job.execution.deadline() != NEVER
            and job.execution.deadline_at is not None
            and max(job.execution.deadline_at, self._deferred(job.job_id)) <= now
        ][:limit]
        self.place.deferred |= dict.fromkeys(late, now + _KEPT_FROM_OTHERS)
        return DueJobs(late, len(late) == limit)

    def _deferred(self, job_id: str) -> datetime:
        return self.place.deferred.get(job_id, datetime.min.replace(tzinfo=UTC))

    async def news(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._news.wait()
        self._news = anyio.Event()
        self._check_alive()

    def wake(self) -> None:
        self._news.set()

    async def ready_counts(self, kinds: Collection[str], paused: Collection[str]) -> ReadyCounts:
        jobs = [job for job in self.place.jobs().values() if job.status == self._running]
        ready = [job for job in jobs if job.job_id not in self.place.holders and not is_alive(job)]
        handled = {*kinds, *self.place.handled()}
        may_run = [job for job in ready if job.kind not in paused]
        unhandled = [job for job in may_run if job.kind not in handled]
        counts = (len(may_run), len(jobs) - len(ready), len(unhandled))
        return ReadyCounts(*counts, len(ready) - len(may_run))

    async def kinds(
        self, status: str, after: int, now: datetime, *, is_running: bool
    ) -> CountedKinds:
        await self._let_others_run()
        behind = (job for job in self.place.jobs().values() if job.position > after)
        jobs = sorted((job for job in behind if job.status == status), key=lambda job: job.position)
        counts = [self._counted(job, now, is_running=is_running) for job in jobs[:_STEP_JOBS]]
        is_full = len(jobs) > _STEP_JOBS
        return CountedKinds(merged(counts), jobs[_STEP_JOBS - 1].position if is_full else None)

    def _counted(self, job: Record, now: datetime, *, is_running: bool) -> KindCounts:
        if is_alive(job):
            return KindCounts(job.kind, 0, 1, 0, None)
        if is_running and (job.execution.retry_at or now) <= now:
            return KindCounts(job.kind, 1, 0, 0, newest_time(job))
        return KindCounts(job.kind, 0, 0, 1, None)

    async def engines(self) -> Sequence[EngineRow]:
        place, holders = self.place, [*self.place.holders.values()]
        return [
            EngineRow(
                engine_id=each.number,
                name=f"engine {each.number}",
                is_dead=each.number in place.dead,
                is_draining=each.number in place.drained,
                lease_seconds=1,
                kinds=sorted(each.handled_kinds),
                jobs=holders.count(each.number),
                gates=sorted(name for name, led in place.leaders.items() if led == each.number),
            )
            for each in place.engines
            if each.number not in place.left
        ]

    async def unhandled_kinds(self, kinds: Collection[str], limit: int) -> Sequence[str]:
        handled = {*kinds, *self.place.handled()}
        ready = [job for job in self.place.jobs().values() if job.status == self._running]
        return sorted({job.kind for job in ready} - handled)[:limit]

    async def exchange_progress(
        self, reports: Sequence[Progress], ended: Sequence[str]
    ) -> Sequence[Progress]:
        await self._let_others_run()
        self._check_alive()
        progress = self.place.progress
        for job_id in ended:
            if progress.get(job_id, (self.number, None))[0] == self.number:
                progress.pop(job_id, None)
        progress |= {each.job_id: (self.number, each) for each in reports}
        return [each for number, each in progress.values() if number != self.number]

    async def lead(self, name: str) -> bool:
        self._check_alive()
        return self.place.leaders.setdefault(name, self.number) == self.number

    async def resign(self, name: str) -> None:
        if self.place.leaders.get(name) == self.number:
            del self.place.leaders[name]

    def hold_back(self, job_ids: Container[str]) -> None:
        self._held_back = job_ids

    def handles(self, kinds: Collection[str]) -> None:
        self.handled_kinds = set(kinds)

    def _check_alive(self) -> None:
        if self.number in self.place.dead:
            raise LeaseLostError("this place")

    async def _let_others_run(self) -> None:
        await pause(self._random.randrange(3))
