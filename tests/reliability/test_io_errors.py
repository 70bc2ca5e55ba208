"""Row 3: a read, write or sync fails, once or for a while, at any operation.

Nothing acknowledged or shown is lost, neither to callers nor after a restart, a kill or a power
loss. A change that was answered by a `StorageError` is never applied. An outcome is unknown only
while the file can't be read. Reads still work, and writes succeed again when the errors end.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine import Job, JobStatus
from tests.reliability.disk.account import Attempt, Told
from tests.reliability.disk.faults import Errors, some_errors
from tests.reliability.disk.images import Images
from tests.reliability.disk.recording import Unsynced
from tests.reliability.disk.storages import (
    Bench,
    InlineRecordedStorage,
    RecordedStorage,
    SaysNo,
    SaysYes,
    running,
    work,
)
from tests.reliability.disk.vfs import Healthy
from tests.tries import report, seeded, thorough, tries

FULL_ERRORS = 200
"""On each backend."""
IMAGES_OF_A_RUN = 40
ROUNDS = 6
RESTART_EVERY = 10
MOST_ERRORS_UNTIL_CAUGHT = 40
MOST_RUNS_OF_AN_ERROR = 5
TRIES_AGAINST_HANGS = 200

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "engine")


class Seen:
    """The effects of all errors."""

    def __init__(self) -> None:
        self.errors = 0
        self.missed = 0
        self.told: Counter[str] = Counter()
        self.reads = 0
        self.unknown_after_one_error = 0
        self.not_resumed: list[Errors] = []
        self.refused_reads: list[Errors] = []

    def least(self) -> int:
        """Return the count of the rarest answer that there has to be."""
        return min(self.told["refused"], self.told["applied"], self.reads)

    def add(self, bench: Bench, errors: Errors) -> None:
        self.errors += errors.is_over
        self.missed += not errors.is_over
        self.told += bench.account.counts()
        self.reads += bench.account.reads
        if errors.count == 1:
            self.unknown_after_one_error += len(bench.account.unknown)


async def _create(bench: Bench, name: str) -> Attempt:
    async def call() -> Sequence[Job]:
        return [await bench.engine.create(name)]

    return await bench.account.write(call(), [name], 1, JobStatus.AWAITING_PAYMENT)


async def _outlast(bench: Bench, errors: Errors) -> bool:
    """Write until the errors have ended; return whether writes then succeed at once."""
    for number in range(TRIES_AGAINST_HANGS):
        if errors.is_over or not errors.hits:
            break
        await _create(bench, f"meanwhile {number}")
    bench.disk.fault = Healthy()
    return (await _create(bench, "afterwards")).told is Told.APPLIED


async def _fail(
    folder: Path,
    what: str,
    count: int,
    kind: type[RecordedStorage] = RecordedStorage,
    *,
    until_caught: bool = False,
) -> tuple[Seen, Images]:
    """Run engines on failing disks, and check their files."""
    random = seeded(what)
    images = Images(folder / "image", random, restart_every=RESTART_EVERY)
    seen = Seen()
    runs = 0
    while not (until_caught and images.problems):
        if min(seen.errors, seen.least()) >= count or runs == MOST_RUNS_OF_AN_ERROR * count:
            break
        runs += 1
        errors = some_errors(random)
        async with running(folder / f"run {runs}", kind) as bench:
            bench.disk.fault = errors
            await work(bench, random, ROUNDS)
            if not await _outlast(bench, errors):
                seen.not_resumed.append(errors)
        seen.add(bench, errors)
        if bench.account.refused_reads and not (bench.account.unknown or errors.reads_fail):
            seen.refused_reads.append(errors)
        found = len(images.problems)
        images.problems += bench.account.disagreements
        await images.check(bench.disk.recording, bench.account, list(Unsynced), IMAGES_OF_A_RUN)
        images.problems[found:] = [f"{text} after {errors}" for text in images.problems[found:]]
    report(f"{what}: {vars(seen)}, {images.made} images, {dict(images.seen)}")
    return seen, images


@pytest.mark.parametrize("kind", [RecordedStorage, *thorough(InlineRecordedStorage)])
async def test_an_io_error_loses_nothing_and_is_told_truly(
    kind: type[RecordedStorage], anyio_backend_name: str, tmp_path: Path
) -> None:
    count = tries(FULL_ERRORS)
    what = f"I/O errors, {kind.__name__}, {anyio_backend_name}"
    seen, images = await _fail(tmp_path, what, count, kind)
    assert images.problems[:5] == []
    assert seen.not_resumed == []
    assert seen.refused_reads == []
    assert seen.unknown_after_one_error == 0
    assert min(seen.errors, seen.least()) >= count, "too little was seen in all these runs"


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [SaysNo, SaysYes])
async def test_an_outcome_that_is_not_looked_up_is_caught(
    kind: type[RecordedStorage], tmp_path: Path
) -> None:
    what = f"I/O errors, {kind.__name__}"
    _, images = await _fail(tmp_path, what, MOST_ERRORS_UNTIL_CAUGHT, kind, until_caught=True)
    report(f"{len(images.problems)} problems")
    assert images.problems
