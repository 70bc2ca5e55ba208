"""Row 2: the power fails at any moment; everything acknowledged or shown is there, no half batch.

Real engines work on a recorded disk. Each recording gives many images of the disk after the power
comes back: without all unsynced writes, without half of them, or with torn ones; mostly around the
moments at which a caller learned that a change is durable. SQLite alone reads every image, and an
engine starts on some.
"""

from collections import Counter
from pathlib import Path

import pytest

from tests.reliability.disk.images import Images
from tests.reliability.disk.recording import POWER_LOSSES
from tests.reliability.disk.storages import (
    HalvingStorage,
    InlineRecordedStorage,
    RecordedStorage,
    UnsyncedStorage,
    making_a_file,
    running,
    work,
)
from tests.tries import report, seeded, thorough, tries

FULL_IMAGES = 10_000
"""On each backend."""
FULL_IMAGES_OF_NEW_FILES = 1_000
IMAGES_OF_A_RUN = 100
ROUNDS = 8
RESTART_EVERY = 10

pytestmark = pytest.mark.anyio


async def _lose_power(
    folder: Path, what: str, count: int, kind: type[RecordedStorage] = RecordedStorage
) -> Images:
    """Run engines, and check so many images of their disks."""
    random = seeded(what)
    images = Images(folder / "image", random, restart_every=RESTART_EVERY)
    told: Counter[str] = Counter()
    runs = 0
    while images.made < count and runs < 2 * count:
        runs += 1
        async with running(folder / f"run {runs}", kind) as bench:
            await work(bench, random, ROUNDS)
        told += bench.account.counts()
        images.problems += bench.account.disagreements
        recording = bench.disk.recording
        some = min(IMAGES_OF_A_RUN, count - images.made)
        await images.check(recording, bench.account, POWER_LOSSES, some)
    report(f"{what}: {runs} runs, {dict(told)}, {images.made} images, {dict(images.seen)}")
    assert told.keys() == {"applied"}
    return images


@pytest.mark.parametrize("kind", [RecordedStorage, *thorough(InlineRecordedStorage)])
async def test_what_was_acknowledged_survives_a_power_loss(
    kind: type[RecordedStorage], anyio_backend_name: str, tmp_path: Path
) -> None:
    count = tries(FULL_IMAGES)
    what = f"power loss, {kind.__name__}, {anyio_backend_name}"
    images = await _lose_power(tmp_path, what, count, kind)
    assert images.problems[:5] == []
    assert images.made == count
    assert images.seen["restarted"] == count // RESTART_EVERY
    assert min(images.seen[kind.name.lower()] for kind in POWER_LOSSES) > count / 5
    assert images.seen["jobs"] > count * 5
    assert images.seen["pages moved"] > count / 4


async def test_a_new_file_is_there_as_a_whole_or_not_at_all(
    anyio_backend_name: str, tmp_path: Path
) -> None:
    count = tries(FULL_IMAGES_OF_NEW_FILES)
    random = seeded(f"power loss, a new file, {anyio_backend_name}")
    images = Images(tmp_path / "image", random, restart_every=2)
    async with making_a_file(tmp_path / "run") as bench:
        before = bench.disk.recording.moment
        await work(bench, random, 1)
    await images.check(bench.disk.recording, bench.account, POWER_LOSSES, count)
    report(f"made by {before} operations, {images.made} images, {dict(images.seen)}")
    assert images.problems[:5] == []
    assert before > 10


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "problem"),
    [(UnsyncedStorage, "lost although it was acknowledged"), (HalvingStorage, "half applied")],
)
async def test_a_storage_that_commits_wrongly_is_caught(
    kind: type[RecordedStorage], problem: str, tmp_path: Path
) -> None:
    images = await _lose_power(tmp_path, f"power loss, {kind.__name__}", 100, kind)
    caught = sum(text.startswith(problem) for text in images.problems)
    report(f"{problem}: {caught} times")
    assert caught > 0
