"""Promise 3, and row 10 of the reliability table: recorded concurrent histories are linearizable.

The callers are tasks on both backends, some of them cancelled, or threads, some of whose calls time
out. A new engine on the same storage is then read, as a part of the same history: acknowledged
changes must be there. The checker finds planted faults, and has tests of its own.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import anyio
import pytest

from engine import JobEngine, MemoryStorage, Storage, SyncJobEngine
from tests.tries import first_seed, repeatable, report, seeds

from .faults import AnswersBeforeCommit, BlockingReadsStale, LosesEnds, ReadsStale
from .linearizability import REFUSED, UNKNOWN, Operation, Recorder, histories, is_linearizable
from .scenario import (
    JOBS,
    LONG_ENOUGH_SECONDS,
    Load,
    call,
    call_blocking,
    draw_request,
    make_engine,
)
from .specification import LIFECYCLE, Answer, Create, Get, Go, History, Request, new_id
from .storages import PlainStorage, yielding

pytestmark = pytest.mark.usefixtures("ended_jobs_leave")
"""The other proofs let jobs that ended recently stay in memory."""

BORN: Answer = (("a", "usual", "awaiting_payment", 1, None),)
RUNNING: Answer = (("a", "usual", "running", 2, None),)
CREATE, GET, RUN = Create(("a",)), Get(("a",)), Go(("a",), "running")

THREADS = 12
CALLS = 25


def history(*lines: tuple[Request, float, float, Answer]) -> list[Operation]:
    return [Operation(*line) for line in lines]


def cut_off(request: Request, called: float) -> Operation:
    return Operation(request, called)


def test_an_overlapping_read_may_see_either_state() -> None:
    for seen in (BORN, RUNNING):
        assert is_linearizable(
            history((CREATE, 0, 1, BORN), (RUN, 2, 5, RUNNING), (GET, 3, 4, seen))
        )


def test_a_stale_read_is_found() -> None:
    past = (CREATE, 0, 1, BORN), (RUN, 2, 3, RUNNING)
    assert is_linearizable(history(*past, (GET, 4, 5, RUNNING)))
    assert not is_linearizable(history(*past, (GET, 4, 5, BORN)))


def test_a_read_that_goes_back_is_found() -> None:
    past = (CREATE, 0, 1, BORN), (RUN, 2, 9, RUNNING), (GET, 3, 4, RUNNING)
    assert not is_linearizable(history(*past, (GET, 5, 6, BORN)))


def test_a_lost_write_is_found() -> None:
    twice = (CREATE, 0, 1, BORN), (RUN, 2, 5, RUNNING), (RUN, 3, 4, RUNNING)
    assert not is_linearizable(history(*twice))


def test_what_was_cut_off_may_have_happened_at_any_time_or_never() -> None:
    past = [*history((CREATE, 0, 1, BORN)), cut_off(RUN, 2)]
    assert is_linearizable(past)
    assert is_linearizable([*past, *history((GET, 3, 4, BORN), (GET, 5, 6, RUNNING))])
    assert not is_linearizable([*past, *history((GET, 3, 4, RUNNING), (GET, 5, 6, BORN))])


def test_what_was_cut_off_can_not_have_happened_before_its_call() -> None:
    past = history((CREATE, 0, 1, BORN), (GET, 2, 3, RUNNING))
    assert not is_linearizable([*past, cut_off(RUN, 4)])


def test_a_refusal_must_have_a_reason() -> None:
    refused: Answer = ("InvalidStateTransitionError", 0)
    past = (CREATE, 0, 1, BORN), (RUN, 2, 3, RUNNING)
    assert is_linearizable(history(*past, (RUN, 4, 5, refused)))
    assert not is_linearizable(history(past[0], (RUN, 4, 5, refused)))


def test_half_a_bulk_is_found() -> None:
    born: Answer = (
        ("a", "usual", "awaiting_payment", 1, None),
        ("b", "usual", "awaiting_payment", 1, None),
    )
    past = (Create(("a", "b")), 0, 1, born)
    both = cut_off(Go(("a", "b"), "running"), 2)
    half: Answer = (("a", "usual", "running", 2, None), ("b", "usual", "awaiting_payment", 1, None))
    assert not is_linearizable([*history(past, (Get(("a", "b")), 3, 4, half)), both])
    assert len(histories([*history(past), both])) == 1


def test_a_long_history_that_has_no_order_is_refused_soon() -> None:
    tasks = 40
    overlapping = [(GET, 1.0 + n, 500.0, BORN) for n in range(tasks)]
    lost = [cut_off(RUN, 100.0 + n) for n in range(tasks)]
    never: Answer = (("a", "usual", "completed", 9, None),)
    past = history((CREATE, 0, 0.5, BORN), *overlapping, (GET, 600, 601, never))
    assert not is_linearizable([*past, *lost])


@pytest.mark.anyio
async def test_the_history_of_tasks_is_linearizable(anyio_backend: str) -> None:
    answered = unknown = refused = 0
    runs = seeds(500)
    for seed in runs:
        load = Load(seed, anyio_backend, callers=20, calls=8)
        with repeatable(seed, anyio_backend):
            await load.run(yielding(seed))
        unknown += load.recorder.count(UNKNOWN)
        refused += load.recorder.count(REFUSED)
        answered += len(load.recorder.operations)
    answered -= unknown + refused
    report(f"{anyio_backend}, {runs}: {answered} answered, {refused} refused, {unknown} cut off")
    assert answered > 50 * len(runs)
    assert unknown > len(runs)


@pytest.mark.anyio
@pytest.mark.parametrize("storage", [MemoryStorage, PlainStorage])
async def test_an_id_that_is_taken_by_an_ended_job_is_the_error_of_its_caller_alone(
    storage: Callable[[], Storage],
) -> None:
    recorder = Recorder()
    async with make_engine(storage()) as engine:
        await call(recorder, engine, Create(("a",), keyed=False))
        await call(recorder, engine, Create(("b",)))
        await call(recorder, engine, Go(("a",), "failed"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, recorder, engine, Create(("a",), keyed=False))
            tasks.start_soon(call, recorder, engine, Go(("b",), "running"))
    recorder.check()
    second = [each for each in recorder.operations if each.request == Create(("a",), keyed=False)][
        1
    ]
    assert second.answer == ("DuplicateJobIdError", 0)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("engine", "storage"),
    [(ReadsStale, MemoryStorage), (JobEngine, LosesEnds), (JobEngine, AnswersBeforeCommit)],
)
async def test_a_planted_fault_is_found_among_tasks(
    anyio_backend: str, engine: type[JobEngine[Any]], storage: type[MemoryStorage | PlainStorage]
) -> None:
    found = 0
    for seed in range(10):
        load = Load(seed, anyio_backend, callers=5, calls=8)
        with suppress(AssertionError):
            await load.run(storage(), partial(make_engine, kind=engine))
        found += not explained(load.recorder)
    report(f"{anyio_backend}: {engine.__name__} on {storage.__name__}: {found} of 10")
    assert found


def explained(recorder: Recorder) -> bool:
    try:
        recorder.check()
    except AssertionError:
        return False
    return True


def in_threads(work: Callable[[int], None]) -> None:
    """Run the work in many threads that start at the same moment; raise the error of any."""
    together = threading.Barrier(THREADS)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            together.wait(timeout=LONG_ENOUGH_SECONDS)
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=LONG_ENOUGH_SECONDS)
        assert not thread.is_alive(), "a call hangs"
    if errors:
        raise errors[0]


@contextmanager
def threads_that_switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def load_of_threads(seed: int, storage: Storage, kind: type[SyncJobEngine[Any]]) -> Recorder:
    """Let threads call an engine, some with short timeouts; then read the jobs that are left."""
    recorder = Recorder()

    def caller(number: int) -> None:
        draw = random.Random(f"{seed} {number}")
        for n in range(CALLS):
            timeout = 0 if draw.random() < 0.05 else None
            call_blocking(recorder, engine, draw_request(draw, f"{number}.{n}"), timeout)

    with threads_that_switch_often(), kind(storage, lifecycle=LIFECYCLE, new_id=new_id) as engine:
        in_threads(caller)
    with kind(storage, lifecycle=LIFECYCLE, new_id=new_id) as again:
        for job in JOBS:
            call_blocking(recorder, again, Get((job,)))
            call_blocking(recorder, again, History((job,)))
    return recorder


def test_the_history_of_threads_is_linearizable() -> None:
    answered = unknown = 0
    runs = seeds(200)
    for seed in runs:
        with repeatable(seed, f"{THREADS} threads"):
            recorder = load_of_threads(seed, yielding(seed), SyncJobEngine)
            recorder.check()
        unknown += recorder.count(UNKNOWN)
        answered += len(recorder.operations)
    answered -= unknown
    report(f"{THREADS} threads, {runs}: {answered} answered, {unknown} timed out")
    assert answered > 0.8 * THREADS * CALLS * len(runs)
    assert unknown > len(runs)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("engine", "storage"),
    [
        (BlockingReadsStale, MemoryStorage),
        (SyncJobEngine, LosesEnds),
        (SyncJobEngine, AnswersBeforeCommit),
    ],
)
def test_a_planted_fault_is_found_among_threads(
    engine: type[SyncJobEngine[Any]], storage: type[MemoryStorage | PlainStorage]
) -> None:
    start = first_seed()
    found = sum(
        not explained(load_of_threads(seed, storage(), engine)) for seed in range(start, start + 5)
    )
    report(f"{engine.__name__} on {storage.__name__}: {found} of 5")
    assert found
